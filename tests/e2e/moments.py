"""Points of an order's life at which a test can hold it, in order to kill something there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from demo.environment import DemoEnvironment
from durable_orders.store.history import ADD_LINE, line
from sandbox.fault_client import Fault, FaultClient, Mode
from tests.support.eventually import eventually


class Hold(Protocol):
    """Somebody waits, or has just been left without an answer."""

    async def reached(self) -> None:
        """Return once the order is there."""

    async def let_go(self) -> None:
        """Let whatever waits go on, even if nobody is interested any more."""


class Moment(Protocol):
    async def hold(self, environment: DemoEnvironment, order_id: str) -> Hold:
        """Hold this order when it comes there; it must have been placed, and not be started."""


@dataclass(frozen=True)
class Asking:
    """While a neighbour is asked, the first time: ``delay`` before it does it, ``delay_after``
    when it has done it, ``hang_up_after`` when it has done it and will never tell.
    """

    endpoint: str
    mode: Mode

    def __str__(self) -> str:
        return f"{self.endpoint} {self.mode}"

    async def hold(self, environment: DemoEnvironment, order_id: str) -> Hold:
        fault = await environment.faults.inject(
            self.endpoint, self.mode, order_id=order_id, times=1
        )
        return _Asked(environment.faults, fault)


@dataclass(frozen=True)
class Writing:
    """While a step of the database writes its line into the order's history, before its commit.

    Every such step writes a line that can be there only once, so it waits for whoever is writing
    the same line.
    """

    event: str
    detail: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.event

    async def hold(self, environment: DemoEnvironment, order_id: str) -> Hold:
        connection = await environment.database.engine.connect()
        await connection.execute(ADD_LINE, line(order_id, self.event, self.detail))
        pid = await connection.scalar(select(text("pg_backend_pid()")))
        return _Written(environment, connection, int(pid))


#: Makes the commit of a line wait for whoever holds the lock of its name, see ``Committing``.
COMMITS_CAN_BE_HELD: Final = (
    """
    CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtext(NEW.order_id), hashtext(NEW.event));
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER wait_for_the_test AFTER INSERT ON order_history
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_the_test()
    """,
)


@dataclass(frozen=True)
class Committing:
    """While a step of the database commits: a worker killed now has done it, but cannot know.

    Needs ``COMMITS_CAN_BE_HELD``. PostgreSQL carries on for a client that died meanwhile.
    """

    event: str

    def __str__(self) -> str:
        return f"{self.event} committed"

    async def hold(self, environment: DemoEnvironment, order_id: str) -> Hold:
        connection = await environment.database.engine.connect()
        lock = text(
            "SELECT pg_backend_pid() FROM pg_advisory_xact_lock(hashtext(:o), hashtext(:e))"
        )
        pid = await connection.scalar(lock, {"o": order_id, "e": self.event})
        return _Written(environment, connection, int(pid))


@dataclass(frozen=True)
class _Asked:
    faults: FaultClient
    fault: Fault

    async def reached(self) -> None:
        await self.faults.wait_for_hits(self.fault, timeout=30)

    async def let_go(self) -> None:
        await self.faults.remove(self.fault)


@dataclass(frozen=True)
class _Written:
    environment: DemoEnvironment
    connection: AsyncConnection
    pid: int

    async def reached(self) -> None:
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"
        )

        async def somebody_waits() -> bool:
            async with self.environment.database.statement() as asking:
                return bool(await asking.scalar(waits, {"pid": self.pid}))

        await eventually(somebody_waits, within=30)

    async def let_go(self) -> None:
        if not self.connection.closed:
            await self.connection.rollback()
            await self.connection.close()
