"""What a customer buys, as the browser sends it. Prices are not in it: the catalogue has them."""

from __future__ import annotations

from pydantic import BaseModel


class Address(BaseModel):
    name: str
    email: str
    address: str


class Line(BaseModel):
    sku: str
    quantity: int


class Cart(BaseModel):
    """``order_id`` is the cart's own id: a cart that is sent twice is one order."""

    order_id: str
    customer_id: str
    recipient: Address
    lines: list[Line]
    payment_method: str
