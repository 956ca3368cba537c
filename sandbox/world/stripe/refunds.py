"""Refunds ("Refund and cancel payments"): at most the captured amount; some are pending first."""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.cards import find_card
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import invalid, not_possible
from sandbox.world.stripe.intents import load_intent
from sandbox.world.stripe.parameters import EXPAND, ParameterSchema

CREATE: Final[ParameterSchema] = {
    **EXPAND,
    "payment_intent": "text",
    "charge": "text",
    "amount": "integer",
    "reason": ("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": "map",
    "instructions_email": "text",
    "refund_application_fee": "boolean",
    "reverse_transfer": "boolean",
}


def create_refund(context: OperationContext, params: JsonObject) -> JsonObject:
    charge = _refundable(context, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if context.refusal is not None:
        raise not_possible(
            f"The refund of charge {charge['id']} was refused.",
            code=context.refusal or "charge_disputed",
        )
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise not_possible(message, code="charge_already_refunded")
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, code="parameter_invalid_integer", param="amount")
    if amount > left:
        currency = charge["currency"].upper()
        raise not_possible(
            f"Refund amount ({amount} {currency}) is greater than unrefunded amount on charge "
            f"({left} {currency})",
            param="amount",
        )
    card = find_card(charge["payment_method"])
    pending = card is not None and card.refund == "pending"
    refund: JsonObject = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": new_id("txn"),
        "charge": charge["id"],
        "created": context.now,
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "failure_reason": None,
        "metadata": params.get("metadata", {}),
        "payment_intent": charge["payment_intent"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "status": "pending" if pending else "succeeded",
    }
    context.store.add(
        "refund",
        refund,
        order_id=context.order_id,
        created=context.now,
        parent=charge["payment_intent"],
    )
    _add_refunded_amount(context, charge, amount)
    context.emit("refund.created", refund)
    context.emit("charge.refunded", charge)
    return refund


def settle_refund(context: OperationContext, refund: JsonObject) -> JsonObject:
    """Settle a refund: a pending one succeeds, one on `pm_card_refundFail` fails."""
    charge = context.load("charge", refund["charge"], "charge")
    card = find_card(charge["payment_method"])
    if card is not None and card.refund == "failed" and refund["status"] != "failed":
        refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        _add_refunded_amount(context, charge, -refund["amount"])
        context.store.save("refund", refund)
        context.emit("refund.updated", refund)
        context.emit("refund.failed", refund)
    elif refund["status"] == "pending":
        refund["status"] = "succeeded"
        context.store.save("refund", refund)
        context.emit("refund.updated", refund)
    return refund


def _refundable(context: OperationContext, params: JsonObject) -> JsonObject:
    if "payment_intent" not in params and "charge" not in params:
        message = "One of the following params should be provided for this request: payment_intent"
        raise invalid(f"{message} or charge.", code="parameter_missing", param="payment_intent")
    if "charge" in params:
        charge = context.load("charge", params["charge"], "charge", status=400)
        intent_id = charge["payment_intent"]
    else:
        intent_id = params["payment_intent"]
    intent = load_intent(context, intent_id, "payment_intent", status=400)
    if intent["status"] != "succeeded":
        message = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
        raise not_possible(message, param="payment_intent")
    return context.load("charge", params.get("charge") or intent["latest_charge"], "charge")


def _add_refunded_amount(context: OperationContext, charge: JsonObject, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] >= charge["amount_captured"]
    context.store.save("charge", charge)
