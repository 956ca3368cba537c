"""Conversion of Stripe's objects into the domain's.

Each function raises ``AttributeError``, ``LookupError``, ``TypeError`` or ``ValueError`` when the
object does not have the documented shape; ``StripeCards`` turns these into ``NoAnswerError``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import stripe

from durable_orders.domain.ids import CARD_REFUND_ID, CHARGE_ID, PAYMENT_ID, REVIEW_ID
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    CardRefundState,
    ChargeDetails,
    ChargeState,
    RefusedError,
)
from durable_orders.domain.texts import TextFormat
from durable_orders.providers.http_replies import bounded_code, checked_id
from durable_orders.providers.stripe.errors import was_repeated
from durable_orders.providers.stripe.money import from_stripe

if TYPE_CHECKING:
    from stripe.params import (
        PaymentIntentCreateParams,
        PaymentIntentCreateParamsShippingAddress,
    )

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

#: What to expand of an intent, so that it shows its charge, and whether its review is open.
EXPANDED: Final = ("latest_charge", "latest_charge.review", "review")

#: Metadata field with our refund key: Stripe forgets idempotency keys after a day.
REFUND_KEY: Final = "refund_key"

#: https://docs.stripe.com/api/refunds/object#refund_object-status
_REFUND_STATES: Final = {
    "pending": CardRefundState.PENDING,
    "requires_action": CardRefundState.PENDING,
    "succeeded": CardRefundState.SUCCEEDED,
    "failed": CardRefundState.FAILED,
    "canceled": CardRefundState.FAILED,
}

#: With these statuses the money stays with the shop.
_FAILED: Final = frozenset(["failed", "canceled"])


def charge_of(intent: stripe.PaymentIntent) -> CardCharge:
    """Convert a PaymentIntent, with nothing refunded: refunds are not on the intent."""
    state = _STATES[intent.status]
    decline_code = ""
    # A decline resets the status to requires_payment_method and sets last_payment_error. Without
    # that error no card has been tried yet.
    if intent.status == "requires_payment_method" and (error := intent.last_payment_error):
        state = ChargeState.DECLINED
        # Stripe leaves out fields that do not apply: only some declines have a decline code.
        code = bounded_code(getattr(error, "code", None)) or "card_declined"
        decline_code = bounded_code(getattr(error, "decline_code", None)) or code
    return CardCharge(
        payment_id=checked_id(PAYMENT_ID, intent.id),
        state=state,
        amount=from_stripe(intent.amount, intent.currency),
        captured=from_stripe(intent.amount_received, intent.currency),
        refunded=Money(0, intent.currency.upper()),
        decline_code=decline_code,
        latest_charge=_id_of(CHARGE_ID, getattr(intent, "latest_charge", None)),
        capturable=_capturable(intent) if state is ChargeState.HELD else None,
        review=_open_review(intent),
    )


def add_details(params: PaymentIntentCreateParams, details: ChargeDetails) -> None:
    """Add to the parameters of a new PaymentIntent what it carries besides its amount.

    Our address is lines of text: Stripe's first one, and in its second one the others.
    """
    if details.customer is not None:
        params["customer"] = details.customer
    if details.description is not None:
        params["description"] = details.description
    if details.receipt_email is not None:
        params["receipt_email"] = details.receipt_email
    if details.setup_future_usage is not None:
        params["setup_future_usage"] = details.setup_future_usage.value
    if (recipient := details.recipient) is not None:
        first, *others = filter(None, map(str.strip, recipient.address.splitlines()))
        address: PaymentIntentCreateParamsShippingAddress = {"line1": first}
        if others:
            address["line2"] = ", ".join(others)
        params["shipping"] = {"name": recipient.name, "address": address}


def _capturable(intent: stripe.PaymentIntent) -> Money | None:
    amount = getattr(intent, "amount_capturable", None)
    return None if amount is None else from_stripe(amount, intent.currency)


def _open_review(intent: stripe.PaymentIntent) -> str:
    """The id of the review that the intent or its charge is in; empty for none.

    Stripe goes on naming a review that is closed. One that is not expanded (``EXPANDED``) counts as
    open.
    """
    charge = getattr(intent, "latest_charge", None)
    reviews = (getattr(one, "review", None) for one in (intent, charge))
    is_open = (one for one in reviews if one and getattr(one, "open", True))
    return next((_id_of(REVIEW_ID, one) for one in is_open), "")


def _id_of(format_: TextFormat, one: str | stripe.Charge | stripe.Review | None) -> str:
    """The id of an object that may be expanded; empty for none."""
    id_ = one.id if isinstance(one, stripe.Charge | stripe.Review) else one
    return "" if one is None else checked_id(format_, id_)


def capture_before_of(intent: stripe.PaymentIntent) -> datetime | None:
    """End of the hold, if Stripe gives one; ``latest_charge`` must be expanded."""
    charge = getattr(intent, "latest_charge", None)
    card = getattr(getattr(charge, "payment_method_details", None), "card", None)
    seconds = getattr(card, "capture_before", None)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def refund_as_it_is(refund: stripe.Refund) -> CardRefund:
    """Convert a refund, failed ones too."""
    state = _REFUND_STATES[str(refund.status)]
    problem = ""
    if state is CardRefundState.FAILED:
        why = bounded_code(getattr(refund, "failure_reason", None))
        problem = why or f"{refund.status}, no reason given"
    refund_id = checked_id(CARD_REFUND_ID, refund.id)
    return CardRefund(refund_id, from_stripe(refund.amount, refund.currency), state, problem)


def refund_of(refund: stripe.Refund) -> CardRefund:
    """Convert a pending or succeeded refund. Raises ``RefusedError`` for a failed one."""
    return not_failed(refund_as_it_is(refund))


def not_failed(refund: CardRefund) -> CardRefund:
    """Return ``refund``. Raises ``RefusedError`` when it failed."""
    if refund.state is CardRefundState.FAILED:
        raise RefusedError(
            f"refund {refund.refund_id} failed ({refund.problem}): the bank sent the money back to "
            "us, a person has to return it another way"
        )
    return refund


def refunded_by(refund: stripe.Refund) -> Money:
    """Amount of the refund, zero when it failed."""
    amount = 0 if refund.status in _FAILED else refund.amount
    return from_stripe(amount, refund.currency)


def has_key(refund: stripe.Refund, key: str) -> bool:
    """Whether the refund was made with this key of ours."""
    metadata = refund.metadata
    return metadata is not None and REFUND_KEY in metadata and metadata[REFUND_KEY] == key


def was_replayed(answer: stripe.PaymentIntent) -> bool:
    """Whether Stripe replayed an earlier response to the same key."""
    response = answer.last_response
    return response is not None and was_repeated(response.headers)
