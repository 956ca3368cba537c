"""Disputes, early fraud warnings and reviews of a payment: money that a bank or Stripe questions.

They come after the charge, up to months later, and carry no metadata of the order: the payment's id
leads to it. https://docs.stripe.com/disputes, https://docs.stripe.com/radar/reviews
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from durable_orders.domain.money import Money


class DisputeStatus(StrEnum):
    """Status of a dispute, in Stripe's words: https://docs.stripe.com/api/disputes/object

    An inquiry (``warning_…``) moves no money, and may become a chargeback.
    """

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    PREVENTED = "prevented"


_INQUIRY: Final = frozenset(
    {
        DisputeStatus.WARNING_NEEDS_RESPONSE,
        DisputeStatus.WARNING_UNDER_REVIEW,
        DisputeStatus.WARNING_CLOSED,
    }
)
_CLOSED: Final = frozenset(
    {
        DisputeStatus.WARNING_CLOSED,
        DisputeStatus.WON,
        DisputeStatus.LOST,
        DisputeStatus.PREVENTED,
    }
)
_NEEDS_RESPONSE: Final = frozenset(
    {DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE}
)


class ConcernKind(StrEnum):
    """What makes the money of an order uncertain."""

    CHARGEBACK = "chargeback"
    INQUIRY = "inquiry"
    FRAUD_WARNING = "fraud_warning"
    REVIEW = "review"
    AMOUNT = "amount"  # other than the order's total is there for it


@dataclass(frozen=True)
class PaymentConcern:
    """A reason why the money of an order is uncertain, as long as it lasts.

    ``id`` is the provider's (``du_…``, ``issfr_…``, ``prv_…``), for an amount the payment's id with
    the amount. ``detail`` is a sentence without personal data; ``due_by`` is when an answer is due.
    """

    id: str
    kind: ConcernKind
    detail: str
    due_by: datetime | None = None


@dataclass(frozen=True)
class Dispute:
    """A dispute (``du_…``) of a payment.

    ``withdrawn`` is what it took from the shop's balance and has not put back, ``fee`` what the
    provider charged for it. ``submissions`` counts the evidence sent to the bank.
    ``acknowledged_by``: the operator who decided that no more is to be done; a report has none.
    """

    dispute_id: str
    payment_id: str
    amount: Money
    withdrawn: Money
    fee: Money
    reason: str
    status: DisputeStatus
    opened_at: datetime
    due_by: datetime | None = None
    submissions: int = 0
    acknowledged_by: str = ""

    @property
    def is_inquiry(self) -> bool:
        return self.status in _INQUIRY

    @property
    def is_open(self) -> bool:
        return self.status not in _CLOSED

    @property
    def needs_response(self) -> bool:
        """Whether the bank waits for the shop's evidence."""
        return self.status in _NEEDS_RESPONSE

    @property
    def concern(self) -> PaymentConcern | None:
        """What is uncertain because of it; None when it is over."""
        if not self.is_open:
            return None
        kind = ConcernKind.INQUIRY if self.is_inquiry else ConcernKind.CHARGEBACK
        detail = f"{kind} {self.dispute_id} over {self.amount}: {self.reason}"
        return PaymentConcern(self.dispute_id, kind, detail, self.due_by)


@dataclass(frozen=True)
class FraudWarning:
    """An early fraud warning (``issfr_…``): the card's issuer expects a dispute.

    ``is_actionable``: a refund now spares the shop the dispute.
    ``acknowledged_by``: the operator who decided to leave it at that; a report has none.
    https://docs.stripe.com/api/radar/early_fraud_warnings/object
    """

    warning_id: str
    payment_id: str
    fraud_type: str
    is_actionable: bool
    opened_at: datetime
    acknowledged_by: str = ""

    @property
    def concern(self) -> PaymentConcern | None:
        """What is uncertain because of it; None when it is over."""
        if not self.is_actionable or self.acknowledged_by:
            return None
        detail = f"early fraud warning {self.warning_id}: {self.fraud_type}"
        return PaymentConcern(self.warning_id, ConcernKind.FRAUD_WARNING, detail)


@dataclass(frozen=True)
class Review:
    """A review (``prv_…``): the provider asks a person to look at the payment.

    ``closed_reason`` is ``approved``, ``refunded``, ``refunded_as_fraud``, ``disputed`` …; empty
    while it is open. ``acknowledged_by``: the operator who decided to leave it at that; a report
    has none. https://docs.stripe.com/api/radar/reviews/object
    """

    review_id: str
    payment_id: str
    opened_reason: str
    is_open: bool
    opened_at: datetime
    closed_reason: str = ""
    acknowledged_by: str = ""

    @property
    def concern(self) -> PaymentConcern | None:
        """What is uncertain because of it; None when it is over."""
        if not self.is_open or self.acknowledged_by:
            return None
        detail = f"review {self.review_id}: {self.opened_reason}"
        return PaymentConcern(self.review_id, ConcernKind.REVIEW, detail)


@dataclass(frozen=True)
class PaymentRisks:
    """All disputes, early fraud warnings and reviews of one payment, oldest first.

    ``revision`` counts what our database has recorded of them. In a provider's report it is that of
    the record which was read before the provider was asked; None when nothing was.
    """

    payment_id: str
    disputes: tuple[Dispute, ...] = ()
    warnings: tuple[FraudWarning, ...] = ()
    reviews: tuple[Review, ...] = ()
    revision: int | None = None

    @property
    def concerns(self) -> tuple[PaymentConcern, ...]:
        """What is uncertain about the payment now."""
        every: list[PaymentConcern | None] = [one.concern for one in self.disputes]
        every += [one.concern for one in self.warnings]
        every += [one.concern for one in self.reviews]
        return tuple(concern for concern in every if concern is not None)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all of them."""
        return frozenset(
            [one.dispute_id for one in self.disputes]
            + [one.warning_id for one in self.warnings]
            + [one.review_id for one in self.reviews]
        )

    def withdrawn(self, currency: str) -> Money:
        """What disputes have taken of the payment and not put back."""
        return sum((one.withdrawn for one in self.disputes), Money(0, currency))
