"""A cart as the order store takes it."""

from __future__ import annotations

from durable_orders import Basket, Recipient
from examples.cart import Cart


def basket_of(cart: Cart) -> Basket:
    recipient = Recipient(cart.recipient.name, cart.recipient.email, cart.recipient.address)
    quantities = tuple((line.sku, line.quantity) for line in cart.lines)
    return Basket(cart.order_id, cart.customer_id, recipient, quantities, cart.payment_method)
