"""A proxy in front of PostgreSQL that counts a client's round trips.

    async with RoundTrips(database_url) as proxy:
        ...  # connect to proxy.url
        proxy.round_trips

A round trip is a message after which a client of PostgreSQL waits for an answer: Query, Sync,
Flush, FunctionCall (https://www.postgresql.org/docs/current/protocol-message-formats.html). Those
that open a connection are not counted: connections are kept.
"""

import asyncio
import contextlib
import struct
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, quote, urlsplit

from sandbox.ports import HOST

_WAITED_FOR: Final = frozenset(b"QSHF")
#: Requests of a client before its startup message: for TLS and for GSSAPI.
_BEFORE_STARTUP: Final = frozenset({80877103, 80877104})
_CHUNK: Final = 65_536
_PORT: Final = 5432


class MessageCounter:
    """Counts round trips in the bytes that a client sends over one connection."""

    def __init__(self) -> None:
        self.round_trips = 0
        self._head = bytearray()
        self._left = 0
        self._is_starting = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes, however they are cut."""
        at = 0
        while at < len(data):
            if self._left:
                skipped = min(self._left, len(data) - at)
                self._left -= skipped
                at += skipped
                continue
            needed = (8 if self._is_starting else 5) - len(self._head)
            self._head += data[at : at + needed]
            at += min(needed, len(data) - at)
            if len(self._head) == (8 if self._is_starting else 5):
                self._read_head()

    def _read_head(self) -> None:
        if self._is_starting:
            length, code = struct.unpack("!II", self._head)
            self._left = length - 8
            self._is_starting = code in _BEFORE_STARTUP
        else:
            (length,) = struct.unpack("!I", self._head[1:])
            self._left = length - 4
            self.round_trips += self._head[0] in _WAITED_FOR
        self._head.clear()


class RoundTrips:
    """The proxy for the server and database of a URL. It listens on this machine only."""

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self._server: asyncio.Server | None = None
        self._counters: list[MessageCounter] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._taken = 0

    @property
    def round_trips(self) -> int:
        """So far, of all connections."""
        return sum(counter.round_trips for counter in self._counters)

    def take(self) -> int:
        """Those since this was last asked."""
        before, self._taken = self._taken, self.round_trips
        return self._taken - before

    @property
    def connections(self) -> int:
        """So far."""
        return len(self._counters)

    @property
    def url(self) -> str:
        """The URL of the database by way of the proxy."""
        assert self._server is not None  # noqa: S101 - it was entered
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        kept = {
            name: texts[0]
            for name, texts in parse_qs(self._target.query).items()
            if name not in {"host", "port"}
        }
        query = "&".join(f"{name}={quote(text, safe='')}" for name, text in kept.items())
        address = f"{login}@{HOST}:{port}" if login else f"{HOST}:{port}"
        return f"{self._target.scheme}://{address}{self._target.path}{query and f'?{query}'}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None  # noqa: S101 - it was entered
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._target.query)
        host = query.get("host", [self._target.hostname or "localhost"])[0]
        port = int(query.get("port", [str(self._target.port or _PORT)])[0])
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a server's callback runs in a task
        self._connections.add(this)
        counter = MessageCounter()
        self._counters.append(counter)
        ends = [writer]
        try:
            far_reader, far_writer = await self._dial()
            ends.append(far_writer)
            pumps = [
                asyncio.create_task(_pump(reader, far_writer, counter)),
                asyncio.create_task(_pump(far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # the client sees a lost connection
            pass
        finally:
            for end in ends:
                end.close()
            self._connections.discard(this)


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    counter: MessageCounter | None = None,
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            if counter is not None:
                counter.feed(data)
            writer.write(data)
            await writer.drain()
