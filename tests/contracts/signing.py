"""Signed webhook requests, made by the senders' documentation and not with our code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import stripe

from durable_orders.domain.webhooks import EventReader
from durable_orders.providers.resend.webhooks import ResendEvents
from durable_orders.providers.stripe.webhooks import StripeEvents
from durable_orders.providers.warehouse.webhooks import WarehouseEvents
from sandbox.webhook_endpoints import RESEND_SECRET, STRIPE_SECRET, WAREHOUSE_SECRET
from tests.support.keys import INSTALLATION

READERS: Final[dict[str, EventReader]] = {
    "stripe": StripeEvents(STRIPE_SECRET),
    "warehouse": WarehouseEvents(WAREHOUSE_SECRET),
    "resend": ResendEvents(RESEND_SECRET),
}
_SECRETS: Final = {
    "stripe": STRIPE_SECRET,
    "warehouse": WAREHOUSE_SECRET,
    "resend": RESEND_SECRET,
}
_numbers = count(1)


@dataclass(frozen=True)
class SignedRequest:
    """An incoming webhook request."""

    headers: dict[str, str]
    body: bytes


def signed(
    sender: str, body: bytes, *, secret: str | None = None, age: int = 0, event_id: str = ""
) -> SignedRequest:
    """Sign the body as this sender, ``age`` seconds ago. ``event_id``, which only the warehouse and
    Resend have in a header, is else the body's own.
    """
    secret = secret or _SECRETS[sender]
    moment = int(time.time()) - age
    if sender == "stripe":
        sign = stripe.WebhookSignature.generate_signature_header
        header: str = sign(body.decode(), secret, moment)
        return SignedRequest({"stripe-signature": header}, body)
    # Standard Webhooks; those of Svix, which the specification was made after, differ in names.
    event_id = event_id or _id_in(body)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{event_id}.{moment}.".encode() + body
    digest = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    values = {"id": event_id, "timestamp": str(moment), "signature": f"v1,{digest}"}
    prefix = {"warehouse": "webhook", "resend": "svix"}[sender]
    return SignedRequest({f"{prefix}-{name}": value for name, value in values.items()}, body)


def stripe_event(
    type_: str, metadata: dict[str, str], event_id: str = "", *, payment_id: str = "pi_1"
) -> bytes:
    """An event of Stripe's about an object with this metadata, and our mark unless it has one."""
    metadata = {"installation": INSTALLATION} | metadata
    thing = {"id": payment_id, "amount": 2900, "client_secret": "very secret", "metadata": metadata}
    return _json(
        {
            "id": event_id or f"evt_{next(_numbers)}",
            "object": "event",
            "type": type_,
            "created": int(time.time()),
            "data": {"object": thing},
        }
    )


def risk_event(type_: str, payment_id: str | None, event_id: str = "") -> bytes:
    """An event of Stripe's about a dispute, an early fraud warning or a review: without a mark."""
    thing = {
        "id": "du_1",
        "amount": 2900,
        "charge": "ch_1",
        "evidence": {"customer_name": "Ada Lovelace"},
        "metadata": {},
        "payment_intent": payment_id,
    }
    event_id = event_id or f"evt_{next(_numbers)}"
    data = {"object": thing}
    return _json({"id": event_id, "object": "event", "type": type_, "data": data})


def parcel_event(
    type_: str,
    order_id: str,
    parcel_id: str,
    *,
    tracking: str | None = "trk_1",
    event_id: str = "",
    installation: str = INSTALLATION,
) -> bytes:
    """An event of the warehouse's."""
    parcel = {"id": parcel_id, "status": type_.removeprefix("parcel."), "tracking": tracking}
    return _json(
        {
            "id": event_id or f"wev_{next(_numbers)}",
            "type": type_,
            "created": int(time.time()),
            "order_id": f"{installation}-{order_id}",
            "parcel": parcel,
        }
    )


def mail_event(type_: str, mail_id: str, **more: Any) -> bytes:
    """An event of Resend's; its id is in the headers alone."""
    data = {
        "email_id": mail_id,
        "to": ["ada@example.com"],
        "subject": "Order 1001 is confirmed",
        "tags": {"installation": INSTALLATION, "order": "1001", "kind": "confirmation"},
        **more,
    }
    return _json({"type": type_, "created_at": "2026-03-01T12:00:00Z", "data": data})


def a_body(sender: str) -> bytes:
    """A valid event of this sender's."""
    return {
        "stripe": stripe_event("payment_intent.succeeded", {"order_id": "1001"}, "evt_x"),
        "warehouse": parcel_event("parcel.left", "1001", "par_1", event_id="wev_x"),
        "resend": mail_event("email.bounced", "mail_1"),
    }[sender]


def _id_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["id"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return "msg_1"


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, indent=2).encode()
