"""A worker for the yardstick ``dbos``: `python -m bench.yardsticks.dbos_worker`.

It starts each order itself and waits for its handle, as a web application on DBOS does it: so an
order waits for no queue that is polled, and nobody polls for its end. Orders come over a socket, at
a port that is printed: a line of JSON for each, and a line with its id when it has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Final

from dbos import DBOS, DBOSConfig, SetWorkflowID

from bench.yardsticks.steps import PlainOrder, Steps, open_steps
from sandbox.ports import HOST

#: So many characters at most in a line.
_LONGEST: Final = 65_536

_opened: list[Steps] = []


@DBOS.step()
async def charge_card(order: PlainOrder) -> str:
    return await _opened[0].charge_card(order)


@DBOS.step()
async def fulfill_order(order: PlainOrder) -> str:
    return await _opened[0].fulfill_order(order)


@DBOS.step()
async def send_confirmation_email(order: PlainOrder) -> str:
    return await _opened[0].send_confirmation_email(order)


@DBOS.step()
async def update_inventory(order: PlainOrder) -> None:
    await _opened[0].update_inventory(order)


@DBOS.workflow()
async def process_order(order: PlainOrder) -> None:
    """Charge, fulfil, then mail and stock at the same time."""
    await charge_card(order)
    await fulfill_order(order)
    await asyncio.gather(send_confirmation_email(order), update_inventory(order))


async def _process(order_id: str, writer: asyncio.StreamWriter) -> None:
    with SetWorkflowID(order_id):
        handle = await DBOS.start_workflow_async(process_order, PlainOrder(order_id))
    await handle.get_result()
    writer.write(f"{json.dumps(order_id)}\n".encode())


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async with asyncio.TaskGroup() as orders:
        async for line in reader:
            orders.create_task(_process(json.loads(line), writer))
    writer.close()


async def main() -> None:
    """Run the worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    url = os.environ["DATABASE_URL"]
    config: DBOSConfig = {
        "name": "bench-orders",
        "system_database_url": url,
        "application_version": "bench",
        "executor_id": str(os.getpid()),
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    async with open_steps(url) as steps:
        _opened.append(steps)
        async with await asyncio.start_server(_serve, HOST, 0, limit=_LONGEST) as server:
            print(f"ready at {server.sockets[0].getsockname()[1]}", flush=True)
            await stop.wait()
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main())
