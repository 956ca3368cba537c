"""Customers: somebody whose cards are saved (API reference, "Customers")."""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import missing
from sandbox.world.stripe.parameters import ADDRESS, EXPAND, PAGE, SHIPPING, ParameterSchema

UPDATE: Final[ParameterSchema] = {
    **EXPAND,
    "address": ADDRESS,
    "description": "text",
    "email": "email",
    "invoice_settings": {"default_payment_method": "text"},
    "metadata": "map",
    "name": "text",
    "phone": "text",
    "preferred_locales": "list",
    "shipping": SHIPPING,
    "tax_exempt": ("exempt", "none", "reverse"),
}
CREATE: Final[ParameterSchema] = {**UPDATE, "payment_method": "text"}
LIST: Final[ParameterSchema] = {**PAGE, "email": "email"}


def create_customer(context: OperationContext, params: JsonObject) -> JsonObject:
    customer: JsonObject = {
        "id": new_id("cus", 14),
        "object": "customer",
        "address": params.get("address"),
        "balance": 0,
        "created": context.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": params.get("description"),
        "email": params.get("email"),
        "invoice_prefix": new_id("p", 8)[2:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        }
        | params.get("invoice_settings", {}),
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "name": params.get("name"),
        "next_invoice_sequence": 1,
        "phone": params.get("phone"),
        "preferred_locales": params.get("preferred_locales", []),
        "shipping": params.get("shipping"),
        "tax_exempt": params.get("tax_exempt", "none"),
        "test_clock": None,
    }
    context.store.add("customer", customer, order_id=context.order_id, created=context.now)
    context.emit("customer.created", customer)
    return customer


def update_customer(
    context: OperationContext, customer: JsonObject, params: JsonObject
) -> JsonObject:
    given = {name: value for name, value in params.items() if name != "expand"}
    given["metadata"] = customer["metadata"] | given.get("metadata", {})
    if "invoice_settings" in given:
        given["invoice_settings"] = customer["invoice_settings"] | given["invoice_settings"]
    customer |= given
    context.store.save("customer", customer)
    context.emit("customer.updated", customer)
    return customer


def delete_customer(context: OperationContext, customer: JsonObject) -> JsonObject:
    """Delete the customer, whose id stays known: retrieving it shows that it is deleted."""
    deleted = {"id": customer["id"], "object": "customer", "deleted": True}
    context.store.save("customer", deleted)
    context.emit("customer.deleted", customer)
    return deleted


def load_customer(
    context: OperationContext, customer_id: str, param: str = "customer", *, status: int = 400
) -> JsonObject:
    """The customer, or Stripe's `resource_missing` for one that is unknown or deleted."""
    customer = context.store.find("customer", customer_id)
    if customer is None or customer.get("deleted"):
        raise missing("customer", customer_id, param, status)
    return customer
