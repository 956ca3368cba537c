"""How often somebody may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MINUTE: Final = 60.0


class Rate:
    """So many a minute for each name: a bucket of that many, refilled evenly.

    Held in the memory of this process, for at most ``names`` names at a time; those that asked
    longest ago are forgotten first.
    """

    def __init__(
        self, per_minute: int, *, names: int = 10_000, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = _MINUTE / per_minute
        self._names = names
        self._now = now
        # When each bucket is full again: one number says how much is in it (this is GCRA).
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str) -> float:
        """The seconds until ``name`` may ask, 0 when it may now. This does not count."""
        full_at = max(self._full_at.get(name, 0), self._now())
        return max(full_at + self._interval - self._now() - _MINUTE, 0)

    def take(self, name: str) -> float:
        """The same, and count it when it may."""
        now = self._now()
        if wait := self.wait(name):
            return wait
        self._full_at[name] = max(self._full_at.get(name, 0), now) + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._names:
            self._full_at.popitem(last=False)
        return 0
