"""What is to be done about the disputes, warnings and reviews of a payment: by us, or by a person.

    kept = captured - refunded - withdrawn by disputes - given back by hand

An order that has left and whose card's issuer warns of fraud is refunded where the shop says so;
one that has not left is stopped by its own run. A dispute that is won after its order was undone
puts money back that is the customer's: it is refunded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
)
from durable_orders.domain.ids import warning_refund_id, won_refund_id
from durable_orders.domain.lifecycle import CLOSED_EARLY
from durable_orders.domain.money import Money, total
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    NEVER_ISSUED,
    REFUNDABLE,
    RefundRequest,
)
from durable_orders.domain.terms import FraudWarningPolicy
from durable_orders.domain.views import OrderView

#: In its reminder's kind, before the dispute's id.
REMINDER: Final = "dispute_reminder_"


@dataclass(frozen=True)
class RiskDecision:
    """``needs``: sentences for a person. ``deadlines``: disputes that wait for evidence, until
    when. ``refund``: to be made now.
    """

    needs: tuple[str, ...] = ()
    deadlines: tuple[tuple[str, datetime], ...] = ()
    refund: RefundRequest | None = None


def decide(
    view: OrderView,
    risks: PaymentRisks,
    policy: FraudWarningPolicy,
    started: Iterable[str] = (),
) -> RiskDecision:
    """Decide what is to be done. ``started`` are the refunds that were started before."""
    disputes = [one for one in risks.disputes if one.needs_response and not one.acknowledged_by]
    needs = [_evidence_needed(one) for one in disputes]
    needs += [
        f"{one.concern.detail}: look at the payment in Stripe's dashboard, and approve or refund it"
        for one in risks.reviews
        if one.concern is not None
    ]
    left = _left(view, risks)
    refund = None if open_chargeback(risks) else _refund(view, risks, policy, left)
    for warning in risks.warnings:
        if (need := _about_warning(warning, view, policy, left, refund)) is not None:
            needs.append(need)
    if refund is not None and refund.refund_id in started:
        # Its run has ended, and has not given the money back.
        needs.append(f"refund {refund.refund_id} was not made: give {left} back another way")
        refund = None
    elif refund is None and _is_owed(view, risks, left) and open_chargeback(risks) is None:
        needs.append(f"order {view.order.id} is {view.order.status}: {left} is the customer's")
    deadlines = tuple((one.dispute_id, one.due_by) for one in disputes if one.due_by is not None)
    return RiskDecision(tuple(needs), deadlines, refund)


def open_chargeback(risks: PaymentRisks) -> Dispute | None:
    """The open chargeback because of which the provider refunds nothing of the payment."""
    every = (one for one in risks.disputes if one.is_open and not one.is_inquiry)
    return next(every, None)


def _evidence_needed(dispute: Dispute) -> str:
    kind = "inquiry" if dispute.is_inquiry else "chargeback"
    until = f" until {dispute.due_by:%Y-%m-%d %H:%M} UTC" if dispute.due_by else ""
    return (
        f"{kind} {dispute.dispute_id} over {dispute.amount} ({dispute.reason}): send evidence"
        f"{until}, or accept it"
    )


def _about_warning(
    warning: FraudWarning,
    view: OrderView,
    policy: FraudWarningPolicy,
    left: Money,
    refund: RefundRequest | None,
) -> str | None:
    """The sentence about a warning; None when nobody has to do anything about it."""
    if warning.concern is None or not left:
        return None
    status, refund_id = view.order.status, warning_refund_id(warning.warning_id)
    if refund is not None and refund.refund_id == refund_id:
        return None
    if policy is FraudWarningPolicy.REFUND and not status.is_final and status not in REFUNDABLE:
        return None  # the order's own run stops it
    return f"{warning.concern.detail}: refund the order before it is disputed, or acknowledge it"


def _refund(
    view: OrderView, risks: PaymentRisks, policy: FraudWarningPolicy, left: Money
) -> RefundRequest | None:
    order = view.order
    if left.amount <= 0:
        return None
    if order.status in REFUNDABLE and policy is FraudWarningPolicy.REFUND:
        warned = [one for one in risks.warnings if one.concern is not None]
        if warned:
            refund_id = warning_refund_id(warned[0].warning_id)
            return _unless_stopped(
                view, RefundRequest(order.id, refund_id, message="early fraud warning")
            )
    if _is_owed(view, risks, left):
        won = [one for one in risks.disputes if one.status is DisputeStatus.WON]
        refund_id, message = won_refund_id(won[-1].dispute_id), "a dispute was won"
        return _unless_stopped(
            view, RefundRequest(order.id, refund_id, amount=left, message=message)
        )
    return None


def _unless_stopped(view: OrderView, request: RefundRequest) -> RefundRequest | None:
    """The request, unless a person has rejected or cancelled this refund."""
    known = next((one for one in view.refunds if one.refund_id == request.refund_id), None)
    return request if known is None else None


def _is_owed(view: OrderView, risks: PaymentRisks, left: Money) -> bool:
    """Whether a dispute that was won has put money back that is the customer's."""
    won = any(one.status is DisputeStatus.WON for one in risks.disputes)
    return view.order.status in CLOSED_EARLY and won and left.amount > 0


def _left(view: OrderView, risks: PaymentRisks) -> Money:
    """What is kept of the order's money and not set aside for a refund."""
    currency = view.order.total.currency
    captured = total((one.captured for one in view.payments), currency)
    refunded = total((one.refunded for one in view.payments), currency)
    done = NEVER_ISSUED | ACCEPTED_BY_PROVIDER
    reserved = total((one.amount for one in view.refunds if one.state not in done), currency)
    by_hand = view.given_back_by_hand or Money(0, currency)
    return captured - refunded - reserved - by_hand - risks.withdrawn(currency)
