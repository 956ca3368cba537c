"""Server-sent events: streaming responses with a limit, a heartbeat and clean-up."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from durable_orders.api.auth import CACHE_TTL
from durable_orders.api.problems import TOO_MANY_STREAMS, ProblemError
from durable_orders.domain.operators.api_keys import ApiKey
from durable_orders.domain.ports import ProviderError

log = logging.getLogger(__name__)

_HEARTBEAT: Final = b": still here\n\n"
#: Then the client reconnects and goes on where it was.
_MAX_SECONDS: Final = timedelta(minutes=30).total_seconds()

Events = AsyncGenerator[bytes, None]


class Streams:
    """The open streams of this process: at most ``max_open``, and ``max_per_key`` of one API key.

    All end when the process stops, those of a key when it is revoked: ``is_valid`` says so.
    """

    def __init__(
        self,
        max_open: int,
        *,
        max_per_key: int,
        heartbeat: timedelta,
        is_valid: Callable[[ApiKey], Awaitable[bool]],
    ) -> None:
        self._max_open = max_open
        self._max_per_key = max_per_key
        self._is_valid = is_valid
        self._of_key: Counter[str] = Counter()
        self._heartbeat = heartbeat.total_seconds()
        self._stopping = asyncio.Event()
        self.open = 0

    def acquire(self, key: ApiKey) -> None:
        """Reserve a stream, until ``release``. Raises the problem ``TOO_MANY_STREAMS``."""
        if self.open >= self._max_open:
            raise ProblemError(TOO_MANY_STREAMS)
        if self._of_key[key.id] >= self._max_per_key:
            detail = f"the key {key.name} has {self._max_per_key} streams: close one first"
            raise ProblemError(TOO_MANY_STREAMS, detail)
        self.open += 1
        self._of_key[key.id] += 1

    def release(self, key: ApiKey) -> None:
        self.open -= 1
        self._of_key[key.id] -= 1
        if not self._of_key[key.id]:
            del self._of_key[key.id]

    def stop(self) -> None:
        """End all streams; clients reconnect to another process."""
        self._stopping.set()

    def respond(self, events: Events, key: ApiKey) -> StreamingResponse:
        """The response that streams these events, after ``acquire``. It closes the events and
        releases the stream at its end, and when the client disconnects.
        """
        return _EventStreamResponse(self._with_heartbeats(events, key), self, key)

    async def _with_heartbeats(self, events: Events, key: ApiKey) -> Events:
        """The events, with comments in between so that no proxy closes an idle connection; none
        once the key is revoked.
        """
        now = asyncio.get_running_loop().time
        until, next_heartbeat = now() + _MAX_SECONDS, now() + self._heartbeat
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        upcoming: asyncio.Future[Any] | None = None
        try:
            while not stopping.done() and now() < until:
                upcoming = upcoming or asyncio.ensure_future(anext(events, None))
                await asyncio.wait(
                    {upcoming, stopping},
                    timeout=min(max(next_heartbeat - now(), 0), CACHE_TTL.total_seconds()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not await self._may_go_on(key):
                    return
                if upcoming.done():
                    event, upcoming = upcoming.result(), None
                    if event is None:
                        return
                    yield event
                elif now() >= next_heartbeat and not stopping.done():
                    next_heartbeat = now() + self._heartbeat
                    yield _HEARTBEAT
        finally:
            pending = [future for future in (stopping, upcoming) if future is not None]
            for future in pending:
                future.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await events.aclose()

    async def _may_go_on(self, key: ApiKey) -> bool:
        try:
            return await self._is_valid(key)
        except ProviderError as error:
            log.warning("it cannot be looked up whether the key %s is revoked: %s", key.name, error)
            return True


class _EventStreamResponse(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, events: Events, streams: Streams, key: ApiKey) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no"})
        self._events = events
        self._streams = streams
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release(self._key)
            await self._events.aclose()


def encode_event(name: str, id_: str, data: str, retry: timedelta | None = None) -> bytes:
    """Encode an event. ``data``: one line of JSON. ``id_``: what a client reconnects with."""
    lines = [f"event: {name}", f"id: {id_}", f"data: {data}"]
    if retry is not None:
        lines.append(f"retry: {retry // timedelta(milliseconds=1)}")
    return ("\n".join(lines) + "\n\n").encode()
