"""A primary and its hot standby: real servers, whose roles can be changed."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from sandbox.postgres import PostgresServer

#: Wait for the transactions that were begun before; a new one cannot write any more.
_LET_WRITERS_END: Final = """
DO $$ BEGIN
    FOR looks IN 1..500 LOOP
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.02);
        EXIT WHEN looks > 5 AND NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE backend_xid IS NOT NULL AND backend_type = 'client backend'
        );
    END LOOP;
END $$
"""


@dataclass(frozen=True)
class Pair:
    """A primary, and a standby that has all of its commits: to lose none, as in production."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        """The database `orders` of whichever of both takes writes."""
        return url_of(self.primary, self.standby)

    async def kill_primary(self) -> None:
        """End the primary as a lost machine does, and promote the standby."""
        for process in _family(self.primary):
            process.kill()
        await self.primary.child.ended()
        await self.standby.promote()

    async def freeze_primary(self) -> None:
        """Stop the primary from answering, with its connections open; promote the standby."""
        for process in _family(self.primary):
            os.kill(process.pid, signal.SIGSTOP)
        await self.standby.promote()

    async def switch_over(self) -> None:
        """Promote the standby; the old primary lives on, with its connections, for reading.

        Until then each commit waits for the standby, and those under way are let through.
        """
        await self.primary.execute(
            "ALTER SYSTEM SET default_transaction_read_only = on",
            "SELECT pg_reload_conf()",
            _LET_WRITERS_END,
        )
        await self.standby.promote()


def url_of(*servers: PostgresServer) -> str:
    """The database `orders` of the first of these servers that takes writes."""
    hosts = ",".join(quote(str(server.socket_directory), safe="") for server in servers)
    return f"postgresql://postgres@/orders?host={hosts}"


@asynccontextmanager
async def running_pair(state: Path, primary: PostgresServer | None = None) -> AsyncIterator[Pair]:
    """Run a primary, unless it runs already, and its standby."""
    async with AsyncExitStack() as stack:
        if primary is None:
            # Nothing is flushed to a disk; that the standby has it is what a commit waits for.
            settings = {"synchronous_commit": "on"}
            primary = PostgresServer(state / "primary", durable=False, settings=settings)
            await stack.enter_async_context(primary)
        standby = await primary.create_standby(state / "standby")
        await stack.enter_async_context(standby)
        stack.callback(thaw, primary)
        await primary.follow_synchronously()
        yield Pair(primary, standby)


def thaw(server: PostgresServer) -> None:
    """Let a frozen server go on."""
    if server.child.running:
        for process in _family(server):
            os.kill(process.pid, signal.SIGCONT)


def _family(server: PostgresServer) -> list[psutil.Process]:
    postmaster = psutil.Process(server.child.pid)
    return [postmaster, *postmaster.children(recursive=True)]
