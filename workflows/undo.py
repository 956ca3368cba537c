"""The undo block: what was done in it is undone when it is left, unless it was kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from temporalio.exceptions import FailureError, is_cancelled_exception

from orders.lifecycle import Stop

#: Reverses one step; a no-op when the step never happened. Must not give up. False says that it
#: is too late: the step stands, and with it every step before it.
Undo = Callable[[], Awaitable[bool]]


class StoppedError(Exception):
    """The order does not go ahead, for an expected reason."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


class UndoneUnlessKept:
    """``async with UndoneUnlessKept() as undo:`` is a saga.

    Register each undo *before* its step: a step without an answer may have happened. Leaving the
    block without ``keep()`` runs the undos, newest first. The block ends quietly after a
    ``StoppedError``, a failed step or a cancellation, and says in ``stop`` or ``failure`` why;
    any other exception is a bug of ours: nothing is undone, so that Temporal can run the task
    again with mended code.

    A cancellation of the run must not reach the undos: see ``workflows.ending``.
    """

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.failure: BaseException | None = None
        self.undone = False
        self._kept = False
        self._undos: list[Undo] = []

    def add(self, undo: Undo) -> None:
        """Have ``undo`` run, before those added earlier, unless the block is kept."""
        self._undos.append(undo)

    def keep(self) -> None:
        """All steps are done: leave them as they are."""
        self._kept = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        match exc:
            case None if self._kept:
                return False
            case None:
                pass
            case StoppedError():
                self.stop = exc.stop
            case FailureError():
                self.failure = exc
            case _ if is_cancelled_exception(exc):
                self.failure = exc
            case _:
                return False
        self.undone = await self._undo_all()
        return exc is not None

    async def _undo_all(self) -> bool:
        """Run the undos; False when one said that it is too late."""
        while self._undos:
            if not await self._undos.pop()():
                return False
        return True
