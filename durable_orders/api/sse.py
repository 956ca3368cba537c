"""Server-sent events: streaming responses with a limit, a heartbeat and clean-up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from durable_orders.api.problems import TOO_MANY_STREAMS, ProblemError

_HEARTBEAT: Final = b": still here\n\n"
#: Then the client reconnects and goes on where it was: a revoked key does not stream for ever.
_MAX_SECONDS: Final = timedelta(minutes=30).total_seconds()

Events = AsyncGenerator[bytes, None]


class Streams:
    """The open streams of this process: at most ``max_open``; all end when the process stops."""

    def __init__(self, max_open: int, *, heartbeat: timedelta) -> None:
        self._max_open = max_open
        self._heartbeat = heartbeat.total_seconds()
        self._stopping = asyncio.Event()
        self.open = 0

    def acquire(self) -> None:
        """Reserve a stream, until ``release``. Raises the problem ``TOO_MANY_STREAMS``."""
        if self.open >= self._max_open:
            raise ProblemError(TOO_MANY_STREAMS)
        self.open += 1

    def release(self) -> None:
        self.open -= 1

    def stop(self) -> None:
        """End all streams; clients reconnect to another process."""
        self._stopping.set()

    def respond(self, events: Events) -> StreamingResponse:
        """The response that streams these events, after ``acquire``. It closes the events and
        releases the stream at its end, and when the client disconnects.
        """
        return _EventStreamResponse(self._with_heartbeats(events), self)

    async def _with_heartbeats(self, events: Events) -> Events:
        """The events, with comments in between so that no proxy closes an idle connection."""
        now = asyncio.get_running_loop().time
        until = now() + _MAX_SECONDS
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        upcoming: asyncio.Future[Any] | None = None
        try:
            while not stopping.done() and now() < until:
                upcoming = upcoming or asyncio.ensure_future(anext(events, None))
                await asyncio.wait(
                    {upcoming, stopping},
                    timeout=self._heartbeat,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if upcoming.done():
                    event, upcoming = upcoming.result(), None
                    if event is None:
                        return
                    yield event
                elif not stopping.done():
                    yield _HEARTBEAT
        finally:
            pending = [future for future in (stopping, upcoming) if future is not None]
            for future in pending:
                future.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await events.aclose()


class _EventStreamResponse(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, events: Events, streams: Streams) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no"})
        self._events = events
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release()
            await self._events.aclose()


def encode_event(name: str, id_: str, data: str, retry: timedelta | None = None) -> bytes:
    """Encode an event. ``data``: one line of JSON. ``id_``: what a client reconnects with."""
    lines = [f"event: {name}", f"id: {id_}", f"data: {data}"]
    if retry is not None:
        lines.append(f"retry: {retry // timedelta(milliseconds=1)}")
    return ("\n".join(lines) + "\n\n").encode()
