"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = 20) -> None:
    """Return as soon as ``condition`` holds; raise ``TimeoutError`` after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - what is waited for is elsewhere, it cannot tell us
            await asyncio.sleep(0.02)
