"""What is sent back and forth: the shapes of JSON that several routes share.

What is asked is checked to the letter: unknown members, text where a number belongs, control
characters are refused. Money is ``{"amount": 2900, "currency": "EUR"}``, in minor units.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from orders.lifecycle import Status
from orders.money import Money
from orders.views import OrderView

#: What the domain takes as an id: said here for programs, checked there.
ORDER_ID: Final = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
REFUND_ID: Final = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._]{0,63}$"}


def _text(most: int, *, least: int = 1) -> StringConstraints:
    """One line. Control characters are nobody's name, and PostgreSQL keeps no NUL."""
    return StringConstraints(
        min_length=least, max_length=most, pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )


Name = Annotated[str, _text(200)]
Remark = Annotated[str, _text(500, least=0)]
#: An account id or a role, never a person's name: it is kept in workflow history.
Who = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
CustomerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Sku = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
#: The card provider's token. A card number is none, and goes no further than here.
PaymentMethod = Annotated[
    str,
    StringConstraints(pattern=r"^pm_[A-Za-z0-9_]{1,250}$"),
    Field(examples=["pm_card_visa"]),
]


class Asked(BaseModel):
    """What somebody sends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Told(BaseModel):
    """What is answered."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class AskedAmount(Asked):
    """Money, in minor units."""

    amount: int = Field(ge=1, le=999_999_999_999, examples=[1450])
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(examples=["EUR"])

    def money(self) -> Money:
        return Money(self.amount, self.currency)


class Pieces(Asked):
    """So many of one product."""

    sku: Sku = Field(examples=["MUG"])
    quantity: int = Field(ge=1, le=10_000, examples=[2])


class Amount(Told):
    """Money, in minor units."""

    amount: int
    currency: str


class Line(Told):
    """So many of one product, at the price that held when the order was placed."""

    sku: str
    name: str
    quantity: int
    unit_price: Amount


class Payment(Told):
    """One charge. ``attempt`` counts cards."""

    payment_id: str
    attempt: int
    state: str
    amount: Amount
    captured: Amount
    refunded: Amount


class Parcel(Told):
    parcel_id: str
    status: str
    tracking: str


class RefundInOrder(Told):
    """Money that somebody asked to be given back."""

    refund_id: str
    amount: Amount
    state: str
    restocked: bool


class History(Told):
    """Something that happened; ``text`` says it for a person."""

    at: datetime
    event: str
    detail: dict[str, str]
    text: str = Field(validation_alias="words")


class Order(Told):
    """An order, its money, its parcels, and what happened to it, oldest first."""

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
    refunds: tuple[RefundInOrder, ...]
    history: tuple[History, ...]

    @classmethod
    def of(cls, view: OrderView) -> Order:
        """What may leave the shop: who gets the order and how it is paid stay in the database."""
        order = view.order
        shown: dict[str, Any] = {
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
        return cls.model_validate(shown)
