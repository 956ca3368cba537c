"""Carrying out one step of an order: tried, flagged when it keeps failing, stopped on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)
from temporalio.types import MethodAsyncSingleParam
from temporalio.workflow import ActivityConfig, LocalActivityConfig

with workflow.unsafe.imports_passed_through():
    from activities.failures import LOCKED_OUT
    from orders.lifecycle import Reason, Stop
    from orders.messages import Attention, CancelRequest
    from workflows.policies import UNDO_AGAIN_FIRST, UNDO_AGAIN_LONGEST, Policy
    from workflows.undo import StoppedError

In = TypeVar("In")
Out = TypeVar("Out")

#: An activity by reference: ``PaymentActivities.charge_card``.
Step = MethodAsyncSingleParam[Any, In, Out]


class Steps:
    """Runs steps one after another for one order.

    ``changed`` is called whenever ``doing`` or ``attention`` change, so that they can be shown.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.doing = "starting"
        self.attention: Attention | None = None
        self.cancel: CancelRequest | None = None
        self._changed = changed

    async def do(self, doing: str, step: Step[In, Out], argument: In, policy: Policy) -> Out:
        """Carry out a step that a cancellation may stop.

        Raises ``StoppedError`` when one was asked for, before the step or while it ran: the step
        may have happened. Looked at again after the step, because an activity that finishes in
        spite of being cancelled returns normally. Raises ``FailureError`` when it had no answer.
        """
        self._stop_if_cancelled()
        try:
            answer = await self._persist(doing, step, argument, policy, stoppable=True)
        except FailureError:
            # However the step ended: Temporal lets no more tries follow one that failed while
            # being cancelled, and that is no outage.
            self._stop_if_cancelled()
            raise
        self._stop_if_cancelled()
        return answer

    async def finish(self, doing: str, step: Step[In, Out], argument: In, policy: Policy) -> Out:
        """Carry out a step that must not be stopped any more."""
        return await self._persist(doing, step, argument, policy, stoppable=False)

    async def undo(self, doing: str, step: Step[In, Out], argument: In, policy: Policy) -> Out:
        """Carry out an undo, whatever it takes.

        Failures that Temporal does not retry (our bug, a request the provider refuses) are tried
        again too, ever more slowly: money must not stay where it is because of a typo of ours.
        """
        pause = UNDO_AGAIN_FIRST
        while True:
            try:
                answer = await self.finish(doing, step, argument, policy)
            except FailureError as error:
                self._flag(step, error)
                await workflow.sleep(pause)
                pause = min(pause * 2, UNDO_AGAIN_LONGEST)
            else:
                self._unflag()
                return answer

    async def _persist(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy, *, stoppable: bool
    ) -> Out:
        """Try quickly; if that fails and patience is called for, flag it and try patiently."""
        self.doing = doing
        self._changed()
        try:
            return await self._try(doing, step, argument, policy, stoppable=stoppable)
        except FailureError as error:
            if not _worth_patience(error, policy):
                raise
            self._flag(step, error)
        slowly = Policy(quick=policy.patient)
        answer = await self._try(doing, step, argument, slowly, stoppable=stoppable)
        self._unflag()
        return answer

    async def _try(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy, *, stoppable: bool
    ) -> Out:
        if policy.local is not None:
            # Over in milliseconds: nothing to stop, nothing to watch.
            briefly: LocalActivityConfig = {**policy.local, "summary": doing}
            return await workflow.execute_local_activity_method(step, argument, **briefly)
        assert policy.quick is not None  # noqa: S101 - a policy has one or the other
        options: ActivityConfig = {**policy.quick, "summary": doing}
        running = workflow.start_activity_method(step, argument, **options)
        if stoppable:
            await workflow.wait_condition(lambda: running.done() or self.cancel is not None)
            if not running.done():
                running.cancel()
        return await running

    def _stop_if_cancelled(self) -> None:
        if self.cancel is not None:
            raise StoppedError(Stop(Reason.CANCELLED, f"cancelled by {self.cancel.by}"))

    def _flag(self, step: Step[In, Out], error: FailureError) -> None:
        since = self.attention.since if self.attention else workflow.now().isoformat("T", "seconds")
        name = getattr(step, "__name__", str(step))
        self.attention = Attention(step=name, since=since, problem=problem_of(error))
        workflow.logger.warning("%s keeps failing: %s", name, self.attention.problem)
        self._changed()

    def _unflag(self) -> None:
        if self.attention is not None:
            self.attention = None
            self._changed()


def problem_of(error: BaseException) -> str:
    """What went wrong, in the words of the neighbour or the timeout rather than Temporal's."""
    cause = error.__cause__
    if isinstance(error, ActivityError) and cause is not None:
        return problem_of(cause)
    return error.message if isinstance(error, FailureError) else str(error)


def _worth_patience(error: FailureError, policy: Policy) -> bool:
    if policy.patient is None or is_cancelled_exception(error):
        return False
    # A normal activity's failure comes wrapped, a local one's does not.
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        if cause.non_retryable:
            return False
        if cause.type == LOCKED_OUT:
            return True
    return not policy.patient_only_when_locked_out
