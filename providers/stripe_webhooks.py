"""Stripe's webhooks, verified by its own SDK (https://docs.stripe.com/webhooks#verify-events).

An event only says what to look at: amounts and states are read from Stripe afterwards. Those that
our own requests cause at once (``payment_intent.created``, ``.requires_action``, ``.processing``,
``refund.created``) tell nothing that the answers to the requests have not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import stripe
from pydantic import BaseModel

from orders.ids import InvalidOrderIdError, checked_order_id, refund_of_key
from orders.webhooks import (
    BadSignatureError,
    Event,
    News,
    PaymentMoved,
    RefundMoved,
    Source,
)
from providers.stripe_objects import REFUND_KEY
from providers.webhook_bodies import Word, check_moment, parsed

#: https://docs.stripe.com/api/events/types
PAYMENT_EVENTS: Final = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.amount_capturable_updated",
        "charge.refunded",
    }
)
REFUND_EVENTS: Final = frozenset({"refund.updated", "refund.failed", "charge.refund.updated"})


class _Thing(BaseModel):
    metadata: dict[str, Any] | None = None


class _Holder(BaseModel):
    object: _Thing


class _Body(BaseModel):
    id: Word
    type: Word
    data: _Holder


class StripeEvents:
    """``orders.webhook_ports.EventReader`` of Stripe. ``secret`` is the endpoint's, ``whsec_…``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def read(self, headers: Mapping[str, str], body: bytes) -> Event:
        header = headers.get("stripe-signature", "")
        # The SDK compares texts, which fails on anything but ASCII.
        if not header or not header.isascii():
            raise BadSignatureError("there is no Stripe-Signature")
        try:
            stripe.WebhookSignature.verify_header(body, header, self._secret)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            raise BadSignatureError(
                "the Stripe-Signature does not fit this body and our STRIPE_WEBHOOK_SECRET"
            ) from None
        check_moment(_moment(header))  # the SDK does not mind the future
        told = parsed(_Body, body, "event of Stripe's")
        news = _news(told.type, told.data.object.metadata or {})
        return Event(Source.STRIPE, told.id, told.type, news)


def _moment(header: str) -> int:
    """The first ``t=``, which is the one that the SDK has taken as signed."""
    items = (item.split("=", 2) for item in header.split(","))
    return int(next(item[1] for item in items if item[0] == "t"))


def _news(type_: str, metadata: Mapping[str, Any]) -> News | None:
    if type_ not in PAYMENT_EVENTS | REFUND_EVENTS:
        return None
    if type_ in REFUND_EVENTS and (ours := refund_of_key(str(metadata.get(REFUND_KEY)))):
        return RefundMoved(*ours)
    # A refund without such a key is a part of undoing its order.
    try:
        return PaymentMoved(checked_order_id(str(metadata["order_id"])))
    except (KeyError, InvalidOrderIdError):
        return None  # of another application of the same account
