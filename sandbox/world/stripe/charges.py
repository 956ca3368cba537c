"""Charges: authorize, capture and release. Amounts are in minor units."""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.cards import Card
from sandbox.world.stripe.context import OperationContext

HOLD_SECONDS: Final = 7 * 24 * 3600
"""The lifetime of a hold ("Place a hold on a payment method": Visa, customer present)."""


def add_charge(
    context: OperationContext, intent: JsonObject, card: Card, decline: JsonObject | None = None
) -> JsonObject:
    """Charge the card for the intent: authorized, captured unless `manual`, or failed."""
    manual = intent["capture_method"] == "manual"
    captured = decline is None and not manual
    details: JsonObject = {**card.details(), "authorization_code": None, "three_d_secure": None}
    if decline is None and manual:
        details["capture_before"] = context.now + HOLD_SECONDS
    charge: JsonObject = {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if captured else 0,
        "amount_refunded": 0,
        "balance_transaction": new_id("txn") if captured else None,
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
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
        "outcome": _outcome(decline),
        "paid": decline is None,
        "payment_intent": intent["id"],
        "payment_method": card.id,
        "payment_method_details": {"card": details, "type": "card"},
        "receipt_email": intent["receipt_email"],
        "refunded": False,
        "statement_descriptor": intent["statement_descriptor"],
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


def release_charge(context: OperationContext, charge: JsonObject, event: str) -> None:
    """Release a hold. Stripe shows a released hold as a charge refunded but never captured."""
    charge |= {"amount_refunded": charge["amount"], "refunded": True}
    context.store.save("charge", charge)
    context.emit(event, charge)


def _outcome(decline: JsonObject | None) -> JsonObject:
    if decline is None:
        return {
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    return {
        "network_status": "declined_by_network",
        "reason": decline.get("decline_code", decline["code"]),
        "risk_level": "normal",
        "seller_message": "The bank did not authorize this payment.",
        "type": "issuer_declined",
    }
