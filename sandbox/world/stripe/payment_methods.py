"""PaymentMethods: made from a test card, saved for a customer, or used once.

"If you use a PaymentMethod without attaching it to a Customer, it can be used once": with one
intent, where it may be confirmed again after a decline. A detached one cannot be used any more. A
test name as `pm_card_visa` stands for a new PaymentMethod every time, as at Stripe.
Sources: "Payment Methods API", "Save payment details during payment" and the API reference.
"""

from typing import Any, Final

from sandbox.world.request_pipeline import ApiError
from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe import customers
from sandbox.world.stripe.cards import (
    Card,
    card_of,
    card_of_number,
    card_of_token,
    decline_error,
    find_card,
    has_check_digit,
)
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import card_error, exclusive, invalid, missing, not_possible
from sandbox.world.stripe.parameters import ADDRESS, EXPAND, PAGE, ParameterSchema

_BILLING: Final[ParameterSchema] = {
    "address": ADDRESS,
    "email": "email",
    "name": "text",
    "phone": "text",
}
CREATE: Final[ParameterSchema] = {
    **EXPAND,
    "type!": ("card",),
    "card!": {
        "token": "text",
        "number": "text",
        "exp_month": "integer",
        "exp_year": "integer",
        "cvc": "text",
    },
    "billing_details": _BILLING,
    "metadata": "map",
    "allow_redisplay": ("always", "limited", "unspecified"),
}
ATTACH: Final[ParameterSchema] = {**EXPAND, "customer!": "text"}
LIST_OF_CUSTOMER: Final[ParameterSchema] = {
    **{name: kind for name, kind in PAGE.items() if name != "created"},
    "type": ("card",),
}
LIST: Final[ParameterSchema] = {**LIST_OF_CUSTOMER, "customer": "text"}

_USED: Final = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
    "attachment, shared with a connected account without Customer attachment, or was detached from "
    "a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach "
    "it to a Customer first."
)
_CANNOT_BE_ATTACHED: Final = (
    "This PaymentMethod was previously used without being attached to a Customer or was detached "
    "from a Customer, and may not be used again."
)


def create_payment_method(context: OperationContext, params: JsonObject) -> JsonObject:
    """Make a PaymentMethod from a test token or a test card's number."""
    card = _test_card(params["card"])
    made = _add(context, card)
    billing = params.get("billing_details", {})
    made["billing_details"] |= billing
    made["metadata"] = params.get("metadata", {})
    made["allow_redisplay"] = params.get("allow_redisplay", "unspecified")
    for name in ("exp_month", "exp_year"):
        if name in params["card"]:
            made["card"][name] = params["card"][name]
    context.store.save("payment_method", made)
    return made


def find_payment_method(
    context: OperationContext, name: str, *, status: int = 400, param: str = "payment_method"
) -> JsonObject:
    """The PaymentMethod with this id, or a new one for a test name."""
    card = find_card(name)
    if card is not None:
        return _add(context, card)
    found = context.store.find("payment_method", name)
    if found is None:
        raise missing("PaymentMethod", name, param, status)
    return found


def attach_payment_method(
    context: OperationContext, method: JsonObject, params: JsonObject
) -> JsonObject:
    """Save the PaymentMethod for a customer; a card that is declined cannot be saved."""
    customer = customers.load_customer(context, params["customer"])
    card = card_of(method)
    if method["customer"] not in {None, customer["id"]}:
        raise not_possible(
            "The payment method you provided has already been attached to a customer.",
            param="payment_method",
        )
    if method["customer"] is None and not _may_be_attached(context, method):
        raise _unexpected_state(_CANNOT_BE_ATTACHED)
    if card.decline is not None and not card.attaches:
        raise card_error(decline_error(card.decline))
    return save_for_customer(context, method, customer["id"])


def create_customer(context: OperationContext, params: JsonObject) -> JsonObject:
    """Make a customer, with a PaymentMethod if one is named."""
    customer = customers.create_customer(context, params)
    if "payment_method" in params:
        method = find_payment_method(context, params["payment_method"])
        attach_payment_method(context, method, {"customer": customer["id"]})
    return customer


def detach_payment_method(context: OperationContext, method: JsonObject) -> JsonObject:
    """Remove the PaymentMethod from its customer. It can never be used again."""
    if method["customer"] is None:
        raise _unexpected_state(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    method["customer"] = None
    context.store.save("payment_method", method)
    _remember_use(context, method, {"payment_intent": None, "is_detached": True})
    context.emit("payment_method.detached", method)
    return method


def check_usable(context: OperationContext, intent: JsonObject, method: JsonObject) -> None:
    """Raise Stripe's 400 if the intent may not use this PaymentMethod."""
    owner = method["customer"]
    if owner is None:
        use = _use(context, method)
        if use is not None and use["payment_intent"] != intent["id"]:
            raise _unexpected_state(_USED)
    elif intent["customer"] is None:
        raise not_possible(
            f"The `payment_method` parameter supplied {method['id']} belongs to the Customer "
            f"{owner}. Please include the Customer in the `customer` parameter on the "
            "PaymentIntent.",
            param="payment_method",
        )
    elif intent["customer"] != owner:
        raise not_possible(
            f"The customer does not have a payment method with the ID {method['id']}. The payment "
            "method must be attached to the customer.",
            code="resource_missing",
            param="payment_method",
        )


def use_payment_method(context: OperationContext, intent: JsonObject, method: JsonObject) -> None:
    """Remember that the intent used it: unless it is saved, no other intent can."""
    if method["customer"] is None:
        known = _use(context, method) or {}
        # "If you don't provide a Customer, you can still attach the payment method to a Customer
        # after the transaction completes": said of `setup_future_usage`.
        kept = bool(intent["setup_future_usage"])
        _remember_use(
            context, method, {**known, "payment_intent": intent["id"], "may_be_attached": kept}
        )


def set_up_for_future_usage(
    context: OperationContext, intent: JsonObject, method: JsonObject
) -> None:
    """Save the PaymentMethod of a paid intent, if `setup_future_usage` asks for it."""
    if not intent["setup_future_usage"]:
        return
    if intent["setup_future_usage"] == "off_session":
        _remember_use(context, method, {**(_use(context, method) or {}), "is_set_up": True})
    if intent["customer"] is not None and method["customer"] is None:
        save_for_customer(context, method, intent["customer"])


def is_set_up(context: OperationContext, method: JsonObject) -> bool:
    """Whether it was authenticated for payments without the customer."""
    return bool((_use(context, method) or {}).get("is_set_up"))


def save_for_customer(
    context: OperationContext, method: JsonObject, customer_id: str
) -> JsonObject:
    method["customer"] = customer_id
    context.store.save("payment_method", method)
    context.emit("payment_method.attached", method)
    return method


def _unexpected_state(message: str) -> ApiError:
    return not_possible(message, code="payment_method_unexpected_state")


def _test_card(given: JsonObject) -> Card:
    if "token" in given and "number" in given:
        raise exclusive(("card[token]", "card[number]"))
    if "token" in given:
        card = card_of_token(given["token"])
        if card is None:
            raise missing("token", given["token"], "card[token]", 400)
        return card
    number = given.get("number")
    if number is None:
        message = "Missing required param: card[number]."
        raise invalid(message, code="parameter_missing", param="card[number]")
    if not has_check_digit(number):
        raise card_error(decline_error("incorrect_number"))
    card = card_of_number(number)
    if card is None:
        raise card_error(decline_error("test_mode_live_card"))
    return card


def _add(context: OperationContext, card: Card) -> JsonObject:
    method: JsonObject = {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "card": {
            **card.details(),
            "display_brand": card.brand,
            "generated_from": None,
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": context.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    context.store.add("payment_method", method, order_id=context.order_id, created=context.now)
    return method


def _may_be_attached(context: OperationContext, method: JsonObject) -> bool:
    use = _use(context, method)
    return use is None or bool(use.get("may_be_attached"))


def _use(context: OperationContext, method: JsonObject) -> dict[str, Any] | None:
    return context.store.find("payment_method_use", method["id"])


def _remember_use(context: OperationContext, method: JsonObject, use: JsonObject) -> None:
    if _use(context, method) is None:
        context.store.add(
            "payment_method_use",
            use,
            order_id=context.order_id,
            created=context.now,
            object_id=method["id"],
        )
    else:
        context.store.save("payment_method_use", use, object_id=method["id"])
