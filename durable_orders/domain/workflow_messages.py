"""Inputs and answers of the order workflow's Updates and signals, without cancelling.

Who asks is told twice. ``actor`` is who was authenticated: the name of the API key, of a page's
session too, or ``cli:`` and the user of the operating system. ``by`` is whom the sender names, an
account id or a role: a note beside it, which nobody has verified. An empty ``actor`` is a request
of a program of the shop's own, or one that was sent to Temporal directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from durable_orders.domain.message_texts import (
    Actor,
    By,
    ParcelId,
    PaymentMethod,
    Remark,
    Tracking,
)
from durable_orders.domain.parcels import ParcelStatus


@dataclass(frozen=True)
class Approve:
    """Approve the order. ``by`` is an account id or a role."""

    by: By
    note: Remark = ""
    actor: Actor = ""


@dataclass(frozen=True)
class Reject:
    """Reject the order. ``reason`` holds no personal data."""

    by: By
    reason: Remark = ""
    actor: Actor = ""


@dataclass(frozen=True)
class NewCard:
    """Another card for an order whose card was declined: the provider's token (``pm_…``)."""

    payment_method: PaymentMethod


@dataclass(frozen=True)
class CardAccepted:
    """The card will be tried: the order's try ``number``, from 1 for its first card."""

    number: int
    kind: Literal["card_accepted"] = "card_accepted"


class PaymentChange(StrEnum):
    """What happened to a payment at the card provider."""

    REQUIRES_ACTION = "requires_action"  # 3-D Secure
    DECLINED = "declined"
    HELD = "held"
    PAID = "paid"
    CANCELLED = "cancelled"  # it can take no money any more


@dataclass(frozen=True)
class PaymentUpdate:
    """Signal ``payment_updated``: ``change`` spares the order a look at what it knows already; None
    when it may be anything.
    """

    change: PaymentChange | None = None


@dataclass(frozen=True)
class ParcelUpdate:
    """Signal ``parcel_updated``: a parcel's status from the warehouse, in any order, repeated."""

    parcel_id: ParcelId
    status: ParcelStatus
    tracking: Tracking = ""


@dataclass(frozen=True)
class ResendParcel:
    """Send the contents of a lost or late parcel again."""

    parcel_id: ParcelId
    by: By = "operator"
    actor: Actor = ""


@dataclass(frozen=True)
class RefundParcel:
    """Refund the contents of a lost or late parcel."""

    parcel_id: ParcelId
    by: By = "operator"
    actor: Actor = ""


@dataclass(frozen=True)
class SettleParcel:
    """Settle a lost or late parcel: the order waits for it no longer.

    ``outcome`` says what was agreed with the customer ("resent as par_7", "refunded as r1").
    """

    parcel_id: ParcelId
    outcome: Remark
    by: By = "operator"
    actor: Actor = ""


@dataclass(frozen=True)
class RetryNow:
    """Retry the failing step at once."""

    by: By = "operator"
    actor: Actor = ""
    kind: Literal["retry_now"] = "retry_now"

    @property
    def why(self) -> str:
        return ""


@dataclass(frozen=True)
class SkipStep:
    """Give up the failing step: the order goes on as after a failure of that step."""

    reason: Remark
    by: By = "operator"
    actor: Actor = ""
    kind: Literal["skip_step"] = "skip_step"

    @property
    def why(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Resolve:
    """The failing step was settled by hand; ``note`` says how.

    ``given_back``: for the compensation of a charge, what the customer was given back by hand, in
    minor units of the order's currency; by the rules of ``Stake``.
    """

    note: Remark
    by: By = "operator"
    given_back: int | None = None
    actor: Actor = ""
    kind: Literal["resolve"] = "resolve"

    @property
    def why(self) -> str:
        return self.note


OperatorCommand = RetryNow | SkipStep | Resolve
