"""Disputes, early fraud warnings and reviews at Stripe.

None of them carries metadata of ours. Disputes and warnings are listed by their PaymentIntent, a
review is named by it. https://docs.stripe.com/api/disputes,
https://docs.stripe.com/api/radar/early_fraud_warnings, https://docs.stripe.com/api/radar/reviews
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import stripe

from durable_orders.domain.audit.ports import CursorPage
from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.ids import DISPUTE_ID, PAYMENT_ID, REVIEW_ID, WARNING_ID
from durable_orders.domain.money import Money
from durable_orders.providers.http_replies import bounded_code, checked_id
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.errors import was_repeated
from durable_orders.providers.stripe.listing import next_cursor
from durable_orders.providers.stripe.money import from_stripe

#: Reporting categories of a dispute's balance transactions:
#: https://docs.stripe.com/reports/reporting-categories
_WITHDRAWAL: Final = "dispute"
_REVERSAL: Final = "dispute_reversal"
_MOST_SUBMISSIONS: Final = 1_000_000


class StripeDisputes:
    """``PaymentRiskReader`` at Stripe, over the connections of ``cards``."""

    def __init__(self, cards: StripeCards) -> None:
        self._cards = cards
        v1 = cards.client.v1
        self._disputes, self._intents, self._reviews = v1.disputes, v1.payment_intents, v1.reviews
        self._warnings = v1.radar.early_fraud_warnings

    async def risks_of(self, payment_id: str) -> PaymentRisks:
        of_payment: Any = {"payment_intent": payment_id, "limit": 100}
        async with self._cards.translate_errors("list disputes"):
            page = await self._disputes.list_async(of_payment)
            disputes = [dispute_of(one, payment_id) async for one in page.auto_paging_iter()]
        async with self._cards.translate_errors("list early fraud warnings"):
            warned = await self._warnings.list_async(of_payment)
            warnings = [warning_of(one, payment_id) async for one in warned.auto_paging_iter()]
        async with self._cards.translate_errors("read a payment's review"):
            reviews = await self._reviews_of(payment_id)
        return PaymentRisks(
            payment_id,
            tuple(sorted(disputes, key=lambda one: (one.opened_at, one.dispute_id))),
            tuple(sorted(warnings, key=lambda one: (one.opened_at, one.warning_id))),
            tuple(reviews),
        )

    async def submit_evidence(
        self, dispute_id: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> Dispute:
        wanted: Any = {"evidence": dict(evidence), "submit": submit}
        async with self._cards.translate_errors("submit evidence"):
            found = await self._disputes.update_async(dispute_id, wanted, {"idempotency_key": key})
            response = found.last_response
            if response is not None and was_repeated(response.headers):
                # It shows the dispute as it was after the first request of this key.
                found = await self._disputes.retrieve_async(dispute_id)
            return dispute_of(found)

    # -- lists of everything, for the audit --------------------------------------------------------

    async def disputes(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Dispute]:
        async with self._cards.translate_errors("list disputes"):
            page = await self._disputes.list_async(_page(after, before, cursor, limit))
            found = tuple(dispute_of(one) for one in page.data if one.payment_intent)
            return CursorPage(found, next_cursor(page, DISPUTE_ID))

    async def warnings(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[FraudWarning]:
        async with self._cards.translate_errors("list early fraud warnings"):
            page = await self._warnings.list_async(_page(after, before, cursor, limit))
            found = tuple(warning_of(one) for one in page.data if one.payment_intent)
            return CursorPage(found, next_cursor(page, WARNING_ID))

    async def reviews(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Review]:
        async with self._cards.translate_errors("list reviews"):
            page = await self._reviews.list_async(_page(after, before, cursor, limit))
            found = tuple(review_of(one) for one in page.data if one.payment_intent)
            return CursorPage(found, next_cursor(page, REVIEW_ID))

    async def _reviews_of(self, payment_id: str) -> list[Review]:
        """The review of the payment, and of its newest charge if that is another one."""
        expand = ["review", "latest_charge.review"]
        intent = await self._intents.retrieve_async(payment_id, {"expand": expand})
        charge = getattr(intent, "latest_charge", None)
        named = [getattr(intent, "review", None), getattr(charge, "review", None)]
        found = {one.id: one for one in named if isinstance(one, stripe.Review)}
        return [review_of(one, payment_id) for one in found.values()]


def dispute_of(dispute: stripe.Dispute, payment_id: str = "") -> Dispute:
    """Convert a dispute; ``payment_id`` is for one whose payment is known."""
    details = dispute.evidence_details
    return Dispute(
        dispute_id=checked_id(DISPUTE_ID, dispute.id),
        payment_id=payment_id or _id_of(dispute.payment_intent),
        amount=from_stripe(dispute.amount, dispute.currency),
        withdrawn=_withdrawn(dispute),
        fee=_fee(dispute),
        reason=bounded_code(dispute.reason),
        status=_status(dispute.status),
        opened_at=_time(dispute.created),
        due_by=None if details.due_by is None else _time(details.due_by),
        submissions=_count(details.submission_count),
    )


def warning_of(warning: Any, payment_id: str = "") -> FraudWarning:
    """Convert an early fraud warning; ``payment_id`` is for one whose payment is known."""
    return FraudWarning(
        warning_id=checked_id(WARNING_ID, warning.id),
        payment_id=payment_id or _id_of(warning.payment_intent),
        fraud_type=bounded_code(warning.fraud_type),
        is_actionable=_flag(warning.actionable),
        opened_at=_time(warning.created),
    )


def review_of(review: stripe.Review, payment_id: str = "") -> Review:
    """Convert a review; ``payment_id`` is for one whose payment is known."""
    return Review(
        review_id=checked_id(REVIEW_ID, review.id),
        payment_id=payment_id or _id_of(getattr(review, "payment_intent", None)),
        opened_reason=bounded_code(review.opened_reason),
        is_open=_flag(review.open),
        opened_at=_time(review.created),
        closed_reason=bounded_code(review.closed_reason),
    )


def _status(status: str) -> DisputeStatus:
    """The status; one that Stripe has added since waits for a person, who can see what it is."""
    try:
        return DisputeStatus(status)
    except ValueError:
        is_inquiry = status.startswith("warning")
        return DisputeStatus.WARNING_NEEDS_RESPONSE if is_inquiry else DisputeStatus.NEEDS_RESPONSE


def _withdrawn(dispute: stripe.Dispute) -> Money:
    """What the dispute took and has not put back, in the payment's currency.

    Its balance transactions are in the currency of the balance: where that is another one, the
    rates of the two differ, and only whether it was put back counts.
    """
    booked = dispute.balance_transactions
    amount = from_stripe(dispute.amount, dispute.currency)
    nothing = Money(0, amount.currency)
    if any(one.currency != dispute.currency for one in booked):
        taken = sum(one.reporting_category == _WITHDRAWAL for one in booked)
        put_back = sum(one.reporting_category == _REVERSAL for one in booked)
        return amount if taken > put_back else nothing
    moved = sum(one.amount for one in booked)
    return from_stripe(-moved, dispute.currency) if moved < 0 else nothing


def _fee(dispute: stripe.Dispute) -> Money:
    booked = dispute.balance_transactions
    currency = booked[0].currency if booked else dispute.currency
    return from_stripe(sum(one.fee for one in booked if one.currency == currency), currency)


def _id_of(intent: str | stripe.PaymentIntent | None) -> str:
    id_ = intent.id if isinstance(intent, stripe.PaymentIntent) else intent
    return "" if intent is None else checked_id(PAYMENT_ID, id_)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= _MOST_SUBMISSIONS:
        raise TypeError
    return value


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _page(after: datetime, before: datetime, cursor: str | None, limit: int) -> Any:
    created = {"gte": int(after.timestamp()), "lte": int(before.timestamp())}
    page: dict[str, Any] = {"created": created, "limit": min(limit, 100)}
    return page if cursor is None else {**page, "starting_after": cursor}
