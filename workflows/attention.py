"""What keeps failing shows itself to a person, and hears what the person says about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import NOT_OPERABLE
    from orders.by_hand import Stake, WrongAmountError
    from orders.lifecycle import Reason, Stop
    from orders.messages import Attention
    from orders.requests import OperatorWord, Resolve, RetryNow, SkipStep
    from workflows.undo import StoppedError

# What an operator may say of a step that keeps failing. A step of ours can be given up, which
# undoes the order. What happened must be written down, and an undo must happen, if by hand.
OF_A_STEP = (RetryNow, SkipStep)
OF_A_RECORD = (RetryNow,)
OF_AN_UNDO = (RetryNow, Resolve)
Words = tuple[type[OperatorWord], ...]


class SettledByHand(Exception):  # noqa: N818 - not an error: an operator's word
    """An operator did what an undo could not."""

    def __init__(self, word: Resolve) -> None:
        super().__init__(word.note)
        self.word = word


class Attended:
    """What is being done, and what of it needs a person.

    ``changed`` is called whenever either changes, so that it can be shown; ``waits`` before a
    person is waited for.
    """

    def __init__(self, changed: Callable[[], None], waits: Callable[[], None]) -> None:
        self.doing = "starting"
        self.attention: Attention | None = None
        #: What an operator said of the last undo that was settled by hand.
        self.resolved: Resolve | None = None
        self._stake: Stake | None = None
        self._changed = changed
        self._waits = waits
        self._word: OperatorWord | None = None

    def now(self, doing: str) -> None:
        """Say what is being done."""
        self.doing = doing
        self._changed()

    # -- an operator's way out of what keeps failing -------------------------------------------

    def operate(self, word: OperatorWord) -> None:
        self._word = word

    def check_operable(self, word: OperatorWord) -> None:
        """Refuse a word that does not fit what keeps failing."""
        match self.attention:
            case None:
                message = f"nothing keeps failing, at the moment it is: {self.doing}"
            case attention if word.kind in attention.can:
                if isinstance(word, Resolve):
                    self._check_given_back(attention.step, word)
                return
            case attention if attention.can:
                message = (
                    f"{attention.step} takes no {word.kind}, only {' or '.join(attention.can)}"
                )
            case attention:
                message = f"{attention.step} is not a step to try again: {attention.problem}"
        raise ApplicationError(message, type=NOT_OPERABLE)

    def _check_given_back(self, step: str, word: Resolve) -> None:
        """Refuse an amount that cannot be, where money is at stake, and any amount elsewhere."""
        if self._stake is None and word.given_back is not None:
            message = f"{step} does not ask what was given back: leave it out"
            raise ApplicationError(message, type=NOT_OPERABLE)
        try:
            if self._stake is not None:
                self._stake.given_back(word.given_back)
        except WrongAmountError as error:
            raise ApplicationError(str(error), type=NOT_OPERABLE) from None

    # -- asking a person -----------------------------------------------------------------------

    async def decided(self, step: Callable[..., Any], problem: str) -> bool:
        """Have a person decide about a step that ended in a way which no try of ours mends.

        True: it is to be tried again. False: it was settled by hand.
        """
        self._flag(step, ApplicationError(problem), OF_AN_UNDO)
        self._waits()
        await workflow.wait_condition(lambda: self._word is not None)
        try:
            again = self._heard()
        except SettledByHand:
            again = False
        self._unflag()
        return again

    async def by_hand(self, step: str, problem: str) -> None:
        """Ask a person to do what we cannot, and wait until it is resolved."""
        since = workflow.now().isoformat("T", "seconds")
        self.attention = Attention(step=step, since=since, problem=problem, can=(Resolve.kind,))
        self._changed()
        self._waits()
        await workflow.wait_condition(lambda: self._word is not None)
        self._unflag()

    def _heard(self) -> bool:
        """Take the operator's word. True: try again. Raises what the other words mean."""
        word, self._word = self._word, None
        match word:
            case SkipStep(by=by, reason=reason):
                self._unflag()
                raise StoppedError(Stop(Reason.GIVEN_UP, f"given up by {by}: {reason}"))
            case Resolve():
                raise SettledByHand(word)
            case _:
                return word is not None

    def _flag(self, step: Callable[..., Any], error: FailureError, allowed: Words) -> None:
        since = self.attention.since if self.attention else workflow.now().isoformat("T", "seconds")
        name = getattr(step, "__name__", str(step))
        can = tuple(word.kind for word in allowed)
        asks = self._stake is not None and not self._stake.is_known
        self.attention = Attention(name, since, problem_of(error), can, asks_given_back=asks)
        workflow.logger.warning("%s keeps failing: %s", name, self.attention.problem)
        self._changed()

    def flag(self, step: str, problem: str) -> None:
        """Ask a person to look at something that is not a failing step."""
        since = workflow.now().isoformat("T", "seconds")
        if self.attention is None or (self.attention.step, self.attention.problem) != (
            step,
            problem,
        ):
            self.attention = Attention(step=step, since=since, problem=problem)
            self._changed()

    def unflag(self) -> None:
        """Nobody need look any more."""
        self._unflag()

    def _unflag(self) -> None:
        self._word = None
        if self.attention is not None:
            self.attention = None
            self._changed()


def problem_of(error: BaseException) -> str:
    """What went wrong, in the words of the neighbour or the timeout rather than Temporal's."""
    cause = error.__cause__
    if isinstance(error, ActivityError) and cause is not None:
        return problem_of(cause)
    return error.message if isinstance(error, FailureError) else str(error)
