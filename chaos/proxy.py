"""A TCP proxy whose connections can be cut, stalled and slowed down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from sandbox.ports import HOST

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNK: Final = 65_536


class Proxy:
    """Listens at ``port`` of this machine and passes each connection on to what ``dial`` opens."""

    def __init__(self, dial: Callable[[], Awaitable[Stream]], port: int = 0) -> None:
        self.port = port
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._delay = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut(refuse=True)
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self, *, refuse: bool) -> None:
        """Abort every connection, and with ``refuse`` each new one too, until ``restore``."""
        self._refusing = refuse
        for connection in self._connections:
            connection.cancel()

    def stall(self) -> None:
        """Pass nothing on, and close nothing, until ``restore``."""
        self._flowing.clear()

    def slow(self, seconds: float) -> None:
        """Have each packet take so long, until ``restore``."""
        self._delay = seconds

    def restore(self) -> None:
        """Be an ordinary connection again; what was held goes on."""
        self._refusing, self._delay = False, 0.0
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a server's callback runs in a task
        self._connections.add(this)
        ends = [writer]
        try:
            if self._refusing:
                raise ConnectionRefusedError
            far_reader, far_writer = await self._dial()
            ends.append(far_writer)
            await self._join((reader, writer), (far_reader, far_writer))
            for end in ends:
                end.close()
        except (OSError, asyncio.CancelledError):  # cut: nothing to report
            for end in ends:
                end.transport.abort()
        finally:
            self._connections.discard(this)

    async def _join(self, near: Stream, far: Stream) -> None:
        """Pass on both ways until either end closes."""
        pumps = [
            asyncio.ensure_future(self._pump(near[0], far[1])),
            asyncio.ensure_future(self._pump(far[0], near[1])),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
