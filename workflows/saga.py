"""The saga: what was done in its block is compensated when the block is left uncommitted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from temporalio.exceptions import FailureError, is_cancelled_exception

from durable_orders.domain.lifecycle import Stop

#: Reverses one step; a no-op when the step never happened. Must not give up. False: it is too late,
#: the step stands, and with it every step before it.
Compensation = Callable[[], Awaitable[bool]]

#: Decides that the steps are undone, before the first of them is. False: they stand.
Decision = Callable[["Saga"], Awaitable[bool]]


class OrderStopped(Exception):  # noqa: N818 - not an error: an expected end of an order
    """The order does not go ahead, for an expected reason."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


class Saga:
    """Undone unless kept: ``async with Saga() as saga:`` around the steps of an order.

    Register each compensation *before* its step: a step without an answer may have happened.
    Leaving the block without ``commit()`` asks ``decide``, then runs the compensations, newest
    first. The block ends quietly after ``OrderStopped``, a failed step or a cancellation, and says
    why in ``stop`` or ``failure``; any other exception is a bug of ours: nothing is compensated, so
    that Temporal can run the task again with mended code.

    A cancellation of the run must not reach the compensations: see ``workflows.shielding``.
    """

    def __init__(self, decide: Decision | None = None) -> None:
        self.stop: Stop | None = None
        self.failure: BaseException | None = None
        self.compensated = False
        self._decide = decide
        self._committed = False
        self._compensations: list[Compensation] = []

    def add_compensation(self, compensation: Compensation) -> None:
        """Have ``compensation`` run, before those added earlier, unless the saga is committed."""
        self._compensations.append(compensation)

    def discard_compensations(self) -> None:
        """Everything is undone already."""
        self._compensations.clear()

    def commit(self) -> None:
        """All steps are done: leave them as they are."""
        self._committed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        match exc:
            case None if self._committed:
                return False
            case None:
                pass
            case OrderStopped():
                self.stop = exc.stop
            case FailureError():
                self.failure = exc
            case _ if is_cancelled_exception(exc):
                self.failure = exc
            case _:
                return False
        decided = self._decide is None or await self._decide(self)
        self.compensated = decided and await self._compensate_all()
        return exc is not None

    async def _compensate_all(self) -> bool:
        """Run the compensations; False when one of them was too late."""
        while self._compensations:
            if not await self._compensations.pop()():
                return False
        return True
