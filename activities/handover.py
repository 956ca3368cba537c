"""Charges within a workflow task: begun there only where they are likely to end there, and never
cut.

While a workflow task lasts, its run hears nothing and answers nobody. So a charge is tried there
only when the last ones were quick (``ChargePace``). One that takes its time all the same is handed
over (``Handover``): the request goes on, the workflow task ends, and a normal activity waits for
the answer, in this process or, if that dies, by asking what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from datetime import timedelta
from statistics import median
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.error_types import HANDED_OVER

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Half of the last charges must have ended within this for the next one to begin locally.
LIKELY_WITHIN: Final = timedelta(milliseconds=400)

#: A charge that was begun locally is handed over after this long. Well below the time after which
#: the SDK renews the workflow task (four fifths of ``contracts.timeouts.WORKFLOW_TASK``).
HANDED_OVER_AFTER: Final = timedelta(seconds=1)

#: So many charges are looked back at, and so many must be known.
_LAST: Final = 9
_KNOWN: Final = 3


class ChargePace:
    """How long the last charges of this process took, from their first request to the answer."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=_LAST)

    def record(self, seconds: float) -> None:
        """Take note of a charge that has ended."""
        self._took.append(seconds)

    @property
    def is_quick(self) -> bool:
        """Whether the next charge is likely to end within a workflow task. False until some have
        been seen.
        """
        return len(self._took) >= _KNOWN and median(self._took) < LIKELY_WITHIN.total_seconds()


class Handover(Generic[T]):
    """Conversations of this process that a local activity has begun, by what they are about.

    ``hold_open`` is called with each that outlives its activity, ``after`` so long: the worker does
    not end before it.
    """

    def __init__(
        self,
        hold_open: Callable[[asyncio.Task[T]], None] = lambda _: None,
        *,
        after: timedelta = HANDED_OVER_AFTER,
    ) -> None:
        self._going_on: dict[Hashable, asyncio.Task[T]] = {}
        self._hold_open = hold_open
        self._after = after

    async def run(self, about: Hashable, talk: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have ``talk`` done, or wait for the one about the same that goes on already.

        Raises as ``talk`` does, and ``ApplicationError`` of type ``HANDED_OVER`` in a local
        activity that has lasted too long.
        """
        if not activity.in_activity() or not activity.info().is_local:
            going_on = self._going_on.pop(about, None)
            return await (going_on or talk())
        # A workflow task that is done again waits for what its first time has begun.
        talking = self._going_on.get(about) or self._begin(about, talk())
        try:
            await asyncio.wait({talking}, timeout=self._after.total_seconds())
        finally:  # also when the workflow task was lost, and the activity is cut off with it
            if not talking.done():
                self._hold_open(talking)
        if talking.done():
            return talking.result()
        raise ApplicationError("it takes its time, and goes on", type=HANDED_OVER)

    def _begin(self, about: Hashable, talk: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        talking = self._going_on[about] = asyncio.create_task(talk)
        talking.add_done_callback(lambda _: self._forget(about, talking))
        return talking

    def _forget(self, about: Hashable, talking: asyncio.Task[T]) -> None:
        if self._going_on.get(about) is not talking:
            return  # a normal activity waits for it, and hears what became of it
        del self._going_on[about]
        if not talking.cancelled() and (error := talking.exception()) is not None:
            log.debug("what was begun within a workflow task has failed", exc_info=error)


async def timed(pace: ChargePace, talk: Awaitable[T]) -> T:
    """The result of ``talk``, whose time is recorded however it ends."""
    began = monotonic()
    try:
        return await talk
    finally:
        pace.record(monotonic() - began)
