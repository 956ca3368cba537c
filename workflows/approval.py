"""Waiting for an approver's decision about an order or a refund."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from durable_orders.contracts.error_types import NOT_WAITING, SECOND_PERSON_NEEDED
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from durable_orders.domain.payment_status import ApprovalRequired
    from durable_orders.domain.senders import sender, sender_detail
    from durable_orders.domain.workflow_messages import Approve, Reject
    from workflows.order_state import OrderState
    from workflows.payment_status import PaymentStatus
    from workflows.saga import OrderStopped
    from workflows.shielding import cancel_and_wait
    from workflows.step_runner import StepRunner


class Approval:
    """One decision that is waited for.

    ``subject`` names what is to be approved in a refusal, ``state_now`` says there what it is now.
    ``asked_by`` is who may not approve it, because they have asked for it: empty for nobody.
    """

    def __init__(
        self, steps: StepRunner, subject: str, state_now: Callable[[], str], asked_by: str = ""
    ) -> None:
        self.asked_by = asked_by
        self.decision: Approve | Reject | None = None
        self._steps = steps
        self._subject = subject
        self._state_now = state_now
        self._open = False

    async def wait(
        self, limit: timedelta, remind: Callable[[], Coroutine[Any, Any, object]]
    ) -> None:
        """Wait for a decision or a cancellation, until ``limit`` has passed; half-way the approver
        is reminded.
        """
        with self.open():
            if not await self._ended_within(limit / 2):
                reminder = asyncio.create_task(remind())
                await self._ended_within(limit / 2)
                await cancel_and_wait(reminder)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Take a decision while the block runs."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    @property
    def is_decided(self) -> bool:
        """Whether there is a decision, or a cancellation in its place."""
        return self.decision is not None or self._steps.cancel_request is not None

    def decide(self, decision: Approve | Reject) -> None:
        self.decision = decision

    def check(self, decision: Approve | Reject) -> None:
        """Refuse a decision that is not waited for, and one by whoever asked for an approval.

        Compared by the authenticated ``actor``; without one, by the name that the sender gives.
        """
        self.check_open()
        who = decision.actor or decision.by
        if isinstance(decision, Approve) and self.asked_by and who == self.asked_by:
            message = (
                f"{self._subject} was requested by {who}, who may not approve it: somebody else "
                "has to, with a key or a user of their own"
            )
            raise ApplicationError(message, type=SECOND_PERSON_NEEDED)

    def check_open(self) -> None:
        """Refuse a decision that is not waited for: too early, too late, or the second one."""
        match self.decision:
            case None if self._open and not self._steps.must_stop:
                return
            case Approve():
                why = f"{sender(self.decision)} has approved it"
            case Reject():
                why = f"{sender(self.decision)} has rejected it"
            case _:
                why = f"it is {self._state_now()}"
        message = f"{self._subject} does not wait for an approval: {why}"
        raise ApplicationError(message, type=NOT_WAITING)

    async def _ended_within(self, pause: timedelta) -> bool:
        return await self._steps.wait("waiting for approval", lambda: self.is_decided, pause)


async def obtain_approval(
    order: OrderState, approval: Approval, payment_status: PaymentStatus
) -> bool:
    """Have the order approved, if its terms ask for that: True when that was waited for.

    Raises ``OrderStopped`` when it is rejected, cancelled, or not decided in time.
    """
    limit = order.terms.approval_timeout
    if not order.terms.needs_approval or order.is_approved:
        return False
    approval.asked_by = order.asked_by
    await order.record_status(Status.AWAITING_APPROVAL)

    async def remind() -> None:
        remind = NotificationActivities.send_approval_reminder
        await order.send_email("reminding the approver", remind, order.ref)

    with payment_status.reporting(ApprovalRequired()):
        await approval.wait(limit, remind)
    # A decision came before a cancellation: none is accepted after it.
    match approval.decision:
        case Approve(note=note) as decision:
            await order.add_note("order_approved", **sender_detail(decision), note=note)
            order.steps.stop_if_asked()
            return True
        case Reject(reason=reason) as decision:
            await order.add_note("order_not_approved", **sender_detail(decision), reason=reason)
            why = f"rejected by {sender(decision)}: {reason}"
            raise OrderStopped(Stop(StopReason.NOT_APPROVED, why))
        case None:
            order.steps.stop_if_asked()
            message = f"nobody decided within {limit}"
            raise OrderStopped(Stop(StopReason.APPROVAL_TIMED_OUT, message))
    raise AssertionError("a decision is one of these")
