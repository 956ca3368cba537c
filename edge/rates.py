"""Rate limiter, in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MINUTE: Final = 60.0


class RateLimiter:
    """Token bucket per name: ``per_minute`` tokens, refilled evenly.

    Keeps at most ``max_names`` buckets and drops the least recently used.
    """

    def __init__(
        self, per_minute: int, *, max_names: int = 10_000, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = _MINUTE / per_minute
        self._max_names = max_names
        self._now = now
        # The time at which each bucket is full again, which tells how much is in it (GCRA).
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_time(self, name: str) -> float:
        """Seconds until ``name`` may send a request, 0: now. Takes no token."""
        full_at = max(self._full_at.get(name, 0), self._now())
        return max(full_at + self._interval - self._now() - _MINUTE, 0)

    def acquire(self, name: str) -> float:
        """Take a token and return 0, or return the seconds to wait."""
        now = self._now()
        if wait := self.wait_time(name):
            return wait
        self._full_at[name] = max(self._full_at.get(name, 0), now) + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._max_names:
            self._full_at.popitem(last=False)
        return 0
