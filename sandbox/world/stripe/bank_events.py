"""What happens to a payment without a request of the shop: at the customer's, at the bank.

`sandbox/world/control_api.py` has the doors through which a test or a person makes it happen.
"""

from contextlib import suppress

from sandbox.world.request_pipeline import Refused
from sandbox.world.state_store import Doc
from sandbox.world.stripe.cards import decline_error
from sandbox.world.stripe.context import Till
from sandbox.world.stripe.errors import unexpected_state
from sandbox.world.stripe.intents import charge_card, close_intent, fail_intent


def finish_authentication(till: Till, intent: Doc, *, passed: bool) -> Doc:
    """The customer came back from 3-D Secure ("Test 3D Secure authentication")."""
    _expect(intent, "requires_action")
    intent["next_action"] = None
    if passed:
        return _charged(till, intent)
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_authentication_failure",
        "message": (
            "The provided PaymentMethod has failed authentication. You can provide payment_method_"
            "data or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
        ),
    }
    fail_intent(till, intent, till.card(intent["payment_method"]), error)
    return intent


def finish_processing(till: Till, intent: Doc, *, passed: bool) -> Doc:
    """The bank decides on a payment that was `processing`."""
    _expect(intent, "processing")
    if passed:
        return _charged(till, intent)
    card = till.card(intent["payment_method"])
    fail_intent(till, intent, card, decline_error("generic_decline"))
    return intent


def lapse_hold(till: Till, intent: Doc) -> Doc:
    """A hold ends before its time, as if its seven days were over."""
    _expect(intent, "requires_capture")
    return close_intent(till, intent, "automatic")


def _charged(till: Till, intent: Doc) -> Doc:
    with suppress(Refused):  # declined after all: the intent says so
        charge_card(till, intent, till.card(intent["payment_method"]))
    return intent


def _expect(intent: Doc, status: str) -> None:
    if intent["status"] != status:
        raise unexpected_state(f"This PaymentIntent is {intent['status']}, not {status}.", intent)
