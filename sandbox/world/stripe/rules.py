"""Schemas and checks of the requests about PaymentIntents."""

from typing import Final

from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.errors import invalid, unexpected_state
from sandbox.world.stripe.parameters import EXPAND, SHIPPING, ParameterSchema

_CAPTURE_METHODS: Final = ("automatic", "automatic_async", "manual")

CONFIRM: Final[ParameterSchema] = {
    **EXPAND,
    "payment_method": "text",
    "payment_method_types": "removed",
    "return_url": "text",
    "off_session": "off_session",
    "error_on_requires_action": "boolean",
    "capture_method": _CAPTURE_METHODS,
    "payment_method_options": {
        "card": {"request_three_d_secure": ("any", "automatic", "challenge")}
    },
    "receipt_email": "email",
    "setup_future_usage": ("off_session", "on_session"),
    "shipping": {**SHIPPING, "carrier": "text", "tracking_number": "text"},
    "use_stripe_sdk": "boolean",
}
CREATE: Final[ParameterSchema] = {
    **CONFIRM,
    "allowed_payment_method_types": "list",
    "amount!": "integer",
    "currency!": "text",
    "automatic_payment_methods": {"enabled!": "boolean", "allow_redirects": ("always", "never")},
    "confirm": "boolean",
    "confirmation_method": ("automatic", "manual"),
    "customer": "text",
    "description": "text",
    "excluded_payment_method_types": "list",
    "metadata": "map",
    "statement_descriptor": "text",
    "statement_descriptor_suffix": "text",
}
WHICH_METHODS: Final = (
    ("allowed_payment_method_types", "automatic_payment_methods"),
    ("allowed_payment_method_types", "excluded_payment_method_types"),
)
"""Mutually exclusive (changelog 2026-07-29.dahlia, "allowed payment method types parameter")."""
CAPTURE: Final[ParameterSchema] = {
    **EXPAND,
    "amount_to_capture": "integer",
    "final_capture": "boolean",
    "metadata": "map",
    "statement_descriptor": "text",
    "statement_descriptor_suffix": "text",
}
CANCEL: Final[ParameterSchema] = {
    **EXPAND,
    "cancellation_reason": ("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
}

DEFAULT_CONFIRM_LIMIT: Final = 10
"""Confirms of one intent. Stripe documents "a variable upper limit" without naming one."""

ONLY_WITH_CONFIRM: Final = ("return_url", "off_session", "error_on_requires_action")


def check_new(params: JsonObject) -> None:
    """Raise Stripe's 400 for parameters of a new intent that do not go together."""
    for name in ONLY_WITH_CONFIRM:
        if name in params and not params.get("confirm", False):
            raise invalid(f"`{name}` can only be used with `confirm=true`.", param=name)
    check_off_session(params)
    if "statement_descriptor" in params:
        message = (
            "The `statement_descriptor` parameter is not supported for card charges. Use "
            "`statement_descriptor_suffix` instead."
        )
        raise invalid(message, param="statement_descriptor")
    types = params.get("allowed_payment_method_types", ["card"])
    if "card" not in types:
        message = "The stand-in takes cards only: allow `card`."
        raise invalid(message, param="allowed_payment_method_types")


def check_off_session(params: JsonObject) -> None:
    """Raise Stripe's 400: without the customer nothing can be set up."""
    if params.get("off_session") and "setup_future_usage" in params:
        message = "You cannot set `setup_future_usage` when `off_session` is true."
        raise invalid(message, param="setup_future_usage")


def check_confirmable(intent: JsonObject, params: JsonObject) -> None:
    status = intent["status"]
    if status == "succeeded":
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            "previously confirmed.",
            intent,
        )
    if status in {"canceled", "requires_capture", "processing"}:
        raise unexpected_state(
            f"You cannot confirm this PaymentIntent because it has a status of {status}. Only a "
            "PaymentIntent with one of the following statuses may be confirmed: "
            "requires_confirmation, requires_action.",
            intent,
        )
    if intent["payment_method"] is None and "payment_method" not in params:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can "
            "either update the PaymentIntent with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method or ConfirmationToken.",
            intent,
        )
    automatic = intent["automatic_payment_methods"] or {}
    redirects = automatic.get("enabled") and automatic.get("allow_redirects", "always") == "always"
    if redirects and "return_url" not in params:
        raise invalid(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
            "Because some of these payment methods might redirect your customer off of your page, "
            "you must provide a `return_url`. If you don't want to accept redirect-based payment "
            "methods, set `automatic_payment_methods[enabled]` to `true` and "
            "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents "
            "and Payment Intents.",
            param="return_url",
        )
