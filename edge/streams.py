"""Answers that go on for as long as there is something to tell: server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from edge.problems import TOO_MANY_STREAMS, ProblemError

_BEAT: Final = b": still here\n\n"
#: Then the caller comes back, and goes on where it was: a revoked key does not stream for ever.
_LONGEST: Final = timedelta(minutes=30).total_seconds()

Events = AsyncGenerator[bytes, None]


class Streams:
    """The streams of this process: so many at most, and all of them end when it stops."""

    def __init__(self, most: int, *, heartbeat: timedelta) -> None:
        self._most = most
        self._heartbeat = heartbeat.total_seconds()
        self._stopping = asyncio.Event()
        self.open = 0

    def take(self) -> None:
        """Have room for one more, until ``give_back``. Raises ``TOO_MANY_STREAMS``."""
        if self.open >= self._most:
            raise ProblemError(TOO_MANY_STREAMS)
        self.open += 1

    def give_back(self) -> None:
        self.open -= 1

    def stop(self) -> None:
        """End them all; whoever comes back finds another process."""
        self._stopping.set()

    def answer(self, events: Events) -> StreamingResponse:
        """The answer that tells these events, in the room that was taken. It frees both when it is
        over, and when the caller goes away.
        """
        return _Stream(self._kept_alive(events), self)

    async def _kept_alive(self, events: Events) -> Events:
        """The events, with a comment now and then, so that nobody on the way closes the line."""
        now = asyncio.get_running_loop().time
        until = now() + _LONGEST
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        coming: asyncio.Future[Any] | None = None
        try:
            while not stopping.done() and now() < until:
                coming = coming or asyncio.ensure_future(anext(events, None))
                await asyncio.wait(
                    {coming, stopping},
                    timeout=self._heartbeat,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming.done():
                    event, coming = coming.result(), None
                    if event is None:
                        return
                    yield event
                elif not stopping.done():
                    yield _BEAT
        finally:
            left = [future for future in (stopping, coming) if future is not None]
            for future in left:
                future.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await events.aclose()


class _Stream(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, events: Events, room: Streams) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no"})
        self._events = events
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._room.give_back()
            await self._events.aclose()


def event(name: str, id_: str, data: str, retry: timedelta | None = None) -> bytes:
    """One event on the wire. ``data`` is a line of JSON; ``id_`` leads back to it."""
    lines = [f"event: {name}", f"id: {id_}", f"data: {data}"]
    if retry is not None:
        lines.append(f"retry: {retry // timedelta(milliseconds=1)}")
    return ("\n".join(lines) + "\n\n").encode()
