"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = 20) -> None:
    """Return as soon as ``condition`` holds; raise ``TimeoutError`` after ``within`` seconds."""
    pause = 0.01
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.2)
