"""Updates of one run take turns: Temporal hears ten of them at a time.

It refuses the eleventh (``RESOURCE_EXHAUSTED``), and drops the run from its cache with that, and
with it the Updates that were just being delivered (``UNAVAILABLE``, "workflow update was aborted"):
many who ask at once, each again and again, keep each other from being heard. All are welcome a
moment later, so nobody who asks should see any of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from temporalio.service import RPCError, RPCStatusCode

T = TypeVar("T")

#: Of this process: another one, or two, may ask the same run.
_AT_ONCE: Final = 4
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class Turns:
    """Who asks which run, in this process."""

    def __init__(self) -> None:
        self._asking: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def take(
        self, run: str, ask: Callable[[timedelta], Awaitable[T]], patience: timedelta
    ) -> T:
        """The answer of ``run`` (a workflow id), asked in its turn and again while it is asked too
        much. ``ask`` is told how long it may take, and has to be the same Update every time.

        Raises as ``ask``, and ``TimeoutError`` when ``patience`` ends before its turn comes.
        """
        now = asyncio.get_running_loop().time
        until = now() + patience.total_seconds()
        turn = self._asking.setdefault(run, asyncio.Semaphore(_AT_ONCE))
        async with asyncio.timeout_at(until):
            await turn.acquire()
        try:
            pause = _FIRST_PAUSE
            while True:
                try:
                    return await ask(timedelta(seconds=max(until - now(), 0.001)))
                except RPCError as error:
                    if not _asked_too_much(error) or now() >= until:
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            turn.release()


def _asked_too_much(error: RPCError) -> bool:
    return error.status is RPCStatusCode.RESOURCE_EXHAUSTED or (
        error.status is RPCStatusCode.UNAVAILABLE and "update was aborted" in error.message
    )
