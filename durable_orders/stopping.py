"""Stopping a process: asked once, it finishes what is under way in bounded time; asked again, it
ends at once.

Exit codes: 0, everything was finished; 3, it was cut off at the limit, because something it waited
for is away; 128 and the signal's number, it was asked again. Cutting off is safe, as a crash is:
another process goes on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Final

from durable_orders.process import exit_process

log = logging.getLogger(__name__)

#: Exit code of a process that was cut off at its limit.
CUT_OFF: Final = 3
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOOK: Final = 0.1


class StopSignals:
    """SIGTERM and SIGINT of this process.

    ``limit``: how long it may take to stop once nothing is under way any more, as ``is_busy`` says;
    ``busy_limit``: how long in all. A thread watches, so they are kept whatever the loop does.
    """

    def __init__(
        self,
        *,
        limit: timedelta,
        busy_limit: timedelta | None = None,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.asked = asyncio.Event()
        self._limit = limit.total_seconds()
        self._busy_limit = (busy_limit or limit).total_seconds()
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._on_stop: Callable[[], None] = lambda: None
        self._was_asked = False

    def install(self, on_stop: Callable[[], None] = lambda: None) -> None:
        """Handle the signals from now on; ``on_stop`` is called in the event loop at the first."""
        self._on_stop = on_stop
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's shape
        if self._was_asked:
            exit_process(128 + number)
        self._was_asked = True
        threading.Thread(target=self._watch, name="stopping", daemon=True).start()
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self.asked.set()
        self._on_stop()

    def _watch(self) -> None:
        asked_at = busy_at = now = time.monotonic()
        while now - asked_at < self._busy_limit:
            if self._is_busy():
                busy_at = now
            elif now - busy_at >= self._limit:
                break
            time.sleep(_LOOK)
            now = time.monotonic()
        log.error(
            "not stopped within %.0f s, something does not answer: ending at once, another process "
            "goes on",
            now - asked_at,
        )
        exit_process(CUT_OFF)
