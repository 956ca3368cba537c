"""Reviews and early fraud warnings ("Reviews", "Early fraud warnings" in the API reference)."""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import not_possible

FRAUD_TYPES: Final = (
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
)


def open_review(
    context: OperationContext,
    intent: JsonObject,
    charge: JsonObject,
    opened_reason: str = "rule",
) -> JsonObject:
    """Put a payment into the queue of reviews, by a rule or by hand."""
    review: JsonObject = {
        "id": new_id("prv"),
        "object": "review",
        "billing_zip": None,
        "charge": charge["id"],
        "closed_reason": None,
        "created": context.now,
        "ip_address": None,
        "ip_address_location": None,
        "livemode": False,
        "open": True,
        "opened_reason": opened_reason,
        "payment_intent": intent["id"],
        "reason": opened_reason,
        "session": None,
    }
    context.store.add(
        "review", review, order_id=context.order_id, created=context.now, parent=intent["id"]
    )
    for kind, about in (("payment_intent", intent), ("charge", charge)):
        about["review"] = review["id"]
        context.store.save(kind, about)
    context.emit("review.opened", review)
    return review


def approve_review(context: OperationContext, review: JsonObject) -> JsonObject:
    if not review["open"]:
        raise not_possible(f"The review {review['id']} has already been closed.")
    return _close(context, review, "approved")


def close_review(context: OperationContext, payment: JsonObject, reason: str) -> None:
    """Close the open review of an intent or a charge, if there is one.

    The reasons are `refunded`, `refunded_as_fraud`, `disputed` and, since 2025-03-31.basil,
    `canceled` for a hold that is released.
    """
    review = context.store.find("review", payment["review"] or "")
    if review is not None and review["open"]:
        _close(context, review, reason)


def add_warning(
    context: OperationContext, charge: JsonObject, fraud_type: str = "made_with_stolen_card"
) -> JsonObject:
    """Tell that the card's issuer suspects fraud: a dispute may follow."""
    warning: JsonObject = {
        "id": new_id("issfr"),
        "object": "radar.early_fraud_warning",
        "actionable": not charge["disputed"] and not charge["refunded"],
        "charge": charge["id"],
        "created": context.now,
        "fraud_type": fraud_type,
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    context.store.add(
        "early_fraud_warning",
        warning,
        order_id=context.order_id,
        created=context.now,
        parent=charge["payment_intent"],
    )
    context.emit("radar.early_fraud_warning.created", warning)
    return warning


def settle_warnings(context: OperationContext, charge: JsonObject) -> None:
    """Once a charge is disputed or fully refunded, nothing can be done about its warnings."""
    for warning in context.store.children("early_fraud_warning", charge["payment_intent"]):
        if warning["actionable"] and warning["charge"] == charge["id"]:
            warning["actionable"] = False
            context.store.save("early_fraud_warning", warning)
            context.emit("radar.early_fraud_warning.updated", warning)


def _close(context: OperationContext, review: JsonObject, reason: str) -> JsonObject:
    review |= {"open": False, "closed_reason": reason, "reason": reason}
    context.store.save("review", review)
    context.emit("review.closed", review)
    return review
