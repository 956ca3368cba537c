"""Refund activities: set an amount aside, issue it once, check it, restock, email."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from activities.worker_stop import raise_if_stopping
from durable_orders.domain.activity_messages import MailAnswer, MailSent
from durable_orders.domain.ids import mail_key
from durable_orders.domain.ports import (
    CardRefund,
    Cards,
    Mailer,
    NoSuchOrderError,
    OrderRepository,
    RefusedError,
)
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.messages import (
    RefundAttempt,
    RefundAttemptResult,
    RefundRef,
    RefundReserved,
    RefundStateChange,
    ReserveRefundAnswer,
    ShopRefundTerms,
)
from durable_orders.domain.refunds.ports import NoSuchRefundError, RefundBook
from durable_orders.domain.refunds.refund import (
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
)


@dataclass(frozen=True)
class RefundActivities:
    """Conversations about refunds, each recorded in the refund book."""

    cards: Cards
    refunds: RefundBook
    orders: OrderRepository
    mailer: Mailer
    shop: ShopRefundTerms = ShopRefundTerms()  # noqa: RUF009 - frozen

    @activity.defn
    async def reserve_refund(self, request: RefundRequest) -> ReserveRefundAnswer:
        """Set the refund's amount and pieces aside, or say why it cannot be.

        A refund that is in the book already is answered as it stands.
        """
        try:
            order = await self.orders.summary(request.order_id)
        except NoSuchOrderError as error:
            return RefundRefused(str(error))
        entry = await self.refunds.reserve(request, datetime.now(UTC))
        if isinstance(entry, RefundRefused):
            return entry
        return RefundReserved(
            customer_id=order.customer_id,
            amount=entry.amount,
            lines=entry.lines,
            state=entry.state,
            attempt=entry.attempt,
            terms=self.shop.of(entry.amount),
            why=entry.why,
        )

    @activity.defn
    async def record_refund_state(self, move: RefundStateChange) -> None:
        """Record what the shop decided; again is a no-op."""
        ref = move.refund
        now = datetime.now(UTC)
        await self.refunds.move(ref.order_id, ref.refund_id, move.state, now, move.why)

    @activity.defn
    async def issue_refund(self, attempt: RefundAttempt) -> RefundAttemptResult:
        """Have the provider refund the amount, once per attempt.

        The book says "issuing" first: from then on only the provider knows whether money moved.
        """
        ref, number = attempt.refund, attempt.attempt
        now = datetime.now(UTC)
        entry = await self.refunds.begin(ref.order_id, ref.refund_id, number, now)
        if entry.state is not RefundState.ISSUING or entry.attempt != number:
            return _seen(entry)  # an earlier try got further
        return await self._record(attempt, await self._issue(entry))

    @activity.defn
    async def check_refund(self, attempt: RefundAttempt) -> RefundAttemptResult:
        """Read what became of a refund that the provider had accepted."""
        ref = attempt.refund
        entry = await self._find(ref)
        prefix = (await self.orders.summary(ref.order_id)).key_prefix
        key = entry.key(prefix, attempt.attempt)
        refund = await self.cards.find_refund(entry.payment_id, key=key)
        if refund is None:
            raise RefusedError(f"{entry.payment_id} has no refund of the key {key} any more")
        return await self._record(attempt, refund)

    @activity.defn
    async def restock_refund(self, ref: RefundRef) -> bool:
        """Put the refund's pieces back on the shelf, once; False when that was not requested."""
        now = datetime.now(UTC)
        return (await self.refunds.restock(ref.order_id, ref.refund_id, now)).restocked

    @activity.defn
    async def send_refund_email(self, attempt: RefundAttempt) -> MailAnswer:
        """Email the customer what was given back."""
        ref = attempt.refund
        said = {"refund_id": ref.refund_id, "attempt": str(attempt.attempt)}
        order, mail_id = await self.orders.get_for_mail(ref.order_id, "refund_mailed", **said)
        if mail_id is not None:
            return MailSent(mail_id)
        entry = await self._find(ref)
        key = mail_key(order.key_prefix, order.id, f"refund:{ref.refund_id}:{attempt.attempt}")
        answer = await self.mailer.send(refund_emails.refunded(order, entry), key=key)
        now = datetime.now(UTC)
        if isinstance(answer, MailSent):
            event, detail = "refund_mailed", {"mail": answer.mail_id}
        else:
            event, detail = "refund_mail_refused", {"why": answer.message}
        await self.orders.note(ref.order_id, event, now, **said, **detail)
        return answer

    async def _issue(self, entry: RefundEntry) -> CardRefund:
        prefix = (await self.orders.summary(entry.request.order_id)).key_prefix
        return await issue_at_provider(self.cards, entry, prefix)

    async def _record(self, attempt: RefundAttempt, refund: CardRefund) -> RefundAttemptResult:
        ref = attempt.refund
        now = datetime.now(UTC)
        number = attempt.attempt
        entry = await self.refunds.tell(ref.order_id, ref.refund_id, number, refund, now)
        return _seen(entry)

    async def _find(self, ref: RefundRef) -> RefundEntry:
        entry = await self.refunds.find(ref.order_id, ref.refund_id)
        if entry is None:
            raise NoSuchRefundError(ref.order_id, ref.refund_id)
        return entry


async def issue_at_provider(cards: Cards, entry: RefundEntry, prefix: str) -> CardRefund:
    """Have the provider make the refund's present attempt, once."""
    key = entry.key(prefix, entry.attempt)
    raise_if_stopping()
    try:
        return await cards.refund(
            entry.payment_id,
            entry.amount,
            installation=prefix,
            order_id=entry.request.order_id,
            key=key,
        )
    except RefusedError:
        # It may have been made by a try whose answer was lost, and have failed since.
        refund = await cards.find_refund(entry.payment_id, key=key)
        if refund is None:
            raise
        return refund


def _seen(entry: RefundEntry) -> RefundAttemptResult:
    return RefundAttemptResult(entry.state, entry.why)
