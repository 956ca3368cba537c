"""Counts the round trips to PostgreSQL: a proxy that reads the messages which ask for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from sqlalchemy import make_url

from sandbox.ports import HOST

#: Query, Sync and Flush: what was sent before is done, and answered, at once.
#: https://www.postgresql.org/docs/18/protocol-message-formats.html
_ASKING: Final = b"QSH"
_CHUNK: Final = 65_536


class RoundTrips:
    """How often clients of a database have waited for its answer since it was last asked here."""

    def __init__(self, url: str) -> None:
        #: The database's address through the proxy.
        self.url = url
        self._seen = 0

    def add(self) -> None:
        self._seen += 1

    def take(self) -> int:
        """The round trips since this was last asked."""
        seen, self._seen = self._seen, 0
        return seen


@asynccontextmanager
async def counted_round_trips(url: str) -> AsyncIterator[RoundTrips]:
    """Count those of the clients that use the address ``RoundTrips.url``.

    Opening a connection counts, too: warm the pool up, then ``take``.
    """
    behind = make_url(url)
    directory, port = behind.query["host"], behind.port or behind.query.get("port", 5432)
    socket = f"{directory}/.s.PGSQL.{port}"
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_unix_connection(socket)
        tasks.add(asyncio.create_task(_forward(reader, away, _Counter(trips.add).read)))
        tasks.add(asyncio.create_task(_forward(there, writer)))

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    trips = RoundTrips(f"postgresql://{behind.username}@{HOST}:{port}/{behind.database}")
    try:
        yield trips
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    read: Callable[[bytes], None] = lambda _: None,
) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            read(chunk)
            writer.write(chunk)
            await writer.drain()
    writer.close()


class _Counter:
    """Reads what one client sends: a first message without a kind, or more of them while it asks
    for encryption, then messages of a kind, a length and a body.
    """

    def __init__(self, add: Callable[[], None]) -> None:
        self._add = add
        self._rest = b""
        self._has_begun = False

    def read(self, chunk: bytes) -> None:
        self._rest += chunk
        while True:
            kind = self._rest[: 1 if self._has_begun else 0]
            head = len(kind) + 4
            if len(self._rest) < head:
                return
            length = int.from_bytes(self._rest[len(kind) : head])
            if len(self._rest) < len(kind) + length:
                return
            self._rest = self._rest[len(kind) + length :]
            if not kind:
                self._has_begun = length > 8  # 8: SSLRequest
            elif kind in _ASKING:
                self._add()
