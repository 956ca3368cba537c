"""Running one step of an order: tried, flagged when it keeps failing, stopped on request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TimeoutType,
)
from temporalio.exceptions import TimeoutError as StepTimeoutError
from temporalio.exceptions import is_cancelled_exception as was_cancelled
from temporalio.types import MethodAsyncSingleParam
from temporalio.workflow import ActivityHandle, LocalActivityConfig

with workflow.unsafe.imports_passed_through():
    from activities import error_types
    from durable_orders.domain.activity_messages import CancelRequest
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.manual_settlement import ManualSettlement
    from durable_orders.domain.senders import UNKNOWN, is_well_sent, sender
    from durable_orders.domain.workflow_messages import OperatorCommand
    from workflows.operator_attention import (
        COMPENSATION_COMMANDS,
        RECORD_COMMANDS,
        STEP_COMMANDS,
        AllowedCommands,
        OperatorAttention,
        SettledManually,
        problem_of,
    )
    from workflows.retry_policies import (
        LOCAL,
        REPEAT_PAUSE_FIRST,
        REPEAT_PAUSE_LONGEST,
        Cause,
        Failure,
        Phase,
        Phases,
        Policy,
    )
    from workflows.saga import OrderStopped

In = TypeVar("In")
Out = TypeVar("Out")

#: An activity by reference: ``PaymentActivities.charge_card``.
Step = MethodAsyncSingleParam[Any, In, Out]


class StepPaused(Exception):  # noqa: N818 - not an error: the step may be run again
    """The order's own step was interrupted: something has to be decided before it goes on."""


class StepRunner:
    """Runs the steps of one order, or of one refund, one after another.

    Each is named by what is being ``doing``, a phrase for the Web UI. ``on_change`` is called
    whenever that or ``operator.attention`` changes, so that it can be shown; ``before_waiting``
    before anything that may take its time.
    """

    def __init__(
        self, on_change: Callable[[], None], before_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self.doing = "starting"
        self.operator = OperatorAttention(on_change, before_waiting)
        self.cancel_request: CancelRequest | None = None
        #: Why the order must stop, other than by request.
        self.stop: Stop | None = None
        #: Set while something has to be decided before the order's own step goes on.
        self.paused = False
        self._on_change = on_change
        self._before_waiting = before_waiting
        self._beside: set[asyncio.Task[None]] = set()

    def set_doing(self, doing: str) -> None:
        """Show what is being done."""
        self.doing = doing
        self._on_change()

    def check_command(self, command: OperatorCommand) -> None:
        """Refuse an operator's command that does not fit what keeps failing."""
        self.operator.check(command, self.doing)

    def request_cancel(self, request: CancelRequest) -> None:
        """Ask for the order to be stopped; the first request counts."""
        if not is_well_sent(request):  # a signal, which cannot be refused
            request = CancelRequest(by=UNKNOWN)
        self.cancel_request = self.cancel_request or request

    def request_stop(self, stop: Stop) -> None:
        """Have the order stopped for a reason that a step beside its own has found; the first one
        counts.
        """
        self.stop = self.stop or stop

    @property
    def must_stop(self) -> bool:
        """Whether the order was asked to stop or to pause, by a cancellation or because of what was
        found.
        """
        return self.cancel_request is not None or self.stop is not None or self.paused

    def stop_if_asked(self) -> None:
        """Raises ``OrderStopped`` when the order must stop, ``StepPaused`` when it must pause."""
        if self.cancel_request is not None:
            why = f"cancelled by {sender(self.cancel_request)}"
            raise OrderStopped(Stop(StopReason.CANCELLED, why))
        if self.stop is not None:
            raise OrderStopped(self.stop)
        if self.paused:
            raise StepPaused

    async def wait(self, doing: str, until: Callable[[], bool], limit: timedelta | None) -> bool:
        """Wait durably until ``until()``, or for ``limit``; False when the time is up."""
        self.set_doing(doing)
        self._before_waiting()
        try:
            await workflow.wait_condition(until, timeout=limit)
        except TimeoutError:
            return False
        return True

    async def wait_unless_cancelled(
        self, doing: str, until: Callable[[], bool], limit: timedelta
    ) -> bool:
        """As ``wait``, but raises ``OrderStopped`` when the order is cancelled meanwhile."""
        came = await self.wait(doing, lambda: until() or self.must_stop, limit)
        self.stop_if_asked()
        return came

    # -- how a step can be run -------------------------------------------------------------------

    async def run(self, doing: str, step: Step[In, Out], argument: In, policy: Policy) -> Out:
        """Run a step that a cancellation may stop.

        Raises ``OrderStopped`` when one was requested, before the step or while it ran: the step
        may have happened. Looked at again after the step, because an activity that finishes in
        spite of being cancelled returns normally. Raises ``FailureError`` when it had no answer.
        """
        answer = await self._try(doing, step, argument, policy, STEP_COMMANDS)
        self.stop_if_asked()
        return answer

    async def run_to_answer(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """As ``run``, but an answer is returned in spite of a cancellation, for a caller that has
        to know it; ``stop_if_asked`` must follow.
        """
        return await self._try(doing, step, argument, policy, STEP_COMMANDS)

    async def run_or_fail(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """Run a step before anything has happened: its failure fails the run."""
        return await self._try(doing, step, argument, policy, RECORD_COMMANDS)

    async def try_locally(self, doing: str, step: Step[In, Out], argument: In) -> Out | None:
        """Run a step within the workflow task; None when it got no answer there, and is to be done
        another way. Raises ``FailureError`` when trying again cannot help.
        """
        self.set_doing(doing)
        try:
            options: LocalActivityConfig = {**LOCAL, "summary": doing}
            return await workflow.execute_local_activity_method(step, argument, **options)
        except FailureError as error:
            if not _may_heal(error):
                raise
            return None

    async def run_until_done(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        allowed: AllowedCommands = RECORD_COMMANDS,
    ) -> Out:
        """Run a step that must neither be stopped nor given up: it happened and has to be recorded,
        or it must happen because of what happened. An operator may give the ``allowed`` commands.

        Failures that Temporal does not retry (our bug, a request the provider refuses) are tried
        again too, ever more slowly: money must not stay where it is because of a typo of ours.
        """
        pause, has_failed = REPEAT_PAUSE_FIRST, False
        while True:
            try:
                answer = await self._try(doing, step, argument, policy, allowed)
            except FailureError as error:
                has_failed = True
                # A try that an operator ended tells nothing new: the first problem stays.
                if not was_cancelled(error):
                    self.operator.flag_failure(step, error, allowed)
                await self._pause(pause)
                pause = min(pause * 2, REPEAT_PAUSE_LONGEST)
            else:
                if has_failed:  # what others have flagged stays
                    self.operator.clear()
                return answer

    async def compensate(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        *,
        stake: ManualSettlement | None = None,
    ) -> Out | None:
        """Run a compensation until it is done; None when an operator settled it by hand, and has
        said (``operator.resolution``) what became of the money at ``stake``.
        """
        self.operator.stake = stake
        try:
            return await self.run_until_done(doing, step, argument, policy, COMPENSATION_COMMANDS)
        except SettledManually as settled:
            self.operator.resolution = settled.command
            self.operator.clear()
            return None
        finally:
            self.operator.stake = None

    async def run_beside(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        on_silence: Callable[[FailureError], None] | None = None,
    ) -> Out:
        """Run a step beside the order's own: it is not shown and takes no command. It asks for a
        person's attention only when its fault is ours. ``on_silence`` is called with the failure
        after which it is tried patiently.
        """
        problem: FailureError | None = None
        for phase in policy.phases(doing):
            try:
                if phase.local is not None:
                    return await workflow.execute_local_activity_method(
                        step, argument, **phase.local
                    )
                if phase.patient and problem is not None and _is_ours(problem):
                    self.operator.flag_beside(step, problem)
                if phase.patient and problem is not None and on_silence is not None:
                    on_silence(problem)
                self._before_waiting()
                return await workflow.execute_activity_method(step, argument, **phase.normal)
            except FailureError as error:
                if phase.patient or policy.patient is None or not _may_heal(error):
                    raise
                problem = error
            finally:
                if phase.patient:
                    self.operator.clear_beside(step)
        raise AssertionError("a patient phase returns or raises")

    def start_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Have ``work`` done beside the order's own steps. The run does not end before it."""
        task = asyncio.create_task(_logging_failure(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    @property
    def is_idle_beside(self) -> bool:
        """Whether nothing that ``start_beside`` began is under way."""
        return not self._beside

    # -- trying ----------------------------------------------------------------------------------

    async def _try(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        allowed: AllowedCommands,
    ) -> Out:
        """Try a step phase by phase; in the patient one it is flagged.

        Of the steps that a cancellation may stop, one that fails after a cancellation was requested
        raises ``OrderStopped``, whatever its failure: Temporal does not retry an activity that
        failed while it was being cancelled, and that is no outage.
        """
        stoppable = allowed is STEP_COMMANDS
        if stoppable:
            self.stop_if_asked()
        self.set_doing(doing)
        phases = policy.phases(doing)
        phase = next(phases)
        problem: FailureError | None = None
        while True:
            if phase.patient and problem is not None:
                self.operator.flag_failure(step, problem, allowed)
            if phase.pause:
                await self._pause(phase.pause, stoppable=stoppable)
            try:
                if phase.local is not None:
                    # Over in milliseconds: nothing to interrupt.
                    answer = await workflow.execute_local_activity_method(
                        step, argument, **phase.local
                    )
                else:
                    self._before_waiting()
                    running = workflow.start_activity_method(step, argument, **phase.normal)
                    answer = await self._interruptible(running, stoppable=stoppable)
            except FailureError as error:
                following = self._next_phase(phases, phase, error, stoppable=stoppable)
                if following is None:
                    raise
                problem = None if phase.patient else error
                phase = following
            else:
                if phase.patient:
                    self.operator.clear()
                return answer

    async def _interruptible(self, running: ActivityHandle[Out], *, stoppable: bool) -> Out:
        """Wait for an activity and return its answer. An operator's command cancels it, and so does
        a cancellation of the order where the step is ``stoppable``.
        """

        def interrupted() -> bool:
            return self.operator.has_command or (stoppable and self.must_stop)

        await workflow.wait_condition(lambda: running.done() or interrupted())
        if not running.done():
            running.cancel()
        return await running

    def _next_phase(
        self, phases: Phases, phase: Phase, error: FailureError, *, stoppable: bool
    ) -> Phase | None:
        """The phase that follows one that failed; None when the step is given up. Raises what stops
        the order, or what an operator decided.
        """
        if stoppable and self.must_stop:
            self._stop_step()
        if phase.patient and self.operator.take_command():
            return replace(phase, pause=timedelta(0))
        if stoppable and phase.patient:
            self.operator.clear("is tried another way")
        if not _may_heal(error):
            return None
        try:
            return phases.send(_failure(error))
        except StopIteration:
            return None

    async def _pause(self, pause: timedelta, *, stoppable: bool = False) -> None:
        """Wait before the next try, or for an operator's command, or, where the step is
        ``stoppable``, until the order must stop: then raises ``OrderStopped``.
        """

        def interrupted() -> bool:
            return self.operator.has_command or (stoppable and self.must_stop)

        self._before_waiting()
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(interrupted, timeout=pause)
        if stoppable and self.must_stop:
            self._stop_step()
        self.operator.take_command()

    def _stop_step(self) -> None:
        """Stop the step because the order must; what an operator says of it comes too late."""
        what = "is being stopped" if self.cancel_request or self.stop else "waits"
        self.operator.clear(f"is not tried on: the order {what}")
        self.stop_if_asked()


async def _logging_failure(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except FailureError as error:
        workflow.logger.warning("not done beside: %s", problem_of(error))


def _cause(error: FailureError) -> BaseException | None:
    """What failed: a normal activity's failure comes wrapped, a local one's does not."""
    return error.cause if isinstance(error, ActivityError) else error


def _may_heal(error: FailureError) -> bool:
    """Whether trying again can help: not what was cancelled, nor what is refused for good."""
    cause = _cause(error)
    refused = isinstance(cause, ApplicationError) and cause.non_retryable
    return not refused and not was_cancelled(error)


def _is_ours(error: FailureError) -> bool:
    """Whether the fault is ours: a key or an account that is refused, our database away, workers
    that die.
    """
    return _failure(error).cause is Cause.OURS


def _failure(error: FailureError) -> Failure:
    """What a failure means for how the step goes on."""
    cause, now = _cause(error), workflow.now()
    if isinstance(error, ActivityError) and error.retry_state is RetryState.TIMEOUT:
        return Failure(Cause.GIVEN_UP, now)
    if isinstance(cause, StepTimeoutError) and cause.type is TimeoutType.HEARTBEAT:
        return Failure(Cause.OURS, now)  # its workers died, or were frozen: nobody else was silent
    if not isinstance(cause, ApplicationError):
        return Failure(Cause.GIVEN_UP, now)
    match cause.type:
        case error_types.HANDED_OVER:
            return Failure(Cause.HANDED_OVER, now)
        case error_types.BUSY:
            kind = Cause.LOAD
        case error_types.LOCKED_OUT | error_types.DATABASE_AWAY:
            kind = Cause.OURS
        case _:
            kind = Cause.SILENCE
    return Failure(kind, now, _attempt(cause), cause.next_retry_delay)


def _attempt(cause: ApplicationError) -> int:
    """The number of the attempt that failed: the activity interceptor has put it there."""
    return next((detail for detail in cause.details if isinstance(detail, int)), 1)
