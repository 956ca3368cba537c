"""Whether the edge can do its work now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

log = logging.getLogger(__name__)

#: Asks one of those that the edge needs; the answer is what is wrong, None when nothing is.
Check = Callable[[], Awaitable[str | None]]

_PATIENCE: Final = 3.0
_REMEMBERED: Final = 1.0


class Readiness:
    """Asks all of them at once; an answer holds for a second, however often we are asked."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._asking = asyncio.Lock()
        self._missing: tuple[str, ...] = ()
        self._until = 0.0

    async def missing(self) -> tuple[str, ...]:
        """The names of those that cannot be worked with; why is in the log."""
        async with self._asking:
            if time.monotonic() >= self._until:
                asked = (self._works(name, check) for name, check in self._checks.items())
                works = await asyncio.gather(*asked)
                named = zip(self._checks, works, strict=True)
                self._missing = tuple(name for name, it_works in named if not it_works)
                self._until = time.monotonic() + _REMEMBERED
            return self._missing

    @staticmethod
    async def _works(name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                wrong = await check()
        except TimeoutError:
            wrong = f"no answer within {_PATIENCE:g} s"
        if wrong:
            log.warning("not ready, %s: %s", name, wrong)
        return not wrong
