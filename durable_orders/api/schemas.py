"""Schemas: the request and response models that several routes share.

Requests are validated strictly: unknown members, text in place of a number and control characters
are refused. Ids, names and notes are of the formats of the domain: each has one type here, which
bodies, paths, queries and headers share. Money is ``{"amount": 2900, "currency": "EUR"}``, in minor
units.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

from durable_orders.domain import ids, texts
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.disputes.listing import RISK_ID
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import FutureUsage
from durable_orders.domain.views import OrderView


@dataclass(frozen=True)
class Checked:
    """Metadata of an annotated text: it is of this format, which OpenAPI describes too."""

    format: texts.TextFormat

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.format.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            **handler(schema),
            "minLength": self.format.min_length,
            "maxLength": self.format.max_length,
            "pattern": f"^{self.format.pattern}$",
        }


OrderIdText = Annotated[str, Checked(ids.ORDER_ID)]
RefundIdText = Annotated[str, Checked(ids.REFUND_ID)]
RiskIdText = Annotated[str, Checked(RISK_ID)]
CustomerId = Annotated[str, Checked(ids.CUSTOMER_ID)]
Sku = Annotated[str, Checked(ids.SKU)]
#: An account id or a role, never a person's name: it is kept in workflow history.
ActorId = Annotated[str, Checked(ids.ACTOR_ID)]
#: The card provider's token.
PaymentMethod = Annotated[str, Checked(ids.PAYMENT_METHOD), Field(examples=["pm_card_visa"])]
#: The card provider's id of a customer, not the shop's.
CardCustomer = Annotated[str, Checked(ids.CARD_CUSTOMER), Field(examples=["cus_NffrFeUfNV2Hib"])]
IdempotencyKeyText = Annotated[str, Checked(ids.IDEMPOTENCY_KEY)]
RecipientName = Annotated[str, Checked(texts.RECIPIENT_NAME)]
EmailAddress = Annotated[str, Checked(texts.EMAIL), Field(json_schema_extra={"format": "email"})]
ReceiptEmail = Annotated[str, Checked(texts.RECEIPT_EMAIL)]
#: Several lines, as on a parcel.
PostalAddress = Annotated[str, Checked(texts.ADDRESS)]
Remark = Annotated[str, Checked(texts.REMARK)]


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


class Risk(ResponseModel):
    """A dispute, early fraud warning or review of the order's payment.

    `state` is Stripe's status of a dispute, `actionable` or `settled` of a warning, `open` of a
    review or why it was closed. `amount` is what is disputed, else what was paid. `is_open`: it
    makes the money uncertain, and no operator has acknowledged it. `due_by`: when evidence is due.
    """

    risk_id: str
    kind: ConcernKind
    state: str
    reason: str
    payment_id: str
    amount: Amount
    is_open: bool
    opened_at: datetime
    due_by: datetime | None
    needs_response: bool
    withdrawn: Amount | None
    fee: Amount | None
    submissions: int
    acknowledged_by: str


class HistoryEntry(ResponseModel):
    """A line of the history; ``text`` is for people."""

    at: datetime
    event: str
    detail: dict[str, str]
    text: str = Field(validation_alias="words")


def order_url(order_id: str) -> str:
    """The path of an order. No host: the proxy in front knows it. An id needs no escaping."""
    return f"/orders/{order_id}"


class OrderResponse(ResponseModel):
    """An order with its payments, parcels, refunds, risks and history, oldest first."""

    order_id: str
    customer_id: str
    customer: str | None = Field(description="The card provider's id of them, `cus_…`.")
    off_session: bool
    setup_future_usage: FutureUsage | None
    status: Status
    reason: str | None
    total: Amount
    placed_at: datetime
    lines: tuple[Line, ...]
    stock: str
    payments: tuple[Payment, ...]
    parcels: tuple[Parcel, ...]
    refunds: tuple[OrderRefund, ...]
    risks: tuple[Risk, ...]
    history: tuple[HistoryEntry, ...]

    @classmethod
    def of(cls, view: OrderView) -> OrderResponse:
        """The response for a view. Recipient, payment method and the address of the receipt stay
        out of it.
        """
        order = view.order
        members: dict[str, Any] = {
            "order_id": order.id,
            "customer_id": order.customer_id,
            "customer": order.options.customer,
            "off_session": order.options.off_session,
            "setup_future_usage": order.options.setup_future_usage,
            "status": order.status,
            "reason": order.reason,
            "total": order.total,
            "placed_at": view.placed_at,
            "lines": order.lines,
            "stock": view.stock,
            "payments": view.payments,
            "parcels": view.parcels,
            "refunds": view.refunds,
            "risks": view.risks,
            "history": [line.without_personal_data for line in view.history],
        }
        return cls.model_validate(members)
