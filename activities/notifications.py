"""Email activities: to the customer and to the approver, one of each kind per order.

The mail service forgets a key after a day, so the order's own history is looked at first: what it
says was sent is not sent again. And what is no longer true is not sent at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from durable_orders.domain import emails
from durable_orders.domain.activity_messages import (
    Closing,
    Confirmation,
    MailAnswer,
    MailRefused,
    MailSent,
    MailWithheld,
    OrderParcel,
    OrderRef,
    OrderSummary,
    PaymentRequest,
)
from durable_orders.domain.disputes.decisions import REMINDER
from durable_orders.domain.disputes.messages import DisputeDue
from durable_orders.domain.disputes.ports import DisputeRepository
from durable_orders.domain.ids import mail_key
from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Status
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Order
from durable_orders.domain.ports import Mail, Mailer, OrderRepository
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.messages import RefundAwaitingApproval

_NO_APPROVER: Final = MailRefused("APPROVER_EMAIL is not set: nobody is reminded")


#: Statuses in which nothing was taken or held yet.
_UNPAID: Final = frozenset({Status.PLACED, Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT})


@dataclass(frozen=True)
class NotificationActivities:
    """Conversations with the mail service. An email never fails or delays an order."""

    mailer: Mailer
    orders: OrderRepository
    #: The address that is reminded of orders and refunds which wait for approval, and of disputes,
    #: if there is one.
    approver: str | None = None
    #: What disputes have taken; without it, nothing.
    disputes: DisputeRepository | None = None

    @activity.defn
    async def send_confirmation_email(self, order: Confirmation) -> MailAnswer:
        """Email that the order is paid and on its way, and what of it is not."""

        async def render(found: Order) -> Mail:
            return emails.confirmation(found, short=order.short)

        return await self._send(order.order_id, "confirmation", _is_kept, render)

    @activity.defn
    async def send_closing_email(self, order: Closing) -> MailAnswer:
        """Email that the order will not come, why, and what became of the money."""

        async def render(found: Order) -> Mail:
            taken, disputed = await self._taken(found), await self._disputed(found)
            return emails.closing(
                found, taken=taken, on_its_way=order.on_its_way, disputed=disputed
            )

        return await self._send(order.order_id, "closing", _has_ended_early, render)

    @activity.defn
    async def send_payment_request_email(self, request: PaymentRequest) -> MailAnswer:
        """Ask the customer by email to confirm the payment with their bank."""

        async def render(found: Order) -> Mail:
            return emails.payment_request(found, payment_url=request.payment_url)

        return await self._send(request.order_id, "payment_request", _is_unpaid, render)

    @activity.defn
    async def send_shipped_email(self, news: OrderParcel) -> MailAnswer:
        """Email that a parcel has left, and how to track it."""
        kind = f"shipped-{news.parcel.parcel_id}"

        async def render(found: Order) -> Mail:
            return emails.shipped(found, news.parcel)

        return await self._send(news.order_id, kind, _is_kept, render)

    @activity.defn
    async def send_approval_reminder(self, order: OrderRef) -> MailAnswer:
        """Remind the approver of an order that waits for approval."""
        if (approver := self.approver) is None:
            return _NO_APPROVER

        async def render(found: Order) -> Mail:
            prefix = found.key_prefix
            summary = OrderSummary(
                found.id, found.customer_id, found.total, found.status, key_prefix=prefix
            )
            return emails.approval_reminder(summary, to=approver)

        return await self._send(order.order_id, "approval_reminder", _awaits_approval, render)

    @activity.defn
    async def send_refund_approval_reminder(self, waiting: RefundAwaitingApproval) -> MailAnswer:
        """Remind the approver of a refund that waits for approval."""
        if (approver := self.approver) is None:
            return _NO_APPROVER
        order_id, refund_id = waiting.refund.order_id, waiting.refund.refund_id
        # The first has no number: each is one email, however often it is tried.
        number = f"_{waiting.reminder}" if waiting.reminder > 1 else ""
        kind = f"refund_approval_reminder_{refund_id}{number}"

        async def render(found: Order) -> Mail:
            return refund_emails.approval_reminder(waiting, prefix=found.key_prefix, to=approver)

        return await self._send(order_id, kind, lambda _: True, render)

    @activity.defn
    async def send_dispute_reminder(self, due: DisputeDue) -> MailAnswer:
        """Remind the approver of a dispute whose evidence is due soon."""
        if (approver := self.approver) is None:
            return _NO_APPROVER

        async def render(found: Order) -> Mail:
            return emails.dispute_reminder(due, prefix=found.key_prefix, to=approver)

        return await self._send(due.order_id, f"{REMINDER}{due.dispute_id}", lambda _: True, render)

    async def _taken(self, order: Order) -> Money | None:
        """What was taken for an order that was refunded: less than its total, when only a part of a
        hold was captured. None when our books do not know.
        """
        if order.status is not Status.REFUNDED:
            return None
        payments = (await self.orders.view(order.id)).payments
        return total((one.captured for one in payments), order.total.currency) or None

    async def _disputed(self, order: Order) -> Money | None:
        """What disputes have taken of the money of an order that was undone."""
        if order.status is not Status.REFUNDED or self.disputes is None:
            return None
        risks = await self.disputes.risks_of(order.id)
        return risks.withdrawn(order.total.currency) if risks else None

    async def _send(
        self,
        order_id: str,
        kind: str,
        is_true_of: Callable[[Order], bool],
        render: Callable[[Order], Awaitable[Mail]],
    ) -> MailAnswer:
        event = f"{kind}_mailed"
        order, mail_id = await self.orders.get_for_mail(order_id, event)
        if mail_id is not None:
            return MailSent(mail_id)
        if not is_true_of(order):
            return MailWithheld(f"order {order_id} is {order.status}: no {kind} is mailed")
        answer = await self.mailer.send(
            await render(order), key=mail_key(order.key_prefix, order.id, kind)
        )
        now = datetime.now(UTC)
        match answer:
            case MailSent(mail_id=mail_id):
                await self.orders.note(order_id, event, now, mail=mail_id)
            case MailRefused(message=why):
                await self.orders.note(order_id, f"{kind}_mail_refused", now, why=why)
        return answer


def _is_kept(order: Order) -> bool:
    return order.status in FULFILLED_OR_LATER


def _is_unpaid(order: Order) -> bool:
    return order.status in _UNPAID and order.undone is None


def _has_ended_early(order: Order) -> bool:
    return order.status.is_final and order.undone is not None


def _awaits_approval(order: Order) -> bool:
    return order.status is Status.AWAITING_APPROVAL and order.undone is None
