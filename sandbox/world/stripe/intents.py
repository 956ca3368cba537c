"""PaymentIntents and their lifecycle ("The PaymentIntents API: lifecycle").

requires_payment_method → requires_confirmation → requires_action → succeeded
          ↑ declined             │                 or processing  or requires_capture → succeeded
          └──────────────────────┴─────────────────────┘
anything before `succeeded` → canceled

One intent takes several tries. A decline clears its payment method, so each further confirm names
one; each try that reaches the bank makes a charge of its own. "There is a variable upper limit on
how many times a PaymentIntent can be confirmed": a confirm beyond it cancels the intent.

Events that no API request of the shop causes are in `bank_events.py`.
"""

from typing import Final

from sandbox.world.request_pipeline import ApiError
from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.card_effects import apply_card_effects
from sandbox.world.stripe.cards import DECLINE_MESSAGES, card_of, decline_error
from sandbox.world.stripe.charges import add_charge, capture_charge, release_charge
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.currencies import check_amount
from sandbox.world.stripe.customers import load_customer
from sandbox.world.stripe.errors import card_error, invalid, not_possible, unexpected_state
from sandbox.world.stripe.payment_methods import (
    check_usable,
    find_payment_method,
    is_set_up,
    set_up_for_future_usage,
    use_payment_method,
)
from sandbox.world.stripe.radar import close_review
from sandbox.world.stripe.rules import (
    DEFAULT_CONFIRM_LIMIT,
    check_confirmable,
    check_new,
    check_off_session,
)

_CONFIRM_CHANGES: Final = (
    "capture_method",
    "payment_method_options",
    "receipt_email",
    "setup_future_usage",
    "shipping",
)
"""Parameters of a confirm that change the intent."""

_CANCELABLE: Final = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
)
"""Stripe cancels a `processing` payment "in rare cases" only: a shop must handle the rejection."""


def create_intent(context: OperationContext, params: JsonObject) -> JsonObject:
    confirm = params.get("confirm", False)
    check_new(params)
    if context.refusal is not None and not confirm:
        raise not_possible("The payment was refused.", code=context.refusal or "amount_too_small")
    currency = params["currency"].lower()
    check_amount(params["amount"], currency)
    customer = params.get("customer")
    if customer is not None:
        load_customer(context, customer)
    intent_id = new_id("pi")
    types = params.get("allowed_payment_method_types")
    intent: JsonObject = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": params["amount"],
        "amount_capturable": 0,
        "allowed_payment_method_types": types,
        "amount_received": 0,
        "automatic_payment_methods": _automatic(params),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic"),
        "client_secret": f"{intent_id}_secret_{new_id('s', 25)[2:]}",
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": context.now,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": params.get("description"),
        "excluded_payment_method_types": params.get("excluded_payment_method_types"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_action": None,
        "payment_method": None,
        "payment_method_options": params.get("payment_method_options", {}),
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": params.get("receipt_email"),
        "review": None,
        "setup_future_usage": params.get("setup_future_usage"),
        "shipping": params.get("shipping"),
        "statement_descriptor": params.get("statement_descriptor"),
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
    }
    if "payment_method" in params:
        method = find_payment_method(context, params["payment_method"])
        check_usable(context, intent, method)
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    context.store.add(
        "payment_intent", intent, order_id=context.order_id, created=context.now, customer=customer
    )
    context.emit("payment_intent.created", intent)
    return confirm_intent(context, intent, params) if confirm else intent


def confirm_intent(context: OperationContext, intent: JsonObject, params: JsonObject) -> JsonObject:
    """Charge the card, require authentication, or raise a decline (402).

    A confirm beyond the upper limit returns the canceled intent instead.
    """
    check_confirmable(intent, params)
    check_off_session(params)
    method = find_payment_method(context, params.get("payment_method") or intent["payment_method"])
    check_usable(context, intent, method)
    if _is_beyond_limit(context, intent):
        return close_intent(context, intent, "automatic")
    intent |= {name: params[name] for name in _CONFIRM_CHANGES if name in params}
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    use_payment_method(context, intent, method)
    if context.refusal is not None:
        raise _declined(context, intent, method, context.refusal or "generic_decline")
    if _requires_authentication(context, intent, method, params):
        if params.get("off_session") or params.get("error_on_requires_action"):
            raise _declined(context, intent, method, "authentication_required")
        return _ask_for_authentication(context, intent, params.get("return_url"))
    if card_of(method).slow:
        intent["status"] = "processing"
        return save_intent(context, intent, "payment_intent.processing")
    return charge_card(context, intent, method)


def capture_intent(context: OperationContext, intent: JsonObject, params: JsonObject) -> JsonObject:
    """Capture the hold or a part of it; the rest is released."""
    if intent["status"] != "requires_capture":
        raise unexpected_state(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.",
            intent,
        )
    if context.refusal in DECLINE_MESSAGES:
        raise card_error(decline_error(context.refusal), intent)
    if context.refusal is not None:
        raise not_possible(
            "The capture was refused.", code=context.refusal or "capture_charge_failed"
        )
    amount: int = intent["amount_capturable"]
    if "amount_to_capture" in params:
        amount = params["amount_to_capture"]
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, code="parameter_invalid_integer", param="amount_to_capture")
    if amount > intent["amount_capturable"]:
        raise not_possible(
            "The payment intent could not be captured because the requested capture amount is "
            "greater than the authorized amount for this charge.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    charge = context.load("charge", intent["latest_charge"], "charge")
    capture_charge(context, charge, amount)
    intent["metadata"] = intent["metadata"] | params.get("metadata", {})
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    save_intent(context, intent, "payment_intent.succeeded")
    apply_card_effects(context, intent, charge)
    return intent


def cancel_intent(context: OperationContext, intent: JsonObject, params: JsonObject) -> JsonObject:
    """Cancel the intent at the shop's request; a hold is released."""
    if intent["status"] not in _CANCELABLE or context.refusal is not None:
        raise unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            "Only a PaymentIntent with one of the following statuses may be canceled: "
            f"{', '.join(_CANCELABLE)}.",
            intent,
        )
    return close_intent(context, intent, params.get("cancellation_reason"))


def load_intent(
    context: OperationContext, intent_id: str, param: str = "intent", *, status: int = 404
) -> JsonObject:
    """The intent as of now: a hold that was not captured within seven days is canceled."""
    intent = context.load("payment_intent", intent_id, param, status=status)
    if intent["status"] == "requires_capture":
        charge = context.load("charge", intent["latest_charge"], "charge")
        if context.now > charge["payment_method_details"]["card"]["capture_before"]:
            return close_intent(context, intent, "expired")
    return intent


def close_intent(context: OperationContext, intent: JsonObject, reason: str | None) -> JsonObject:
    """Cancel the intent for any reason; a hold is released."""
    if intent["status"] == "requires_capture":
        charge = context.load("charge", intent["latest_charge"], "charge")
        release_charge(context, charge, is_expired=reason == "expired")
        close_review(context, intent, "canceled")
    intent |= {
        "status": "canceled",
        "amount_capturable": 0,
        "canceled_at": context.now,
        "cancellation_reason": reason,
        "next_action": None,
    }
    return save_intent(context, intent, "payment_intent.canceled")


def charge_card(context: OperationContext, intent: JsonObject, method: JsonObject) -> JsonObject:
    """Charge the card or place a hold, or raise a decline (402)."""
    decline = card_of(method).decline
    if decline is not None:
        raise _declined(context, intent, method, decline)
    charge = add_charge(context, intent, method)
    intent["latest_charge"] = charge["id"]
    set_up_for_future_usage(context, intent, method)
    if not charge["captured"]:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        save_intent(context, intent, "payment_intent.amount_capturable_updated")
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        save_intent(context, intent, "payment_intent.succeeded")
    apply_card_effects(context, intent, charge)
    return intent


def _automatic(params: JsonObject) -> JsonObject | None:
    """Since version 2023-08-16 the dashboard's methods are enabled unless types are given."""
    if "allowed_payment_method_types" in params:
        return None
    given = params.get("automatic_payment_methods", {"enabled": True})
    return {"allow_redirects": "always", **given} if given["enabled"] else None


def _requires_authentication(
    context: OperationContext, intent: JsonObject, method: JsonObject, params: JsonObject
) -> bool:
    wish = intent["payment_method_options"].get("card", {}).get("request_three_d_secure")
    return wish in {"any", "challenge"} or card_of(method).requires_authentication(
        off_session=params.get("off_session", False), is_set_up=is_set_up(context, method)
    )


def _is_beyond_limit(context: OperationContext, intent: JsonObject) -> bool:
    """Count this confirm; whether the intent had as many as it may have before it."""
    limit = context.store.setting("stripe").get("confirm_limit", DEFAULT_CONFIRM_LIMIT)
    if len(context.store.children("confirmation", intent["id"])) >= limit:
        return True
    confirmation = {"id": new_id("confirmation"), "payment_intent": intent["id"]}
    context.store.add(
        "confirmation",
        confirmation,
        order_id=context.order_id,
        created=context.now,
        parent=intent["id"],
    )
    return False


def _ask_for_authentication(
    context: OperationContext, intent: JsonObject, return_url: str | None
) -> JsonObject:
    url = f"{context.url}/sandbox/payment_intents/{intent['id']}/authenticate"
    intent["status"] = "requires_action"
    intent["next_action"] = (
        {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        if return_url is None
        else {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
    )
    return save_intent(context, intent, "payment_intent.requires_action")


def _declined(
    context: OperationContext, intent: JsonObject, method: JsonObject, decline: str
) -> ApiError:
    error = decline_error(decline)
    charge = add_charge(context, intent, method, error)
    intent["latest_charge"] = charge["id"]
    error["charge"] = charge["id"]
    fail_intent(context, intent, method, error)
    return card_error(intent["last_payment_error"], intent)


def fail_intent(
    context: OperationContext, intent: JsonObject, method: JsonObject, error: JsonObject
) -> None:
    """Return to `requires_payment_method`: detach the failed card and store the error."""
    error["payment_method"] = method
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error,
    }
    save_intent(context, intent, "payment_intent.payment_failed")


def save_intent(context: OperationContext, intent: JsonObject, event: str) -> JsonObject:
    """Save the intent and emit the event."""
    context.store.save("payment_intent", intent)
    context.emit(event, intent)
    return intent
