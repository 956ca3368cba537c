"""A worker process that meets the faults of a plan: `worker.py` as it is composed, and an
interceptor around its activities.

Of an order that is to be killed somewhere, the activity is held there until the process is killed.
Every fault strikes the first time that its order comes there, and never again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import temporalio.client
import temporalio.worker
from sqlalchemy import Connection, Engine, event
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.error_types import DATABASE_AWAY
from durable_orders.clients.connection import connect
from durable_orders.domain.ports import DatabaseAwayError
from durable_orders.observability.logging import configure_logging
from durable_orders.settings import WorkerSettings, temporal_profile
from durable_orders.store.database import Database, Record
from sandbox.fault_client import FaultClient
from tests.e2e.fault_matrix.plan import FaultPoint, Plan
from tests.e2e.fault_matrix.table import AT_NEIGHBOUR, DATABASE, FaultKind
from worker import composed

log: Final = logging.getLogger("worker")

#: The order in the id of any run that has to do with it.
_OF_ORDER: Final = re.compile(r"(?:order|refund|payment-risk|examine|reconcile)-(m\d+)(?:-.*)?")
#: Of each activity, that many statements are cut: its first, in the next try the second, …
_CUTS: Final = 3
#: Has the server itself end the connection.
CUT: Final = "SELECT pg_terminate_backend(pg_backend_pid())"

#: What is done one after the other when ``begin_order`` got no answer.
INSTEAD_OF_BEGINNING: Final = frozenset({"read_order", "reserve_inventory"})

Run = Callable[[], Awaitable[Any]]


@dataclass
class _Attempt:
    """One attempt of an activity whose database connection is to be cut at statement ``cut_at``."""

    point: FaultPoint
    cut_at: int
    seen: int = 0

    def is_due(self) -> bool:
        self.seen += 1
        return self.seen == self.cut_at


_attempt: Final[ContextVar[_Attempt | None]] = ContextVar("attempt", default=None)


class FaultPoints(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Meets the faults of a plan."""

    def __init__(self, plan: Plan, faults: FaultClient) -> None:
        self.plan = plan
        self.faults = faults
        #: Orders whose fault struck before this process began.
        self.over: Final = frozenset(filter(plan.has_struck, plan.points))
        #: Runs in which the activity of ``KILLED_AFTER`` has been answered.
        self.answered: Final[set[str]] = set()
        self.armed: Final[set[str]] = set()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)

    def point_of(self, workflow_id: str) -> FaultPoint | None:
        found = _OF_ORDER.fullmatch(workflow_id)
        order_id = found[1] if found else ""
        return None if order_id in self.over else self.plan.points.get(order_id)

    async def meet(self, point: FaultPoint, info: activity.Info, run: Run) -> Any:
        """Run an activity of an order that has a fault to meet."""
        if info.activity_type == "begin_order" and point.activity in INSTEAD_OF_BEGINNING:
            raise ApplicationError("the database took its time", type=DATABASE_AWAY)
        if point.fault is FaultKind.KILLED_AFTER:
            return await self._before_what_follows(point, info, run)
        if info.activity_type != point.activity:
            return await run()
        if point.fault is FaultKind.KILLED_BEFORE:
            await self._hold(point)
        if point.fault in AT_NEIGHBOUR:
            await self._arm(point, info)
        if point.fault in DATABASE:
            cuts = len(self.plan.marks(point.order_id))
            _attempt.set(_Attempt(point, cuts + 1) if cuts < _CUTS else None)
        answer = await run()
        if point.fault in {FaultKind.KILLED_DONE, FaultKind.TEMPORAL_RESTARTED}:
            await self._hold(point)
        return answer

    async def _before_what_follows(self, point: FaultPoint, info: activity.Info, run: Run) -> Any:
        """Hold whatever comes in the same run after the activity has been answered."""
        run_id = info.workflow_id or ""
        if run_id in self.answered:
            await self._hold(point)
        answer = await run()
        if info.activity_type == point.activity:
            self.answered.add(run_id)
        return answer

    async def _hold(self, point: FaultPoint) -> None:
        """Hold the activity, alive, until the test releases all or kills this process."""
        self.plan.mark(point.order_id, "held")
        while not self.plan.is_released:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    async def _arm(self, point: FaultPoint, info: activity.Info) -> None:
        """Have the neighbour fail for this order, from now on."""
        if point.order_id in self.armed:
            return
        self.armed.add(point.order_id)
        mode, times = AT_NEIGHBOUR[point.fault]
        # What lists all orders is about none.
        order_id = None if info.workflow_type == "Reconcile" else point.order_id
        fault = await self.faults.inject(
            point.endpoint, mode, order_id=order_id, times=times, seconds=point.seconds
        )
        self.plan.mark(point.order_id, fault.id)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, points: FaultPoints) -> None:
        super().__init__(next)
        self._points = points

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        point = self._points.point_of(info.workflow_id or "")
        if point is None:
            return await self.next.execute_activity(input)
        return await self._points.meet(point, info, lambda: self.next.execute_activity(input))


def cut_connections(plan: Plan) -> None:
    """Cut the database connection of the activities whose fault that is."""

    def cut(connection: Connection) -> None:
        """As a network does that has gone away: the server goes on, and we hear nothing."""
        connection.connection.driver_connection.terminate()  # type: ignore[union-attr]

    def is_due(fault: FaultKind) -> bool:
        attempt = _attempt.get()
        if attempt is None or attempt.point.fault is not fault or not attempt.is_due():
            return False
        plan.mark(attempt.point.order_id, "cut")
        return True

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def before(
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001
    ) -> tuple[str, Any]:
        """Have the server itself end the connection in place of the statement."""
        if is_due(FaultKind.DATABASE_CUT):
            return CUT, ()
        return statement, parameters

    @event.listens_for(Engine, "after_cursor_execute")
    def after(
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001
    ) -> None:
        """A statement that is a transaction of its own is done, and its answer is lost."""
        is_autocommit = "isolation_level" not in connection.get_execution_options()
        if is_autocommit and is_due(FaultKind.DATABASE_CUT_DONE):
            cut(connection)
            cursor.execute("SELECT 1")

    @event.listens_for(Engine, "commit")
    def commit(connection: Connection) -> None:
        """The transaction is committed, and nobody hears of it: SQLAlchemy's own COMMIT, which
        follows, finds no connection.
        """
        if is_due(FaultKind.DATABASE_CUT_DONE):
            connection.exec_driver_sql("COMMIT")
            cut(connection)

    fetch = Database.fetch

    async def fetch_with_cuts(database: Database, sql: str, *arguments: object) -> list[Record]:
        """The same for what goes past SQLAlchemy. It is tried twice: both times are cut."""
        if is_due(FaultKind.DATABASE_CUT):
            return await fetch(database, CUT)
        found = await fetch(database, sql, *arguments)
        if is_due(FaultKind.DATABASE_CUT_DONE):
            raise DatabaseAwayError("the database gave no answer: it is lost")
        return found

    setattr(Database, "fetch", fetch_with_cuts)  # noqa: B010 - the store is not to know of faults


async def main() -> None:
    """Work until killed."""
    settings = WorkerSettings.load()
    configure_logging(settings.log_level, settings.log_format)
    plan = Plan.read(Path(os.environ["FAULT_PLAN"]))
    cut_connections(plan)
    async with contextlib.AsyncExitStack() as stack:
        faults = await stack.enter_async_context(FaultClient(settings.stripe_api_base))
        config = (await connect(temporal_profile(), patience=None)).config()
        config["interceptors"] = [*config["interceptors"], FaultPoints(plan, faults)]
        worker, check = await stack.enter_async_context(composed(settings, Client(**config)))
        await check.at_start()
        log.info("ready: working on the queue with the faults of %s", plan.directory)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
