"""Waiting for a person to let an order pass."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from orders.lifecycle import Reason, Status, Stop
    from orders.payment_news import ApprovalAwaited
    from orders.requests import Approve, Reject
    from workflows.ending import cancel_and_wait
    from workflows.failures import NOT_WAITING
    from workflows.life import OrderState
    from workflows.paying import PaymentStatus
    from workflows.undo import OrderStopped


class Approval:
    """The order waits for ``decide``; half-way the approver is reminded."""

    def __init__(self, order: OrderState, payment_status: PaymentStatus) -> None:
        self._order = order
        self._payment_status = payment_status
        self._decision: Approve | Reject | None = None
        self._open = False

    async def obtain(self) -> None:
        """Raises ``OrderStopped`` when the order is rejected, or nobody decides in time."""
        order = self._order
        if not order.terms.needs_approval:
            return
        await order.record_status(Status.AWAITING_APPROVAL)
        self._open = True
        with self._payment_status.reporting(ApprovalAwaited()):
            await self._decided()
        self._open = False
        match self._decision:
            case Approve(by=by, note=note):
                await order.add_note("order_approved", by=by, note=note)
            case Reject(by=by, reason=reason):
                await order.add_note("order_not_approved", by=by, reason=reason)
                raise OrderStopped(Stop(Reason.NOT_APPROVED, f"rejected by {by}: {reason}"))
            case None:
                message = f"nobody decided within {order.terms.approval_timeout}"
                raise OrderStopped(Stop(Reason.APPROVAL_TIMED_OUT, message))

    def decide(self, decision: Approve | Reject) -> None:
        self._decision = decision

    def check_open(self) -> None:
        """Refuse a decision that nobody waits for: too early, too late, or the second one."""
        if self._open and self._decision is None:
            return
        order = self._order
        match self._decision:
            case Approve(by=by):
                why = f"{by} has approved it"
            case Reject(by=by):
                why = f"{by} has rejected it"
            case _:
                why = f"it is {order.status}" + (f": {order.stop.message}" if order.stop else "")
        message = f"order {order.order_id} does not wait for an approval: {why}"
        raise ApplicationError(message, type=NOT_WAITING)

    async def _decided(self) -> None:
        half = self._order.terms.approval_timeout / 2
        doing = "waiting for approval"
        if await self._order.wait(doing, lambda: self._decision is not None, half):
            return
        remind = NotificationActivities.send_approval_reminder
        reminder = asyncio.create_task(
            self._order.send_email("reminding the approver", remind, self._order.ref)
        )
        try:
            await self._order.wait(doing, lambda: self._decision is not None, half)
        except OrderStopped:
            await cancel_and_wait(reminder)
            raise
        await cancel_and_wait(reminder)
