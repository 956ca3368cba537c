"""What keeps failing: shown to an operator, who may say what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import NOT_OPERABLE
    from durable_orders.domain.activity_messages import Attention
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.manual_settlement import ManualSettlement, WrongAmountError
    from durable_orders.domain.senders import sender
    from durable_orders.domain.workflow_messages import OperatorCommand, Resolve, RetryNow, SkipStep
    from workflows.saga import OrderStopped

AllowedCommands = tuple[type[OperatorCommand], ...]
# The commands that an operator may give about a step that keeps failing. A step of ours can be
# given up, which undoes the order. What happened must be recorded, and a compensation must happen,
# if by hand.
STEP_COMMANDS: AllowedCommands = (RetryNow, SkipStep)
RECORD_COMMANDS: AllowedCommands = (RetryNow,)
COMPENSATION_COMMANDS: AllowedCommands = (RetryNow, Resolve)


#: What has become of a step whose failure an operator was asked about, in a refusal.
SUCCEEDED = "is done, by a try that was in flight"


class GivenCommand:
    """A command that an operator has given, and what became of it: it is taken, and acted upon, or
    it came too late.
    """

    def __init__(self, command: OperatorCommand, step: str) -> None:
        self.command = command
        self.step = step
        self.taken = False
        self.refusal = ""

    @property
    def event(self) -> str:
        """The event of the line about it in the order's history."""
        return f"operator_{self.command.kind}{'_too_late' if self.refusal else ''}"

    async def wait_until_decided(self) -> None:
        """Wait until it is taken or refused."""
        await workflow.wait_condition(lambda: self.taken or bool(self.refusal))

    def raise_if_refused(self) -> None:
        """Raise ``ApplicationError`` of type ``NOT_OPERABLE`` when it came too late."""
        if self.refusal:
            raise ApplicationError(self.refusal, type=NOT_OPERABLE)


class SettledManually(Exception):  # noqa: N818 - not an error: an operator's decision
    """An operator did by hand what a compensation could not."""

    def __init__(self, command: Resolve) -> None:
        super().__init__(command.note)
        self.command = command


class OperatorAttention:
    """What of a run needs an operator, and the commands that the operator gives.

    ``on_change`` is called whenever ``attention`` changes, so that it can be shown;
    ``before_waiting`` before a wait for the operator.
    """

    def __init__(self, on_change: Callable[[], None], before_waiting: Callable[[], None]) -> None:
        self._attention: Attention | None = None
        #: What steps beside the order's own need, by their names: shown while nothing else needs
        #: anybody.
        self._beside: dict[str, Attention] = {}
        #: The command that settled the last compensation which was settled by hand.
        self.resolution: Resolve | None = None
        #: The money that the present compensation is to give back.
        self.stake: ManualSettlement | None = None
        self._on_change = on_change
        self._before_waiting = before_waiting
        self._given: GivenCommand | None = None

    @property
    def attention(self) -> Attention | None:
        """What needs an operator now, if anything does."""
        return self._attention or next(iter(self._beside.values()), None)

    @attention.setter
    def attention(self, attention: Attention | None) -> None:
        self._attention = attention

    # -- the operator's commands -----------------------------------------------------------------

    @property
    def has_command(self) -> bool:
        """Whether a command was given that is not taken yet."""
        return self._given is not None

    def submit(self, command: OperatorCommand) -> GivenCommand:
        """Give a command about what needs attention. It is taken or refused later: until then a try
        of the step may be in flight.
        """
        self._given = GivenCommand(command, self.attention.step if self.attention else "")
        return self._given

    def check(self, command: OperatorCommand, doing: str) -> None:
        """Refuse a command that does not fit what keeps failing."""
        match self.attention:
            case None:
                message = f"nothing keeps failing, at the moment it is: {doing}"
            case attention if command.kind in attention.can and self._given is not None:
                given = self._given.command
                named = given.kind.replace("_", "-")
                message = f"{sender(given)} has given {attention.step} a {named} just now"
            case attention if command.kind in attention.can:
                if isinstance(command, Resolve):
                    self._check_given_back(attention.step, command)
                return
            case attention if attention.can:
                refused, *fitting = (
                    name.replace("_", "-") for name in (command.kind, *attention.can)
                )
                message = f"{attention.step} takes no {refused}, only {' or '.join(fitting)}"
            case attention:
                message = f"{attention.step} is not a step to try again: {attention.problem}"
        raise ApplicationError(message, type=NOT_OPERABLE)

    def _check_given_back(self, step: str, command: Resolve) -> None:
        """Refuse an amount that cannot be, where money is at stake, and any amount elsewhere."""
        if self.stake is None and command.given_back is not None:
            message = f"{step} does not ask what was given back: leave it out"
            raise ApplicationError(message, type=NOT_OPERABLE)
        try:
            if self.stake is not None:
                self.stake.given_back(command.given_back)
        except WrongAmountError as error:
            raise ApplicationError(str(error), type=NOT_OPERABLE) from None

    def take_command(self) -> bool:
        """Take the operator's command, if there is one. True: retry now.

        Raises ``OrderStopped`` when the step is given up, ``SettledManually`` when it is resolved.
        """
        given, self._given = self._given, None
        if given is None:
            return False
        given.taken = True
        match given.command:
            case SkipStep(reason=reason) as command:
                self.clear()
                why = f"given up by {sender(command)}: {reason}"
                raise OrderStopped(Stop(StopReason.GIVEN_UP, why))
            case Resolve():
                raise SettledManually(given.command)
            case _:
                return True

    def refuse_command(self, meanwhile: str) -> None:
        """Refuse the command that was given and not taken, if there is one: ``meanwhile`` says what
        the step, or the order, did instead.
        """
        given, self._given = self._given, None
        if given is not None:
            given.refusal = f"it came too late: {given.step} {meanwhile}"

    # -- asking for the operator -----------------------------------------------------------------

    async def wait_for_decision(
        self, step: Callable[..., Any], problem: str, *, limit: timedelta | None = None
    ) -> bool:
        """Have an operator decide about a step that ended in a way which no retry mends.

        True: it is to be tried again; also after ``limit``, and then it stays shown. False: it was
        settled by hand.
        """
        self.flag_failure(step, ApplicationError(problem), COMPENSATION_COMMANDS)
        try:
            await self._wait_for_command(limit)
        except TimeoutError:
            if not self.has_command:  # it may come in the same moment
                return True
        try:
            again = self.take_command()
        except SettledManually:
            again = False
        self.clear()
        return again

    async def wait_until_resolved(self, step: str, problem: str) -> None:
        """Ask an operator to do by hand what no step can, and wait until it is resolved."""
        self.attention = Attention(step, _now(), problem, can=(Resolve.kind,))
        self._on_change()
        await self._wait_for_command()
        with contextlib.suppress(SettledManually):
            self.take_command()
        self.clear()

    def flag_failure(
        self, step: Callable[..., Any], error: FailureError, allowed: AllowedCommands
    ) -> None:
        """Show that a step keeps failing, and which commands may be given about it."""
        since = self._attention.since if self._attention else _now()
        name = _name(step)
        can = tuple(command.kind for command in allowed)
        asks = self.stake is not None and not self.stake.is_known
        self.attention = Attention(name, since, problem_of(error), can, asks_given_back=asks)
        workflow.logger.warning("%s keeps failing: %s", name, self.attention.problem)
        self._on_change()

    def flag(self, step: str, problem: str, can: tuple[str, ...] = ()) -> None:
        """Ask an operator to look at something that is not a failing step.

        ``can`` names the Updates that decide about it, other than ``operate``.
        """
        known = self._attention
        if known is None or (known.step, known.problem) != (step, problem):
            self.attention = Attention(step, _now(), problem, can)
            self._on_change()

    def clear(self, meanwhile: str = SUCCEEDED) -> None:
        """Nothing needs attention any more. A command that was not taken came too late, because of
        what the step did ``meanwhile``.
        """
        self.refuse_command(meanwhile)
        if self._attention is not None:
            self._attention = None
            self._on_change()

    def flag_beside(self, step: Callable[..., Any], error: FailureError) -> None:
        """Show that a step beside the order's own keeps failing.

        It goes on by itself once its cause is mended, so it takes no command.
        """
        name, problem = _name(step), problem_of(error)
        self._beside[name] = Attention(name, _now(), problem)
        workflow.logger.warning("%s keeps failing: %s", name, problem)
        self._on_change()

    def clear_beside(self, step: Callable[..., Any]) -> None:
        """The step beside the order's own does not fail any more, or was given up."""
        if self._beside.pop(_name(step), None) is not None:
            self._on_change()

    async def _wait_for_command(self, limit: timedelta | None = None) -> None:
        self._before_waiting()
        await workflow.wait_condition(lambda: self.has_command, timeout=limit)


def _name(step: Callable[..., Any]) -> str:
    return getattr(step, "__name__", str(step))


def _now() -> str:
    return workflow.now().isoformat("T", "seconds")


def problem_of(error: BaseException) -> str:
    """What went wrong, in the words of the neighbour or the timeout rather than Temporal's."""
    cause = error.__cause__
    if isinstance(error, ActivityError) and cause is not None:
        return problem_of(cause)
    return error.message if isinstance(error, FailureError) else str(error)
