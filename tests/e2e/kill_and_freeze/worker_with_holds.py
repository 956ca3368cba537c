"""A worker process whose orders a test can hold: `worker.py` as it is composed, and an interceptor
around its activities.

Its charges are quick, as if it had made some, but for the orders of which the test says otherwise.
They are handed over later than in production, so that a test can strike many at once before that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import temporalio.client
import temporalio.worker
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.handover import ChargePace, Handover
from activities.interceptor import hold_open
from durable_orders.clients.connection import connect
from durable_orders.domain.ids import order_id_of
from durable_orders.observability.context import current_order
from durable_orders.observability.logging import configure_logging
from durable_orders.settings import WorkerSettings, temporal_profile
from tests.e2e.kill_and_freeze.holds import HoldsDirectory, When
from tests.support.eventually import eventually
from worker import composed

log: Final = logging.getLogger("worker")

#: Within the time after which the SDK renews a workflow task.
HANDED_OVER_AFTER: Final = timedelta(seconds=3)

_numbers: Final = count(1)


class QuickCharges(ChargePace):
    """Charges of which the next one is likely to be quick, whatever the last ones were."""

    def __init__(self, directory: HoldsDirectory) -> None:
        super().__init__()
        self._directory = directory

    @property
    def is_quick(self) -> bool:
        return not self._directory.charges_slowly(current_order.get() or "")


class Holds(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Holds orders where the test wants them held."""

    def __init__(self, directory: HoldsDirectory) -> None:
        self.directory = directory

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)

    async def run(self, order_id: str, run: Callable[[], Awaitable[Any]]) -> Any:
        """Run an activity of an order, held before it or when it is done, if that is wanted."""
        info = activity.info()
        kind = "local" if info.is_local else "normal"
        this = (os.getpid(), next(_numbers), info.activity_type, kind)
        self.directory.tell(order_id, *this, "began")
        try:
            await self._hold(order_id, "before")
            answer = await run()
            await self._hold(order_id, "done")
            return answer
        finally:
            self.directory.tell(order_id, *this, "over")

    async def _hold(self, order_id: str, when: When) -> None:
        info = activity.info()
        if not self.directory.claim(order_id, info.activity_type, when):
            return
        while not self.directory.is_released(order_id):
            if not info.is_local:
                activity.heartbeat()
            await asyncio.sleep(0.1)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, holds: Holds) -> None:
        super().__init__(next)
        self._holds = holds

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        order_id = order_id_of(activity.info().workflow_id or "")
        if order_id is None:
            return await self.next.execute_activity(input)
        return await self._holds.run(order_id, lambda: self.next.execute_activity(input))


async def _called() -> None:
    """Return once the file ``STANDS_BY_FOR`` is there."""
    file = Path(os.environ["STANDS_BY_FOR"])

    async def is_there() -> bool:
        return file.exists()  # noqa: ASYNC240 - nothing else is done meanwhile

    await eventually(is_there, within=600)


async def main() -> None:
    """Stand by, then work until killed."""
    settings = WorkerSettings.load()
    configure_logging(settings.log_level, settings.log_format)
    await _called()
    directory = HoldsDirectory(Path(os.environ["HOLDS_DIRECTORY"]))
    async with contextlib.AsyncExitStack() as stack:
        config = (await connect(temporal_profile(), patience=None)).config()
        config["interceptors"] = [*config["interceptors"], Holds(directory)]
        worker, check = await stack.enter_async_context(
            composed(
                settings,
                Client(**config),
                pace=QuickCharges(directory),
                handover=Handover(hold_open, after=HANDED_OVER_AFTER),
            )
        )
        await check.at_start()
        log.info("ready: working on the queue, and holding orders by %s", directory.path)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
