"""Refunds ("Refund and cancel payments"): at most the captured amount.

A refund is `pending` while the account's balance is short, and on some cards. Any refund can fail
later, weeks after it succeeded: the money comes back to the account.
"""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.cards import Card, card_of
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.currencies import check_step
from sandbox.world.stripe.disputes import blocks_refunds, close_inquiries
from sandbox.world.stripe.errors import invalid, not_possible
from sandbox.world.stripe.intents import load_intent
from sandbox.world.stripe.parameters import EXPAND, ParameterSchema
from sandbox.world.stripe.radar import close_review, settle_warnings

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
ONE_PAYMENT: Final = (("charge", "payment_intent"),)

FAILURES: Final = (
    "lost_or_stolen_card",
    "expired_or_canceled_card",
    "charge_for_pending_refund_disputed",
    "insufficient_funds",
    "declined",
    "merchant_request",
    "unknown",
)
"""The values of `failure_reason`."""


def create_refund(context: OperationContext, params: JsonObject) -> JsonObject:
    charge = _refundable(context, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if context.refusal is not None:
        raise not_possible(
            f"The refund of charge {charge['id']} was refused.",
            code=context.refusal or "charge_disputed",
        )
    if blocks_refunds(context, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise not_possible(message, code="charge_disputed")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise not_possible(message, code="charge_already_refunded")
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, code="parameter_invalid_integer", param="amount")
    check_step(amount, charge["currency"])
    if amount > left:
        currency = charge["currency"].upper()
        raise not_possible(
            f"Refund amount ({amount} {currency}) is greater than unrefunded amount on charge "
            f"({left} {currency})",
            param="amount",
        )
    is_short = context.fault is not None and context.fault.mode == "pending"
    is_pending = is_short or _card(context, charge).refund == "pending"
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
        "source_transfer_reversal": None,
        "status": "pending" if is_pending else "succeeded",
        "transfer_reversal": None,
    }
    if is_pending:
        refund["pending_reason"] = "insufficient_funds" if is_short else "processing"
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
    if charge["refunded"]:
        is_fraud = params.get("reason") == "fraudulent"
        close_review(context, charge, "refunded_as_fraud" if is_fraud else "refunded")
        settle_warnings(context, charge)
        close_inquiries(context, charge)
    return refund


def settle_refund(
    context: OperationContext,
    refund: JsonObject,
    *,
    succeeds: bool | None = None,
    failure: str | None = None,
) -> JsonObject:
    """Settle a refund: it arrives, or it fails at the bank, if need be weeks later.

    Without `succeeds` the card decides: a pending one succeeds, one on `pm_card_refundFail` fails.
    """
    if succeeds is None:
        charge = context.load("charge", refund["charge"], "charge")
        succeeds = _card(context, charge).refund != "failed"
    if succeeds and refund["status"] == "pending":
        refund["status"] = "succeeded"
        refund.pop("pending_reason", None)
        return _updated(context, refund)
    if not succeeds and refund["status"] in {"pending", "succeeded"}:
        return _fail(context, refund, failure or "expired_or_canceled_card")
    return refund


def _fail(context: OperationContext, refund: JsonObject, failure: str) -> JsonObject:
    refund |= {
        "status": "failed",
        "failure_balance_transaction": new_id("txn"),
        "failure_reason": failure,
    }
    refund.pop("pending_reason", None)
    charge = context.load("charge", refund["charge"], "charge")
    _add_refunded_amount(context, charge, -refund["amount"])
    _updated(context, refund)
    context.emit("refund.failed", refund)
    return refund


def _updated(context: OperationContext, refund: JsonObject) -> JsonObject:
    context.store.save("refund", refund)
    context.emit("refund.updated", refund)
    context.emit("charge.refund.updated", refund)
    return refund


def _card(context: OperationContext, charge: JsonObject) -> Card:
    return card_of(context.load("payment_method", charge["payment_method"], "payment_method"))


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
