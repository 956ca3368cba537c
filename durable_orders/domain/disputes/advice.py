"""What helps against a dispute, an early fraud warning or a review: one action, as a command.

A refund in time spares the shop the dispute that a warning announces, and ends an inquiry; a
chargeback has taken the money, and a refund would give it twice.
https://docs.stripe.com/disputes/measuring, https://docs.stripe.com/radar/reviews
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.disputes.listing import ListedRisk, RiskView
from durable_orders.domain.disputes.messages import PaymentRiskNeedingAttention
from durable_orders.domain.ids import warning_refund_id
from durable_orders.domain.lifecycle import ON_CANCEL, CancelEffect, Status
from durable_orders.domain.refunds.refund import REFUNDABLE

#: The step of a run that asks a person about what is open, and does not fail.
ASKING: Final = "payment_risk"


class RiskAction(StrEnum):
    """The action that helps."""

    SEND_EVIDENCE = "send_evidence"
    REFUND = "refund"
    CANCEL = "cancel"
    REVIEW = "review"  # in the provider's dashboard
    NONE = "none"


@dataclass(frozen=True)
class RiskAdvice:
    """``sentence`` says what to do and why; ``command`` is what follows the program's name, empty
    when no command of ours does it.
    """

    action: RiskAction
    sentence: str
    command: str = ""


def advice_for(risk: RiskView, order_id: str, status: Status) -> RiskAdvice:
    """The advice about a dispute, warning or review of an order in this status."""
    if not risk.is_open:
        return RiskAdvice(RiskAction.NONE, "nothing: it is over, or acknowledged")
    match risk.kind:
        case ConcernKind.FRAUD_WARNING:
            return _about_warning(risk, order_id, status)
        case ConcernKind.REVIEW:
            return RiskAdvice(
                RiskAction.REVIEW,
                f"look at payment {risk.payment_id} in Stripe's dashboard, and approve or refund "
                "it there",
            )
    if not risk.needs_response:
        return RiskAdvice(RiskAction.NONE, "nothing: the evidence is sent, and the bank decides")
    evidence = f"disputes evidence {risk.risk_id}"
    if risk.kind is ConcernKind.INQUIRY:
        return RiskAdvice(
            RiskAction.SEND_EVIDENCE,
            "answer with evidence before the deadline; refunding all of it ends the inquiry too",
            evidence,
        )
    return RiskAdvice(
        RiskAction.SEND_EVIDENCE,
        "send evidence before the deadline, or the money is lost; do not refund it, the bank has "
        "taken it already",
        evidence,
    )


def not_shown(
    runs: Iterable[PaymentRiskNeedingAttention], listed: Iterable[ListedRisk]
) -> tuple[PaymentRiskNeedingAttention, ...]:
    """The runs that need a person because of something else than what is ``listed``."""
    order_ids = {one.order_id for one in listed}
    return tuple(
        run
        for run in runs
        if run.order_id not in order_ids or (run.attention and run.attention.step != ASKING)
    )


def _about_warning(risk: RiskView, order_id: str, status: Status) -> RiskAdvice:
    if status in REFUNDABLE:
        refund_id = warning_refund_id(risk.risk_id)
        return RiskAdvice(
            RiskAction.REFUND,
            "give all of it back now: that spares the dispute and its fee",
            f'refund request {order_id} {refund_id} --message "early fraud warning"',
        )
    if ON_CANCEL[status] not in {CancelEffect.TOO_LATE, CancelEffect.ENDED}:
        return RiskAdvice(
            RiskAction.CANCEL,
            "cancel the order now: nothing is sent, and the money is given back",
            f"cancel {order_id} --by operator",
        )
    return RiskAdvice(RiskAction.NONE, "nothing: the order was undone, its money is given back")
