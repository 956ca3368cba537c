"""Readiness: whether this process can do its work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

log = logging.getLogger(__name__)

#: Checks one dependency; returns what is wrong, or None.
Check = Callable[[], Awaitable[str | None]]

_TIMEOUT: Final = 3.0
_CACHE_SECONDS: Final = 1.0


class Readiness:
    """Runs all checks at once, and keeps the result for a second."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._missing: tuple[str, ...] = ()
        self._until = 0.0

    async def missing(self) -> tuple[str, ...]:
        """The names of the failed checks; the reasons are logged."""
        async with self._lock:
            if time.monotonic() >= self._until:
                checks = (self._passes(name, check) for name, check in self._checks.items())
                passed = await asyncio.gather(*checks)
                results = zip(self._checks, passed, strict=True)
                self._missing = tuple(name for name, ok in results if not ok)
                self._until = time.monotonic() + _CACHE_SECONDS
            return self._missing

    @staticmethod
    async def _passes(name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                wrong = await check()
        except TimeoutError:
            wrong = f"no answer within {_TIMEOUT:g} s"
        if wrong:
            log.warning("not ready, %s: %s", name, wrong)
        return not wrong
