"""The database of a run: a primary, and where a failover is planned a hot standby that follows it.

Processes know two addresses. Behind one of them is the primary, whichever that is after a failover.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from chaos.proxy import Stream
from sandbox.postgres import PostgresServer

_SOCKET = ".s.PGSQL.5432"


class ReplicatedDatabase:
    """Two places for servers, the first one the sandbox's own; ``fail_over`` changes their roles.

    What is committed at the primary is at the standby too, so that a failover loses nothing.
    """

    def __init__(self, primary: PostgresServer, state: Path) -> None:
        self._places: list[PostgresServer | None] = [primary, None]
        self._primary = 0
        self._state = state
        self._standbys = 0
        self._changing = asyncio.Lock()

    @property
    def has_standby(self) -> bool:
        return self._places[1 - self._primary] is not None

    async def dial(self, place: int) -> Stream:
        """Open a connection to the server in this place, 0 or 1. Raises ``OSError``."""
        server = self._places[place]
        if server is None:
            raise ConnectionRefusedError
        return await asyncio.open_unix_connection(str(server.socket_directory / _SOCKET))

    async def add_standby(self) -> None:
        """Make a standby from a copy of the primary, and have commits wait for it."""
        self._standbys += 1
        primary = self._server()
        standby = await primary.create_standby(self._state / f"standby-{self._standbys}")
        await standby.start()
        self._places[1 - self._primary] = standby
        await primary.follow_synchronously()

    async def restart(self, how: str, seconds: float) -> None:
        """Kill (``killed``) or stop the primary; start it again after so long."""
        async with self._changing:
            server = self._server()
            if how == "killed":
                await _kill(server)
            await server.stop()
            await asyncio.sleep(seconds)
            await server.start()

    async def fail_over(self, how: str, seconds: float) -> None:
        """Lose the primary and promote the standby; make a new standby after so long.

        ``how``: the primary is ``killed``, or ``frozen`` with its connections open until then.
        """
        async with self._changing:
            old = self._server()
            if how == "killed":
                await _kill(old)
            else:
                for process in _family(old):
                    process.send_signal(signal.SIGSTOP)
            self._primary = 1 - self._primary
            await self._server().promote()
            await asyncio.sleep(seconds)
            if old.child.running:
                await _kill(old)
            await old.stop()
            self._places[1 - self._primary] = None
            await self.add_standby()

    async def close(self) -> None:
        """Stop both; the sandbox stops its own once more."""
        for server in filter(None, self._places):
            await server.stop()

    def _server(self) -> PostgresServer:
        server = self._places[self._primary]
        assert server is not None  # noqa: S101 - only the standby's place is ever empty
        return server


async def _kill(server: PostgresServer) -> None:
    """Send SIGKILL to the server and all of its processes, as the kernel would without memory."""
    for process in reversed(_family(server)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await server.child.ended()


def _family(server: PostgresServer) -> list[psutil.Process]:
    postmaster = psutil.Process(server.child.pid)
    return [postmaster, *postmaster.children(recursive=True)]
