"""Schemas: the request and response models that several routes share.

Requests are validated strictly: unknown members, text in place of a number and control characters
are refused. Money is ``{"amount": 2900, "currency": "EUR"}``, in minor units.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.views import OrderView

#: Patterns of ids, for OpenAPI; the domain checks them.
ORDER_ID: Final = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
REFUND_ID: Final = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._]{0,63}$"}


def _single_line(max_length: int, *, min_length: int = 1) -> StringConstraints:
    """A line of text without control characters; PostgreSQL stores no NUL."""
    return StringConstraints(
        min_length=min_length, max_length=max_length, pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )


Name = Annotated[str, _single_line(200)]
Remark = Annotated[str, _single_line(500, min_length=0)]
#: An account id or a role, never a person's name: it is kept in workflow history.
ActorId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
CustomerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Sku = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
#: The card provider's token. A card number does not match, and is refused here.
PaymentMethod = Annotated[
    str,
    StringConstraints(pattern=r"^pm_[A-Za-z0-9_]{1,250}$"),
    Field(examples=["pm_card_visa"]),
]


class RequestModel(BaseModel):
    """Base of request models."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ResponseModel(BaseModel):
    """Base of response models."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class RequestedAmount(RequestModel):
    """Money, in minor units."""

    amount: int = Field(ge=1, le=999_999_999_999, examples=[1450])
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(examples=["EUR"])

    def money(self) -> Money:
        return Money(self.amount, self.currency)


class LineItem(RequestModel):
    """A quantity of one product."""

    sku: Sku = Field(examples=["MUG"])
    quantity: int = Field(ge=1, le=10_000, examples=[2])


class Amount(ResponseModel):
    """Money, in minor units."""

    amount: int
    currency: str


class Line(ResponseModel):
    """A quantity of one product, at the price at which the order was placed."""

    sku: str
    name: str
    quantity: int
    unit_price: Amount


class CardTry(ResponseModel):
    """A try of a card. ``number`` counts the order's tries from 1."""

    number: int
    state: str
    decline_code: str


class Payment(ResponseModel):
    """A payment, with the shop's tries of cards; a browser's are not among them."""

    payment_id: str
    state: str
    amount: Amount
    captured: Amount
    refunded: Amount
    tries: list[CardTry]


class Parcel(ResponseModel):
    parcel_id: str
    status: str
    tracking: str


class OrderRefund(ResponseModel):
    """A refund of the order."""

    refund_id: str
    amount: Amount
    state: str
    restocked: bool


class HistoryEntry(ResponseModel):
    """A line of the history; ``text`` is for people."""

    at: datetime
    event: str
    detail: dict[str, str]
    text: str = Field(validation_alias="words")


class OrderResponse(ResponseModel):
    """An order with its payments, parcels, refunds and history, oldest first."""

    order_id: str
    customer_id: str
    status: Status
    reason: str | None
    total: Amount
    placed_at: datetime
    lines: tuple[Line, ...]
    stock: str
    payments: tuple[Payment, ...]
    parcels: tuple[Parcel, ...]
    refunds: tuple[OrderRefund, ...]
    history: tuple[HistoryEntry, ...]

    @classmethod
    def of(cls, view: OrderView) -> OrderResponse:
        """The response for a view. Recipient and payment method stay out of it."""
        order = view.order
        members: dict[str, Any] = {
            "order_id": order.id,
            "customer_id": order.customer_id,
            "status": order.status,
            "reason": order.reason,
            "total": order.total,
            "placed_at": view.placed_at,
            "lines": order.lines,
            "stock": view.stock,
            "payments": view.payments,
            "parcels": view.parcels,
            "refunds": view.refunds,
            "history": view.history,
        }
        return cls.model_validate(members)
