"""Messages of the refund workflow: inputs and answers of its activities, Updates and queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import Quantities, RefundRefused, RefundState


@dataclass(frozen=True)
class RefundTerms:
    """Terms of one refund, read when its run starts and kept in its history."""

    needs_approval: bool = False
    approval_timeout: timedelta = timedelta(days=3)
    four_eyes: bool = False


@dataclass(frozen=True)
class ShopRefundTerms:
    """The shop's rules. ``approval_above``: currency to minor units; refunds of more need
    approval, those in a currency that is not named do not. ``four_eyes``: whoever requested a
    refund may not approve it.
    """

    approval_above: Mapping[str, int] = field(default_factory=dict)
    approval_timeout: timedelta = timedelta(days=3)
    four_eyes: bool = False

    def of(self, amount: Money) -> RefundTerms:
        """The terms of a refund of ``amount``."""
        limit = self.approval_above.get(amount.currency)
        needs_approval = limit is not None and amount.amount > limit
        return RefundTerms(needs_approval, self.approval_timeout, self.four_eyes)


@dataclass(frozen=True)
class RefundRef:
    """A refund, by its order's id and its own."""

    order_id: str
    refund_id: str


# -- reserve_refund --------------------------------------------------------------------------------


@dataclass(frozen=True)
class RefundReserved:
    """The amount is reserved, now or by an earlier run: then ``state`` says how far that came, and
    ``why`` what is to know about it.
    """

    customer_id: str
    amount: Money
    lines: Quantities
    state: RefundState
    attempt: int
    terms: RefundTerms
    why: str = ""
    kind: Literal["refund_reserved"] = "refund_reserved"


ReserveRefundAnswer = RefundReserved | RefundRefused


# -- record_refund_state, issue_refund, check_refund, send_refund_email ----------------------------


@dataclass(frozen=True)
class RefundStateChange:
    """Set the refund's state and add a line to the order's history."""

    refund: RefundRef
    state: RefundState
    why: str = ""


@dataclass(frozen=True)
class RefundAttempt:
    """One attempt at the bank, counted from 1: a new one follows only on one that failed there."""

    refund: RefundRef
    attempt: int = 1


@dataclass(frozen=True)
class RefundAttemptResult:
    """State of the refund after the provider's answer; ``problem`` says why it failed."""

    state: RefundState
    problem: str = ""


# -- send_refund_approval_reminder -----------------------------------------------------------------


@dataclass(frozen=True)
class RefundAwaitingApproval:
    """A refund of ``amount`` that waits for approval, and its reminders counted from 1."""

    refund: RefundRef
    amount: Money
    reminder: int = 1


# -- updates, query and the run's result -----------------------------------------------------------


@dataclass(frozen=True)
class RefundProgress:
    """Progress of a refund, as its run knows it."""

    refund: RefundRef
    state: RefundState
    doing: str
    amount: Money | None = None
    why: str = ""
    attention: Attention | None = None
    kind: Literal["refund_progress"] = "refund_progress"


@dataclass(frozen=True)
class RefundNeedingAttention:
    """A running refund that needs an operator. If no worker answered, ``doing`` says so."""

    refund: RefundRef
    doing: str
    state: RefundState | None = None
    amount: Money | None = None
    attention: Attention | None = None


RequestRefundAnswer = RefundProgress | RefundRefused


@dataclass(frozen=True)
class RefundOutcome:
    """How a refund ended. ``why`` says why it was not paid, or that it was settled by hand."""

    refund: RefundRef
    state: RefundState
    amount: Money
    why: str = ""
    restocked: bool = False
    mailed: bool = False
    kind: Literal["refund_outcome"] = "refund_outcome"


RefundAnswer = RefundOutcome | RefundRefused


# -- answer of an order's update refund_parcel -----------------------------------------------------


@dataclass(frozen=True)
class ParcelRefunded:
    """What was set aside for a parcel's contents; ``why`` says so when it is not all they cost."""

    refund: RefundRef
    amount: Money
    why: str = ""
    kind: Literal["parcel_refunded"] = "parcel_refunded"
