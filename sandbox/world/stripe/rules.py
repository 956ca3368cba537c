"""Schemas and checks of the requests about PaymentIntents."""

from typing import Final

from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.errors import invalid, unexpected_state
from sandbox.world.stripe.parameters import EXPAND, ParameterSchema

_CAPTURE_METHODS: Final = ("automatic", "automatic_async", "manual")

CONFIRM: Final[ParameterSchema] = {
    **EXPAND,
    "payment_method": "text",
    "return_url": "text",
    "off_session": "boolean",
    "error_on_requires_action": "boolean",
    "capture_method": _CAPTURE_METHODS,
    "payment_method_options": "map",
    "receipt_email": "text",
    "setup_future_usage": ("off_session", "on_session"),
    "shipping": "map",
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
    "metadata": "map",
    "payment_method_types": "list",
    "statement_descriptor": "text",
    "statement_descriptor_suffix": "text",
}
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
_MINIMUM: Final = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "chf": 50, "cad": 50, "aud": 50}


def check_amount(amount: int, currency: str) -> None:
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, code="parameter_invalid_integer", param="amount")
    if len(currency) != 3 or not currency.isalpha():
        raise invalid(f"Invalid currency: {currency}.", param="currency")
    if amount < _MINIMUM.get(currency, 1):
        message = f"Amount must be at least {_MINIMUM[currency]} in {currency}."
        raise invalid(message, code="amount_too_small", param="amount")
    if amount > 99_999_999:
        message = "Amount must be no more than 99999999."
        raise invalid(message, code="amount_too_large", param="amount")


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
