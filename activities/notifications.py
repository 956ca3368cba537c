"""Email activities: to the customer and to the approver, one of each kind per order."""

from __future__ import annotations

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
    OrderParcel,
    OrderRef,
    PaymentRequest,
)
from durable_orders.domain.disputes.decisions import REMINDER
from durable_orders.domain.disputes.messages import DisputeDue
from durable_orders.domain.disputes.ports import DisputeRepository
from durable_orders.domain.ids import mail_key
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Order
from durable_orders.domain.ports import Mail, Mailer, OrderRepository
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.messages import RefundAwaitingApproval

_NO_APPROVER: Final = MailRefused("APPROVER_EMAIL is not set: nobody is reminded")


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
        found = await self.orders.get(order.order_id)
        mail = emails.confirmation(found, short=order.short)
        return await self._send(found.key_prefix, found.id, "confirmation", mail)

    @activity.defn
    async def send_closing_email(self, order: Closing) -> MailAnswer:
        """Email that the order will not come, why, and what became of the money."""
        found = await self.orders.get(order.order_id)
        taken, disputed = await self._taken(found), await self._disputed(found)
        mail = emails.closing(found, taken=taken, on_its_way=order.on_its_way, disputed=disputed)
        return await self._send(found.key_prefix, found.id, "closing", mail)

    @activity.defn
    async def send_payment_request_email(self, request: PaymentRequest) -> MailAnswer:
        """Ask the customer by email to confirm the payment with their bank."""
        found = await self.orders.get(request.order_id)
        mail = emails.payment_request(found, payment_url=request.payment_url)
        return await self._send(found.key_prefix, found.id, "payment_request", mail)

    @activity.defn
    async def send_shipped_email(self, news: OrderParcel) -> MailAnswer:
        """Email that a parcel has left, and how to track it."""
        found = await self.orders.get(news.order_id)
        kind = f"shipped-{news.parcel.parcel_id}"
        mail = emails.shipped(found, news.parcel)
        return await self._send(found.key_prefix, found.id, kind, mail)

    @activity.defn
    async def send_approval_reminder(self, order: OrderRef) -> MailAnswer:
        """Remind the approver of an order that waits for approval."""
        if self.approver is None:
            return _NO_APPROVER
        summary = await self.orders.summary(order.order_id)
        mail = emails.approval_reminder(summary, to=self.approver)
        return await self._send(summary.key_prefix, order.order_id, "approval_reminder", mail)

    @activity.defn
    async def send_refund_approval_reminder(self, waiting: RefundAwaitingApproval) -> MailAnswer:
        """Remind the approver of a refund that waits for approval."""
        if self.approver is None:
            return _NO_APPROVER
        order_id, refund_id = waiting.refund.order_id, waiting.refund.refund_id
        prefix = (await self.orders.summary(order_id)).key_prefix
        mail = refund_emails.approval_reminder(waiting, prefix=prefix, to=self.approver)
        # The first has no number: each is one email, however often it is tried.
        number = f"_{waiting.reminder}" if waiting.reminder > 1 else ""
        kind = f"refund_approval_reminder_{refund_id}{number}"
        return await self._send(prefix, order_id, kind, mail)

    @activity.defn
    async def send_dispute_reminder(self, due: DisputeDue) -> MailAnswer:
        """Remind the approver of a dispute whose evidence is due soon."""
        if self.approver is None:
            return _NO_APPROVER
        prefix = (await self.orders.summary(due.order_id)).key_prefix
        mail = emails.dispute_reminder(due, prefix=prefix, to=self.approver)
        return await self._send(prefix, due.order_id, f"{REMINDER}{due.dispute_id}", mail)

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

    async def _send(self, prefix: str, order_id: str, kind: str, mail: Mail) -> MailAnswer:
        answer = await self.mailer.send(mail, key=mail_key(prefix, order_id, kind))
        now = datetime.now(UTC)
        if isinstance(answer, MailSent):
            await self.orders.note(order_id, f"{kind}_mailed", now, mail=answer.mail_id)
        else:
            await self.orders.note(order_id, f"{kind}_mail_refused", now, why=answer.message)
        return answer
