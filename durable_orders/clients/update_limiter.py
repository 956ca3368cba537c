"""Limit concurrent Updates per workflow.

Temporal accepts ten at a time. It rejects the eleventh with ``RESOURCE_EXHAUSTED``, which also
evicts the workflow from its cache and aborts pending Updates (``UNAVAILABLE``, "workflow update was
aborted"): many callers who retry at once keep each other from being heard. So a process sends four
at a time and repeats both errors with backoff.

A workflow task that fails takes the Updates along that it carried (``FAILED_PRECONDITION``): one
that lost its worker, or that the server has done again because a signal came meanwhile. The Update
is repeated too: the next task may well take it.
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

#: Per process: another one, or two, may send Updates to the same workflow.
_AT_ONCE: Final = 4
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class UpdateLimiter:
    """The Updates that this process is sending, by workflow id.

    Clients of one process that send Updates to the same workflows share one.
    """

    def __init__(self) -> None:
        self._sending: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def send(
        self, workflow_id: str, update: Callable[[timedelta], Awaitable[T]], patience: timedelta
    ) -> T:
        """Send an Update when its turn comes, again while the workflow does not take it; return its
        answer. ``update`` gets the time that is left, and sends the same Update every time.

        Raises as ``update``, and ``TimeoutError`` when ``patience`` ends before its turn comes.
        """
        now = asyncio.get_running_loop().time
        until = now() + patience.total_seconds()
        turn = self._sending.setdefault(workflow_id, asyncio.Semaphore(_AT_ONCE))
        async with asyncio.timeout_at(until):
            await turn.acquire()
        try:
            pause = _FIRST_PAUSE
            while True:
                try:
                    return await update(timedelta(seconds=max(until - now(), 0.001)))
                except RPCError as error:
                    if not _may_be_taken_later(error) or now() >= until:
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            turn.release()


def _may_be_taken_later(error: RPCError) -> bool:
    match error.status:
        case RPCStatusCode.RESOURCE_EXHAUSTED:
            return True
        case RPCStatusCode.UNAVAILABLE:
            return "update was aborted" in error.message
        case RPCStatusCode.FAILED_PRECONDITION:
            return "workflow task" in error.message.lower()
    return False
