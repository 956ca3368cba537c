"""Events of a payment that the customer or the bank causes, not an API request of the shop.

A customer confirms in the browser with the publishable key and the intent's client secret, as
Stripe.js and the Payment Element do ("confirmPayment").

`sandbox/world/control_api.py` has the routes that trigger them.
"""

from contextlib import suppress

from sandbox.world.request_pipeline import ApiError
from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.cards import decline_error
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import unexpected_state
from sandbox.world.stripe.intents import charge_card, close_intent, confirm_intent, fail_intent


def confirm_in_browser(
    context: OperationContext, intent: JsonObject, payment_method: str, *, passes: bool | None
) -> JsonObject:
    """Confirm as the customer: with another card, say, after a decline or a failed 3-D Secure.

    `passes` answers the authentication that the card may require; None leaves it open. Raises the
    402 of a decline, which Stripe.js shows to the customer.
    """
    intent = confirm_intent(context, intent, {"payment_method": payment_method})
    if intent["status"] != "requires_action" or passes is None:
        return intent
    return finish_authentication(context, intent, passed=passes)


def finish_authentication(
    context: OperationContext, intent: JsonObject, *, passed: bool
) -> JsonObject:
    """Finish 3-D Secure: the customer passed or failed ("Test 3D Secure authentication")."""
    _expect(intent, "requires_action")
    intent["next_action"] = None
    if passed:
        return _charge(context, intent)
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_authentication_failure",
        "message": (
            "The provided PaymentMethod has failed authentication. You can provide payment_method_"
            "data or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
        ),
    }
    fail_intent(context, intent, _method(context, intent), error)
    return intent


def finish_processing(context: OperationContext, intent: JsonObject, *, passed: bool) -> JsonObject:
    """Finish a payment that was `processing`: the bank accepts or declines it."""
    _expect(intent, "processing")
    if passed:
        return _charge(context, intent)
    fail_intent(context, intent, _method(context, intent), decline_error("generic_decline"))
    return intent


def expire_hold(context: OperationContext, intent: JsonObject) -> JsonObject:
    """Expire a hold at once, as if its seven days were over."""
    _expect(intent, "requires_capture")
    return close_intent(context, intent, "expired")


def _charge(context: OperationContext, intent: JsonObject) -> JsonObject:
    with suppress(ApiError):  # a decline is in the intent
        charge_card(context, intent, _method(context, intent))
    return intent


def _method(context: OperationContext, intent: JsonObject) -> JsonObject:
    return context.load("payment_method", intent["payment_method"], "payment_method")


def _expect(intent: JsonObject, status: str) -> None:
    if intent["status"] != status:
        raise unexpected_state(f"This PaymentIntent is {intent['status']}, not {status}.", intent)
