"""Stripe's objects in the domain's words.

Each function raises ``AttributeError``, ``LookupError``, ``TypeError`` or ``ValueError`` when
Stripe's answer is not of the documented shape: an answer that makes no sense is no answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import stripe

from orders.money import Money
from orders.ports import CardCharge, CardRefund, CardRefundState, ChargeState, RefusedError
from providers.replies import without_private
from providers.stripe_errors import was_repeated
from providers.stripe_money import from_stripe

#: https://docs.stripe.com/payments/paymentintents/lifecycle
_STATES: Final = {
    "requires_payment_method": ChargeState.OPEN,
    "requires_confirmation": ChargeState.OPEN,
    "requires_action": ChargeState.NEEDS_CUSTOMER,
    "processing": ChargeState.PROCESSING,
    "requires_capture": ChargeState.HELD,
    "succeeded": ChargeState.CAPTURED,
    "canceled": ChargeState.CANCELLED,
}

#: Where a refund carries our key: Stripe's own memory of keys ends after a day.
REFUND_KEY: Final = "refund_key"

#: https://docs.stripe.com/api/refunds/object#refund_object-status
_REFUND_STATES: Final = {
    "pending": CardRefundState.PENDING,
    "requires_action": CardRefundState.PENDING,
    "succeeded": CardRefundState.SUCCEEDED,
    "failed": CardRefundState.FAILED,
    "canceled": CardRefundState.FAILED,
}

#: A refund in one of these leaves the money with us.
_FAILED: Final = frozenset(["failed", "canceled"])


def charge_of(intent: stripe.PaymentIntent) -> CardCharge:
    """The charge that ``intent`` is, with nothing refunded: an intent does not know that."""
    state = _STATES[intent.status]
    decline_code = message = ""
    # A decline puts the intent back to wanting a card, and leaves the reason behind. The same
    # status without a reason is an intent that never had a card.
    if intent.status == "requires_payment_method" and (error := intent.last_payment_error):
        state = ChargeState.DECLINED
        # Stripe leaves out what does not apply: only some declines have a decline code.
        code = getattr(error, "code", None) or "card_declined"
        decline_code = getattr(error, "decline_code", None) or code
        message = without_private(getattr(error, "message", None) or "")
    return CardCharge(
        payment_id=intent.id,
        state=state,
        amount=from_stripe(intent.amount, intent.currency),
        captured=from_stripe(intent.amount_received, intent.currency),
        refunded=Money(0, intent.currency.upper()),
        decline_code=decline_code,
        message=message,
    )


def hold_of(intent: stripe.PaymentIntent) -> datetime | None:
    """Until when the hold can be captured, if Stripe says; its charge must have been expanded."""
    charge = getattr(intent, "latest_charge", None)
    card = getattr(getattr(charge, "payment_method_details", None), "card", None)
    seconds = getattr(card, "capture_before", None)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def refund_as_it_is(refund: stripe.Refund) -> CardRefund:
    """The refund, whatever became of it."""
    state = _REFUND_STATES[str(refund.status)]
    problem = ""
    if state is CardRefundState.FAILED:
        problem = getattr(refund, "failure_reason", None) or f"{refund.status}, no reason given"
    return CardRefund(refund.id, from_stripe(refund.amount, refund.currency), state, problem)


def refund_of(refund: stripe.Refund) -> CardRefund:
    """The refund, on its way or arrived. Raises ``RefusedError`` for one that failed."""
    return not_failed(refund_as_it_is(refund))


def not_failed(refund: CardRefund) -> CardRefund:
    """``refund`` itself. Raises ``RefusedError`` when it failed."""
    if refund.state is CardRefundState.FAILED:
        raise RefusedError(
            f"refund {refund.refund_id} failed ({refund.problem}): the bank sent the money back to "
            "us, a person has to return it another way"
        )
    return refund


def refunded_by(refund: stripe.Refund) -> Money:
    """What the refund takes from us: its amount, or nothing when it failed."""
    amount = 0 if refund.status in _FAILED else refund.amount
    return from_stripe(amount, refund.currency)


def has_key(refund: stripe.Refund, key: str) -> bool:
    """Whether the refund was made by us under this key."""
    metadata = refund.metadata
    return metadata is not None and REFUND_KEY in metadata and metadata[REFUND_KEY] == key


def was_replayed(answer: stripe.PaymentIntent) -> bool:
    """Whether Stripe repeated what it had answered to the same key before."""
    response = answer.last_response
    return response is not None and was_repeated(response.headers)
