"""Messages of the workflow that follows what is disputed of an order's payment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.disputes.dispute import PaymentConcern
from durable_orders.domain.message_texts import OrderId
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundRequest

# -- input, query and the run's result -------------------------------------------------------------


@dataclass(frozen=True)
class PaymentRiskSnapshot:
    """The state in which a run continues as new.

    ``told`` is the revision of the books that the order's own run was last told of, ``reminded``
    names the disputes whose deadline the approver was reminded of, ``refunds`` the refunds that
    were started.
    """

    told: int = 0
    reminded: tuple[str, ...] = ()
    refunds: tuple[str, ...] = ()
    attention: Attention | None = None


@dataclass(frozen=True)
class PaymentRiskInput:
    """Follow what is disputed of this order's payment. ``so_far``: where an earlier run left it."""

    order_id: OrderId
    so_far: PaymentRiskSnapshot | None = None


@dataclass(frozen=True)
class PaymentRiskProgress:
    """What is open on an order's payment, as its run knows it. ``attention``: what a person has to
    decide or answer.
    """

    order_id: str
    doing: str
    payment_id: str = ""
    concerns: tuple[PaymentConcern, ...] = ()
    attention: Attention | None = None


@dataclass(frozen=True)
class PaymentRiskOutcome:
    """Nothing is open on the payment any more. ``withdrawn`` is what disputes took for good."""

    order_id: str
    payment_id: str = ""
    withdrawn: Money | None = None
    kind: Literal["payment_risk_outcome"] = "payment_risk_outcome"


@dataclass(frozen=True)
class PaymentRiskNeedingAttention:
    """A payment about which a person has to do something. If no worker answered, ``doing`` says
    so.
    """

    order_id: str
    doing: str
    attention: Attention | None = None


# -- review_payment_risks --------------------------------------------------------------------------


@dataclass(frozen=True)
class PaymentRiskRef:
    """The payment of an order. ``refunds`` were started because of its disputes and warnings."""

    order_id: str
    refunds: tuple[str, ...] = ()


@dataclass(frozen=True)
class RisksReviewed:
    """What is recorded of the payment after it was read, and what is to be done about it.

    ``revision`` counts what was recorded. ``deadlines`` are the disputes that wait for the shop's
    evidence, with when it is due; the approver was mailed about those in ``reminded``. ``needs``
    are sentences for a person. ``refund`` is to be made.
    """

    payment_id: str
    customer_id: str
    revision: int
    concerns: tuple[PaymentConcern, ...]
    withdrawn: Money
    deadlines: tuple[tuple[str, datetime], ...] = ()
    reminded: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    refund: RefundRequest | None = None
    kind: Literal["risks_reviewed"] = "risks_reviewed"


@dataclass(frozen=True)
class NothingToFollow:
    """The order has no payment that could be disputed. ``message`` says why."""

    message: str
    kind: Literal["nothing_to_follow"] = "nothing_to_follow"


ReviewRisksAnswer = RisksReviewed | NothingToFollow


# -- send_dispute_reminder -------------------------------------------------------------------------


@dataclass(frozen=True)
class DisputeDue:
    """A dispute of this order waits for the shop's evidence until ``due_by``."""

    order_id: str
    dispute_id: str
    due_by: datetime
