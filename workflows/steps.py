"""Carrying out one step of an order: tried, flagged when it keeps failing, stopped on request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.exceptions import is_cancelled_exception as was_cancelled
from temporalio.types import MethodAsyncSingleParam
from temporalio.workflow import ActivityConfig, ActivityHandle, LocalActivityConfig

with workflow.unsafe.imports_passed_through():
    from activities.failures import DATABASE_AWAY, LOCKED_OUT
    from orders.by_hand import Stake
    from orders.lifecycle import Reason, Stop
    from orders.messages import CancelRequest
    from orders.requests import OperatorCommand
    from workflows.attention import (
        COMPENSATION_COMMANDS,
        RECORD_COMMANDS,
        STEP_COMMANDS,
        AllowedCommands,
        OperatorAttention,
        SettledManually,
    )
    from workflows.policies import REPEAT_PAUSE_FIRST, REPEAT_PAUSE_LONGEST, Policy
    from workflows.undo import OrderStopped

In = TypeVar("In")
Out = TypeVar("Out")

#: An activity by reference: ``PaymentActivities.charge_card``.
Step = MethodAsyncSingleParam[Any, In, Out]


class StepRunner:
    """Runs steps one after another for one order.

    ``on_change`` is called whenever ``doing`` or what needs attention changes, so that it can be
    shown; ``before_waiting`` before anything that may take its time.
    """

    def __init__(
        self, on_change: Callable[[], None], before_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self.doing = "starting"
        self.operator = OperatorAttention(on_change, before_waiting)
        self.cancel_request: CancelRequest | None = None
        self._on_change = on_change
        self._before_waiting = before_waiting

    def set_doing(self, doing: str) -> None:
        """Show what is being done."""
        self.doing = doing
        self._on_change()

    def request_cancel(self, request: CancelRequest) -> None:
        """Ask for the order to be stopped; the first request counts."""
        self.cancel_request = self.cancel_request or request

    def check_command(self, command: OperatorCommand) -> None:
        """Refuse an operator's command that does not fit what keeps failing."""
        self.operator.check(command, self.doing)

    def stop_if_cancelled(self) -> None:
        """Raises ``OrderStopped`` when somebody asked to cancel the order."""
        if self.cancel_request is not None:
            raise OrderStopped(Stop(Reason.CANCELLED, f"cancelled by {self.cancel_request.by}"))

    async def run(self, doing: str, step: Step[In, Out], argument: In, policy: Policy) -> Out:
        """Carry out a step that a cancellation may stop.

        Raises ``OrderStopped`` when one was asked for, before the step or while it ran: the step
        may have happened. Looked at again after the step, because an activity that finishes in
        spite of being cancelled returns normally. Raises ``FailureError`` when it had no answer.
        """
        answer = await self.run_to_answer(doing, step, argument, policy)
        self.stop_if_cancelled()
        return answer

    async def run_to_answer(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """As ``run``, but an answer is returned in spite of a cancellation, for whoever has to know
        it; ``stop_if_cancelled`` must follow.
        """
        self.stop_if_cancelled()
        try:
            return await self._persist(doing, step, argument, policy, STEP_COMMANDS)
        except FailureError:
            # However the step ended: Temporal lets no more tries follow one that failed while
            # being cancelled, and that is no outage.
            self.stop_if_cancelled()
            raise

    async def run_until_done(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """Carry out a step that must not be stopped any more, nor given up: it happened, and has to
        be written down, or it must happen because of what happened.
        """
        return await self._insist(doing, step, argument, policy, RECORD_COMMANDS)

    async def run_or_fail(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """Carry out a step before anything has happened: its failure fails the run."""
        return await self._persist(doing, step, argument, policy, RECORD_COMMANDS)

    async def compensate(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        *,
        stake: Stake | None = None,
    ) -> Out | None:
        """Carry out an undo, whatever it takes; None when an operator settled it by hand, who
        then has said (``operator.resolution``) what became of the money at ``stake``.

        Failures that Temporal does not retry (our bug, a request the provider refuses) are tried
        again too, ever more slowly: money must not stay where it is because of a typo of ours.
        """
        self.operator.stake = stake
        try:
            return await self._insist(doing, step, argument, policy, COMPENSATION_COMMANDS)
        except SettledManually as settled:
            self.operator.resolution = settled.command
            self.operator.clear()
            return None
        finally:
            self.operator.stake = None

    async def _insist(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        allowed: AllowedCommands,
    ) -> Out:
        """Try until it is done, ever more slowly."""
        pause = REPEAT_PAUSE_FIRST
        while True:
            try:
                answer = await self._persist(doing, step, argument, policy, allowed)
            except FailureError as error:
                # A try that an operator ended tells nothing new: the first problem stays.
                if not was_cancelled(error):
                    self.operator.flag_failure(step, error, allowed)
                await self._pause(pause)
                pause = min(pause * 2, REPEAT_PAUSE_LONGEST)
            else:
                self.operator.clear()
                return answer

    async def run_beside(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> Out:
        """Carry out something beside the order's own steps: it flags nothing, shows nowhere."""
        try:
            return await self._start(doing, step, argument, policy)
        except FailureError as error:
            if not _worth_patience(error, policy):
                raise
        return await self._start(doing, step, argument, Policy(quick=policy.patient))

    # -- trying --------------------------------------------------------------------------------

    async def _persist(
        self,
        doing: str,
        step: Step[In, Out],
        argument: In,
        policy: Policy,
        allowed: AllowedCommands,
    ) -> Out:
        """Try quickly; if that fails and patience is called for, flag it and try patiently."""
        self.set_doing(doing)
        stoppable = allowed is STEP_COMMANDS
        try:
            return await self._quickly(doing, step, argument, policy, stoppable=stoppable)
        except FailureError as error:
            if self._is_unwanted(stoppable=stoppable) or not _worth_patience(error, policy):
                raise
            self.operator.flag_failure(step, error, allowed)
        try:
            answer = await self._patiently(doing, step, argument, policy, stoppable=stoppable)
        except FailureError:
            if stoppable:
                self.operator.clear()
            raise
        self.operator.clear()
        return answer

    async def _quickly(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy, *, stoppable: bool
    ) -> Out:
        """The tries that nobody is told of: local ones, normal ones, or the one after the other."""
        try:
            return await self._heeding(doing, step, argument, policy, stoppable=stoppable)
        except FailureError as error:
            is_last = policy.local is None or policy.quick is None
            unwanted = self._is_unwanted(stoppable=stoppable)
            if is_last or unwanted or not _worth_patience(error, policy):
                raise
        normally = replace(policy, local=None)
        return await self._heeding(doing, step, argument, normally, stoppable=stoppable)

    def _is_unwanted(self, *, stoppable: bool) -> bool:
        """Whether more tries would only be for an order that is to be stopped."""
        return stoppable and self.cancel_request is not None

    async def _patiently(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy, *, stoppable: bool
    ) -> Out:
        slowly = Policy(quick=policy.patient)
        while True:
            try:
                return await self._heeding(doing, step, argument, slowly, stoppable=stoppable)
            except FailureError:
                # Whoever ended a running try did it for a reason.
                if not self.operator.take_command():
                    raise

    async def _heeding(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy, *, stoppable: bool
    ) -> Out:
        """Start it, and stop trying when an operator says a word or, if that may be, on request."""
        running = self._start(doing, step, argument, policy)
        if policy.local is not None:
            # Over in milliseconds: nothing to stop, nothing to watch.
            return await running

        def interrupted() -> bool:
            return self.operator.has_command or self._is_unwanted(stoppable=stoppable)

        await workflow.wait_condition(lambda: running.done() or interrupted())
        if not running.done():
            running.cancel()
        return await running

    def _start(
        self, doing: str, step: Step[In, Out], argument: In, policy: Policy
    ) -> ActivityHandle[Out]:
        if policy.local is not None:
            briefly: LocalActivityConfig = {**policy.local, "summary": doing}
            return workflow.start_local_activity_method(step, argument, **briefly)
        assert policy.quick is not None  # noqa: S101 - a policy has one or the other
        self._before_waiting()
        options: ActivityConfig = {**policy.quick, "summary": doing}
        return workflow.start_activity_method(step, argument, **options)

    async def _pause(self, pause: timedelta) -> None:
        """Wait before the next try, or for an operator's word."""
        self._before_waiting()
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self.operator.has_command, timeout=pause)
        self.operator.take_command()


def _worth_patience(error: FailureError, policy: Policy) -> bool:
    if policy.patient is None or was_cancelled(error):
        return False
    # A normal activity's failure comes wrapped, a local one's does not.
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        if cause.non_retryable:
            return False
        if cause.type in {LOCKED_OUT, DATABASE_AWAY}:
            return True
    return not policy.patient_only_when_ours
