"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, within: float = 20, pause: float = 0.01
) -> None:
    """Return as soon as ``condition`` holds; raise ``TimeoutError`` after ``within`` seconds.

    ``pause`` is that between the first two looks, in seconds.
    """
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, max(pause, 0.2))
