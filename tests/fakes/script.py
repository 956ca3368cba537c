"""Scripted failures and delays of the in-memory fakes, one call at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, TypeVar
from weakref import WeakSet

from durable_orders.domain.ports import NoAnswerError

T = TypeVar("T")


class BlockedCall:
    """A call that is blocked until the test releases it."""

    def __init__(self, *, is_cut: bool = True) -> None:
        self._entered = asyncio.Event()
        self._released = asyncio.Event()
        self._is_cut = is_cut

    async def entered(self) -> None:
        """Wait until the call is blocked here."""
        await self._entered.wait()

    def release(self) -> None:
        """Release the call; also before it arrives."""
        self._released.set()

    async def pass_through(self) -> None:
        self._entered.set()
        while not self._released.is_set():
            try:
                await self._released.wait()
            except asyncio.CancelledError:
                if self._is_cut:
                    raise


@dataclass
class _Fail:
    error: Exception
    times: float


@dataclass
class _LoseAnswer:
    times: float


@dataclass
class _Hold:
    where: Literal["before", "after"]
    gate: BlockedCall = field(default_factory=BlockedCall)
    times: float = 1


_Step = _Fail | _LoseAnswer | _Hold


class Scripted:
    """Base class of the fakes: plays the steps scripted for a method, then behaves normally.

    ``calls`` lists the method of every call, in order, failed ones too.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._steps: dict[str, deque[_Step]] = defaultdict(deque)
        _instances.add(self)

    def fail_next(self, method: str, error: Exception, *, times: int = 1) -> None:
        """The next ``times`` calls do nothing and raise ``error``."""
        self._plan(method, _Fail(error, times))

    def fail_until_healed(self, method: str, error: Exception) -> None:
        """Every call does nothing and raises ``error`` until ``heal(method)``."""
        self._plan(method, _Fail(error, float("inf")))

    def lose_answer_next(self, method: str, *, times: int = 1) -> None:
        """The next ``times`` calls do their work, and the caller gets ``NoAnswerError``."""
        self._plan(method, _LoseAnswer(times))

    def hold(
        self,
        method: str,
        *,
        where: Literal["before", "after"] = "before",
        is_cut: bool = True,
    ) -> BlockedCall:
        """The next call blocks ``before`` or ``after`` its work until ``release()``; unless
        ``is_cut``, also when its activity is cancelled: the answer is on its way already.
        """
        step = _Hold(where, BlockedCall(is_cut=is_cut))
        self._plan(method, step)
        return step.gate

    def heal(self, method: str) -> None:
        """Remove the remaining steps of ``method``. A blocked call stays blocked."""
        self._steps[method].clear()

    def is_over(self, method: str) -> bool:
        """Whether all steps of ``method`` have been played."""
        return not self._steps[method]

    def take_unplayed(self) -> list[str]:
        """Remove all remaining steps; return the methods whose finite steps were not all played."""
        unplayed = [
            method
            for method, steps in self._steps.items()
            if any(isfinite(step.times) for step in steps)
        ]
        self._steps.clear()
        return unplayed

    def _plan(self, method: str, step: _Step) -> None:
        if not callable(getattr(self, method, None)):
            raise AttributeError(f"{type(self).__name__} has no method {method}")
        self._steps[method].append(step)

    def _next_step(self, method: str) -> _Step | None:
        steps = self._steps[method]
        if not steps:
            return None
        step = steps[0]
        step.times -= 1
        if step.times <= 0:
            steps.popleft()
        return step

    async def _play(self, method: str, work: Callable[[], T]) -> T:
        self.calls.append(method)
        match self._next_step(method):
            case _Fail(error=error):
                raise error
            case _LoseAnswer():
                work()
                raise NoAnswerError(f"{method}: the answer was lost (scripted)")
            case _Hold(where="before", gate=gate):
                await gate.pass_through()
                return work()
            case _Hold(gate=gate):
                answer = work()
                await gate.pass_through()
                return answer
            case None:
                return work()


_instances: WeakSet[Scripted] = WeakSet()


def take_unplayed() -> list[str]:
    """``Scripted.take_unplayed`` of all fakes, each method with its class."""
    return [
        f"{type(fake).__name__}.{method}"
        for fake in list(_instances)
        for method in fake.take_unplayed()
    ]
