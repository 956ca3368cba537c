"""Stripe's webhooks, verified by its own SDK (https://docs.stripe.com/webhooks#verify-events).

An event only says which object changed: amounts and states are read from Stripe afterwards. Events
that our own requests cause at once (``payment_intent.created``, ``.processing``,
``refund.created``) are ignored: the responses have said the same. ``.requires_action`` may also
come of the customer's browser. A refund that is made in the dashboard carries no metadata of ours:
``charge.refunded`` tells of it, and what becomes of it later is found by its payment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import stripe
from pydantic import BaseModel

from durable_orders.domain.ids import (
    PAYMENT_ID,
    InvalidOrderIdError,
    checked_order_id,
    refund_of_key,
)
from durable_orders.domain.installation import MARK
from durable_orders.domain.webhooks import (
    BadSignatureError,
    EventPayload,
    PaymentChanged,
    PaymentRiskChanged,
    RefundChanged,
    UnmarkedRefundChanged,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.providers.stripe.objects import REFUND_KEY
from durable_orders.providers.webhook_parsing import EventId, EventType, check_timestamp, parse_body

#: What each event says of the payment; None: it may be anything, so it is always looked at.
#: https://docs.stripe.com/api/events/types
PAYMENT_EVENTS: Final = {
    "payment_intent.succeeded": PaymentChange.PAID,
    "payment_intent.requires_action": PaymentChange.REQUIRES_ACTION,
    "payment_intent.payment_failed": PaymentChange.DECLINED,
    "payment_intent.canceled": PaymentChange.CANCELLED,
    "payment_intent.amount_capturable_updated": PaymentChange.HELD,
    "charge.refunded": None,
}
REFUND_EVENTS: Final = frozenset({"refund.updated", "refund.failed", "charge.refund.updated"})
#: Their objects carry no metadata of ours, but name the payment.
RISK_EVENTS: Final = frozenset(
    {
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "radar.early_fraud_warning.created",
        "radar.early_fraud_warning.updated",
        "review.opened",
        "review.closed",
    }
)

_INTENT: Final = re.compile(r"pi_.")
#: Events whose object is the payment itself.
_OF_INTENT: Final = "payment_intent."


class _EventObject(BaseModel):
    id: Any = None
    metadata: dict[str, Any] | None = None
    payment_intent: Any = None  # its id, of a refund, dispute, warning or review


class _EventData(BaseModel):
    object: _EventObject


class _Body(BaseModel):
    id: EventId
    type: EventType
    data: _EventData


class StripeEvents:
    """``EventReader`` of Stripe. ``secret`` is the endpoint's, ``whsec_…``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        header = headers.get("stripe-signature", "")
        # The SDK compares strings, which fails on anything but ASCII.
        if not header or not header.isascii():
            raise BadSignatureError("there is no Stripe-Signature")
        try:
            stripe.WebhookSignature.verify_header(body, header, self._secret)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            raise BadSignatureError(
                "the Stripe-Signature does not fit this body and our STRIPE_WEBHOOK_SECRET"
            ) from None
        check_timestamp(_signed_at(header))  # the SDK accepts times in the future
        payload = parse_body(_Body, body, "event of Stripe's")
        if payload.type in RISK_EVENTS:
            risk = _risk(payload.data.object)
            return WebhookEvent(WebhookSource.STRIPE, payload.id, payload.type, risk)
        metadata = payload.data.object.metadata or {}
        installation = str(metadata.get(MARK, "")) or None
        if installation is not None:
            news = _news(payload.type, payload.data.object, metadata)
        else:
            news = _unmarked_news(payload.type, payload.data.object.payment_intent)
        return WebhookEvent(WebhookSource.STRIPE, payload.id, payload.type, news, installation)


def _unmarked_news(type_: str, payment_id: object) -> EventPayload | None:
    """News of an object without a mark: of another application on the same account, or a refund
    that was made by hand.
    """
    if type_ not in REFUND_EVENTS or not _is_payment(payment_id):
        return None
    return UnmarkedRefundChanged(payment_id)


def _is_payment(payment_id: object) -> TypeGuard[str]:
    return isinstance(payment_id, str) and PAYMENT_ID.matches(payment_id)


def _signed_at(header: str) -> int:
    """Time of the signature: the first ``t=``, the one that the SDK verifies."""
    items = (item.split("=", 2) for item in header.split(","))
    return int(next(item[1] for item in items if item[0] == "t"))


def _risk(about: _EventObject) -> EventPayload | None:
    """A charge that was made without a PaymentIntent is none of ours."""
    payment_id = about.payment_intent
    is_intent = _is_payment(payment_id) and _INTENT.match(payment_id)
    return PaymentRiskChanged(payment_id) if is_intent else None


def _news(type_: str, about: _EventObject, metadata: Mapping[str, Any]) -> EventPayload | None:
    if type_ not in REFUND_EVENTS and type_ not in PAYMENT_EVENTS:
        return None
    if type_ in REFUND_EVENTS and (ours := refund_of_key(str(metadata.get(REFUND_KEY)))):
        return RefundChanged(*ours)
    try:
        order_id = checked_order_id(str(metadata["order_id"]))
    except (KeyError, InvalidOrderIdError):
        return None  # it names no order
    payment_id = about.id if type_.startswith(_OF_INTENT) else about.payment_intent
    named = payment_id if _is_payment(payment_id) else ""
    return PaymentChanged(order_id, PAYMENT_EVENTS.get(type_), named)
