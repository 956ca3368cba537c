"""Waiting for a person to let an order pass."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from durable_orders.contracts.error_types import NOT_WAITING
    from orders.lifecycle import Reason, Status, Stop
    from orders.payment_news import ApprovalAwaited
    from orders.requests import Approve, Reject
    from workflows.ending import dropped
    from workflows.life import Life
    from workflows.paying import Paying
    from workflows.undo import StoppedError


class Approval:
    """The order waits for ``decide``; half-way the approver is reminded."""

    def __init__(self, life: Life, paying: Paying) -> None:
        self._life = life
        self._paying = paying
        self._decision: Approve | Reject | None = None
        self._open = False

    async def pass_or_stop(self) -> None:
        """Raises ``StoppedError`` when the order is rejected, or nobody decides in time."""
        life = self._life
        if not life.terms.needs_approval:
            return
        await life.move_to(Status.AWAITING_APPROVAL)
        self._open = True
        with self._paying.telling(ApprovalAwaited()):
            await self._decided()
        self._open = False
        match self._decision:
            case Approve(by=by, note=note):
                await life.note("order_approved", by=by, note=note)
            case Reject(by=by, reason=reason):
                await life.note("order_not_approved", by=by, reason=reason)
                raise StoppedError(Stop(Reason.NOT_APPROVED, f"rejected by {by}: {reason}"))
            case None:
                message = f"nobody decided within {life.terms.approval_timeout}"
                raise StoppedError(Stop(Reason.APPROVAL_TIMED_OUT, message))

    def decide(self, decision: Approve | Reject) -> None:
        self._decision = decision

    def check_open(self) -> None:
        """Refuse a decision that nobody waits for: too early, too late, or the second one."""
        if self._open and self._decision is None:
            return
        life = self._life
        match self._decision:
            case Approve(by=by):
                why = f"{by} has approved it"
            case Reject(by=by):
                why = f"{by} has rejected it"
            case _:
                why = f"it is {life.status}" + (f": {life.stop.message}" if life.stop else "")
        message = f"order {life.order_id} does not wait for an approval: {why}"
        raise ApplicationError(message, type=NOT_WAITING)

    async def _decided(self) -> None:
        half = self._life.terms.approval_timeout / 2
        doing = "waiting for approval"
        if await self._life.wait(doing, lambda: self._decision is not None, half):
            return
        remind = NotificationActivities.send_approval_reminder
        reminder = asyncio.create_task(
            self._life.mail("reminding the approver", remind, self._life.ref)
        )
        try:
            await self._life.wait(doing, lambda: self._decision is not None, half)
        except StoppedError:
            await dropped(reminder)
            raise
        await dropped(reminder)
