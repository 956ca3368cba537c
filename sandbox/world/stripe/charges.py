"""Charges: authorize, capture and release. Amounts are in minor units.

Since version 2025-03-31.basil a hold that is released, whole or in part, is no refund: the charge
shows neither `refunded` nor `amount_refunded`, and there is no event `charge.refunded`.
"""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.cards import card_of
from sandbox.world.stripe.context import OperationContext

HOLD_SECONDS: Final = 7 * 24 * 3600
"""The lifetime of a hold ("Place a hold on a payment method": Visa, customer present)."""


def add_charge(
    context: OperationContext,
    intent: JsonObject,
    method: JsonObject,
    decline: JsonObject | None = None,
) -> JsonObject:
    """Charge the card for the intent: authorized, captured unless `manual`, or failed."""
    manual = intent["capture_method"] == "manual"
    captured = decline is None and not manual
    card = card_of(method)
    details: JsonObject = {
        **card.details(),
        "amount_authorized": None if decline else intent["amount"],
        "authorization_code": None,
        "network": card.brand,
        "three_d_secure": None,
        "wallet": None,
    }
    if decline is None and manual:
        details["capture_before"] = context.now + HOLD_SECONDS
    charge: JsonObject = {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if captured else 0,
        "amount_refunded": 0,
        "balance_transaction": new_id("txn") if captured else None,
        "billing_details": method["billing_details"],
        "captured": captured,
        "created": context.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": None if decline is None else decline["code"],
        "failure_message": None if decline is None else decline["message"],
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": _outcome(decline, card.risk),
        "paid": decline is None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"card": details, "type": "card"},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "succeeded" if decline is None else "failed",
    }
    context.store.add(
        "charge",
        charge,
        order_id=context.order_id,
        created=context.now,
        parent=intent["id"],
        customer=intent["customer"],
    )
    return charge


def capture_charge(context: OperationContext, charge: JsonObject, amount: int) -> None:
    """Capture `amount` of the hold; the rest is released."""
    charge |= {
        "amount_captured": amount,
        "captured": True,
        "balance_transaction": new_id("txn"),
    }
    context.store.save("charge", charge)


def release_charge(context: OperationContext, charge: JsonObject, *, is_expired: bool) -> None:
    """Release a hold; only one that expired has an event of its own."""
    if is_expired:
        context.emit("charge.expired", charge)


def _outcome(decline: JsonObject | None, risk: str) -> JsonObject:
    if decline is None:
        return {
            "network_status": "approved_by_network",
            "reason": "elevated_risk_level" if risk == "elevated" else None,
            "risk_level": risk,
            "seller_message": "Payment complete.",
            "type": "manual_review" if risk == "elevated" else "authorized",
        }
    return {
        "network_status": "declined_by_network",
        "reason": decline.get("decline_code", decline["code"]),
        "risk_level": risk,
        "seller_message": "The bank did not authorize this payment.",
        "type": "issuer_declined",
    }
