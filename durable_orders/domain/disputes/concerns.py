"""What makes the money of an order uncertain, and what becomes of an order because of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    PaymentConcern,
    PaymentRisks,
)
from durable_orders.domain.lifecycle import Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.terms import DisputePolicy, FraudWarningPolicy, OrderTerms

#: What a shop may want to stop an order for, instead of having a person decide.
_DISPUTED: Final = frozenset(
    {ConcernKind.CHARGEBACK, ConcernKind.INQUIRY, ConcernKind.FRAUD_WARNING}
)


def concerns_of(
    card: CardCharge, total: Money, risks: PaymentRisks | None = None
) -> tuple[PaymentConcern, ...]:
    """What is uncertain about a charge that pays, or holds the money, for an order of this total.

    ``risks`` is what our books have of it. Whether a review is open is asked of the charge alone:
    it is read at this moment.
    """
    found = [_amount(card, total), _review(card, risks)]
    if risks is not None:
        found += [one.concern or _lost(one) for one in risks.disputes]
        found += [one.concern for one in risks.warnings]
    return tuple(concern for concern in found if concern is not None)


def _amount(card: CardCharge, total: Money) -> PaymentConcern | None:
    """What is there for the order, if that is other than its total."""
    if card.state is ChargeState.HELD:
        there, detail = card.held, f"{card.held} of {total} is held"
    elif card.refunded:
        there = card.kept
        detail = f"{there} of {total} is there: {card.refunded} was given back at the card provider"
    else:
        there, detail = card.captured, f"{card.captured} of {total} is captured"
    if there == total:
        return None
    return PaymentConcern(f"{card.payment_id}:{there.amount}", ConcernKind.AMOUNT, detail)


def _lost(dispute: Dispute) -> PaymentConcern | None:
    """What a dispute that is over has taken for good: it is not there for the order any more.

    Its id is another one than while it was open: who let the order go on then did not know.
    """
    if dispute.is_open or dispute.status is DisputeStatus.WON or not dispute.withdrawn:
        return None  # what was won comes back
    detail = f"chargeback {dispute.dispute_id} is {dispute.status}: {dispute.withdrawn} is gone"
    return PaymentConcern(f"{dispute.dispute_id}:{dispute.status}", ConcernKind.CHARGEBACK, detail)


def _review(card: CardCharge, risks: PaymentRisks | None) -> PaymentConcern | None:
    """The review that the charge is in, unless an operator has left it at that."""
    if not card.review:
        return None
    for recorded in risks.reviews if risks else ():
        if recorded.review_id == card.review and (recorded.concern or recorded.acknowledged_by):
            return recorded.concern
    detail = f"review {card.review} is open at the card provider"
    return PaymentConcern(card.review, ConcernKind.REVIEW, detail)


def stop_for(concerns: Iterable[PaymentConcern], terms: OrderTerms) -> Stop | None:
    """Why an order stops without a person's decision; None when a person decides."""
    for concern in concerns:
        is_warning = concern.kind is ConcernKind.FRAUD_WARNING
        refunds = is_warning and terms.on_fraud_warning is FraudWarningPolicy.REFUND
        stops = concern.kind in _DISPUTED and terms.on_dispute is DisputePolicy.STOP
        if refunds or stops:
            return Stop(StopReason.DISPUTED, concern.detail)
    return None


def hold_problem(
    concerns: Sequence[PaymentConcern], *, accepted: bool, hold_ends: datetime | None
) -> str:
    """What a person is told who has to decide about an order that is held for these concerns.

    ``accepted``: the warehouse has the order already. ``hold_ends``: when the bank lets go of money
    that is only held.
    """
    listed = "; ".join(
        concern.detail + (f" (answer due by {_shown(concern.due_by)})" if concern.due_by else "")
        for concern in concerns
    )
    where = (
        "the warehouse has accepted the order, and may send it before it is decided"
        if accepted
        else "nothing is sent before it is decided"
    )
    end = f", the money is held until {_shown(hold_ends)}" if hold_ends else ""
    return f"{listed}: {where}{end}"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
