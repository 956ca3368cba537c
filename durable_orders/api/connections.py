"""Connections of the HTTP API: how many there may be, and how long a client may take.

A client that sends its request or reads its answer too slowly is cut off. When there are as many
connections as there may be, the one that has been without a whole request for longest makes room.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger(__name__)

#: File descriptors that the process needs beside those of its clients: for the database, Temporal,
#: Stripe, files.
RESERVED_FILES: Final = 64
#: Bytes of a request's line and headers together, before they are parsed.
MAX_HEAD_BYTES: Final = 32_768


def affordable_connections(wanted: int) -> int:
    """As many connections as ``wanted``, or fewer if the process may not open so many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or wanted + RESERVED_FILES <= files:
        return wanted
    affordable = max(files - RESERVED_FILES, 8)
    log.warning(
        "this process may open %s files: at most %s connections, not API_MAX_CONNECTIONS=%s. "
        "Raise the limit with ulimit -n",
        files,
        affordable,
        wanted,
    )
    return affordable


def limited_protocol(*, max_connections: int, patience: float) -> type[H11Protocol]:
    """The protocol class for one server's connections.

    ``patience``: seconds for the head of a request, and for each pause in reading an answer. The
    body has its own limit: ``BodyLimitMiddleware``.
    """
    idle: dict[LimitedProtocol, None] = {}  # ordered: the longest without a whole request first

    class _Protocol(LimitedProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.limit_to(max_connections, patience, idle)

    return _Protocol


class LimitedProtocol(H11Protocol):
    """One connection. See ``limited_protocol``."""

    _max_connections: int
    _patience: float
    _idle: dict[LimitedProtocol, None]
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def limit_to(
        self, max_connections: int, patience: float, idle: dict[LimitedProtocol, None]
    ) -> None:
        self._max_connections, self._patience, self._idle = max_connections, patience, idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._max_connections and not self._make_room():
            log.warning("all %s connections are busy: one more is refused", self._max_connections)
            self._abort()
            return
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note_progress()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_progress()

    def send_400_response(self, msg: str) -> None:
        """Refuse what breaks the protocol. An answer that is under way has nobody to go to: its
        application is told that the client has gone.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self._abort()  # there was an answer already, or a part of it

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cancel_write_timer()
        self._write_timer = self.loop.call_later(self._patience, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_write_timer()

    def _note_progress(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete:
            self._cancel_head_timer()
            if self.conn.their_state is not h11.SEND_BODY:
                self._idle.pop(self, None)
        elif self._head_timer is None and not self.transport.is_closing():
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        """The whole head of a request has to come in time, however it is split."""
        self._idle.pop(self, None)  # it has been busy, and is the last now
        self._idle[self] = None
        self._head_timer = self.loop.call_later(self._patience, self._abort)

    def _stop_waiting(self) -> None:
        self._idle.pop(self, None)
        self._cancel_head_timer()

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _make_room(self) -> bool:
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        longest._abort()
        return True

    def _abort(self) -> None:
        """Close the connection at once, without waiting for what was not read."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
