"""A worker for a yardstick on Temporal: `python -m bench.yardsticks.temporal_worker seed|empty`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.worker import Worker

from bench.yardsticks.steps import open_steps
from bench.yardsticks.workflows import (
    EMPTY_QUEUE,
    SEED_QUEUE,
    EmptyWorkflow,
    SeedActivities,
    SeedOrder,
)


@asynccontextmanager
async def _worker(kind: str, client: Client) -> AsyncIterator[Worker]:
    if kind == "empty":
        yield Worker(client, task_queue=EMPTY_QUEUE, workflows=[EmptyWorkflow])
        return
    async with open_steps(os.environ["DATABASE_URL"]) as steps:
        seed = SeedActivities(steps)
        yield Worker(
            client,
            task_queue=SEED_QUEUE,
            workflows=[SeedOrder],
            activities=[
                seed.charge_card,
                seed.fulfill_order,
                seed.send_confirmation_email,
                seed.update_inventory,
            ],
        )


async def main(kind: str) -> None:
    """Run the worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    async with _worker(kind, client) as worker, worker:
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
