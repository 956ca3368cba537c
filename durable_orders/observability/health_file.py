"""A file whose age tells whether a process that has no port can work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

#: Checks one dependency; returns what is wrong, or None.
Check = Callable[[], Awaitable[str | None]]

#: Seconds between two rounds of checks, after one that passed and after one that did not, and for
#: each check. A probe allows several rounds.
EVERY: Final = 5.0
AGAIN: Final = 1.0
_TIMEOUT: Final = 3.0


@contextlib.asynccontextmanager
async def kept_fresh(
    file: Path,
    checks: Mapping[str, Check],
    *,
    is_working: Callable[[], bool],
    every: float = EVERY,
    again: float = AGAIN,
) -> AsyncIterator[None]:
    """Touch the file while the block runs, the process works and all checks pass.

    Removed at the end. A check that fails is logged, and the file left to age; so is a disk that
    does not take it.
    """
    await asyncio.to_thread(_remove, file)  # an earlier process's
    touching = asyncio.create_task(_touch(file, checks, is_working, every, again))
    try:
        yield
    finally:
        touching.cancel()
        await asyncio.wait([touching])
        await asyncio.to_thread(_remove, file)


async def _touch(
    file: Path,
    checks: Mapping[str, Check],
    is_working: Callable[[], bool],
    every: float,
    again: float,
) -> None:
    while True:
        is_healthy = is_working() and all(
            [await _passes(name, check) for name, check in checks.items()]
        )
        if is_healthy:
            try:
                await asyncio.to_thread(file.touch)
            except OSError as error:
                log.warning("the health file %s cannot be touched: %s", file, error.strerror)
        await asyncio.sleep(every if is_healthy else again)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the health file %s cannot be removed: %s", file, error.strerror)


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            wrong = await check()
    except TimeoutError:
        wrong = f"no answer within {_TIMEOUT:g} s"
    if wrong:
        log.warning("not healthy, %s: %s", name, wrong)
    return not wrong
