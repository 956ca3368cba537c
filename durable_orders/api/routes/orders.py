"""Routes: place an order, list orders."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from durable_orders.api.auth import Caller, require_scope
from durable_orders.api.dependencies import Orders
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import (
    INVALID_CURSOR,
    INVALID_ORDER,
    INVALID_ORDER_ID,
    KEY_REUSED,
    MALFORMED,
    ORDER_EXISTS,
)
from durable_orders.api.schemas import (
    Amount,
    CardCustomer,
    CustomerId,
    EmailAddress,
    IdempotencyKeyText,
    Line,
    LineItem,
    OrderIdText,
    PaymentMethod,
    PostalAddress,
    ReceiptEmail,
    RecipientName,
    RequestModel,
    ResponseModel,
    order_url,
)
from durable_orders.domain.ids import IdempotencyKey
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import Cursor, OrderFilter
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.order import Basket, FutureUsage, PaymentOptions, Recipient

router = APIRouter(prefix="/orders", tags=["orders"])

#: The header by which a client can repeat a request safely.
IdempotencyKeyHeader = Annotated[
    IdempotencyKeyText | None,
    Header(
        alias="Idempotency-Key",
        description="Your own name for this request. Sent again with it, it is the same request.",
        examples=["4c8b2f60-8f0d-4a53-9a0e-0d5b1c3e7f11"],
    ),
]


class RecipientRequest(RequestModel):
    """The recipient of mails and parcels. Stored in the database, never returned."""

    name: RecipientName = Field(examples=["Ada Lovelace"])
    email: EmailAddress = Field(examples=["ada@example.com"])
    address: PostalAddress = Field(
        description="One line or several.", examples=["12 St James's Square\nLondon"]
    )


class PlaceOrderRequest(RequestModel):
    """An order to place. Prices, currency and total come from the catalogue."""

    order_id: OrderIdText | None = Field(
        default=None,
        description="Your own id of the order. Left out: one is made.",
        examples=["1001"],
    )
    customer_id: CustomerId = Field(
        description="Your own id of the customer's account; no name or address. Stripe's id of "
        "them is `customer`.",
        examples=["customer-1"],
    )
    recipient: RecipientRequest
    lines: list[LineItem] = Field(min_length=1, max_length=100)
    payment_method: PaymentMethod = Field(description="The card provider's token.")
    flagged: bool = Field(default=False, description="Have a person look at it before it is paid.")
    customer: CardCustomer | None = Field(
        default=None,
        description="The card provider's id of the customer: whose saved card is charged, or for "
        "whom it is saved. Not your own `customer_id`.",
    )
    off_session: bool = Field(
        default=False,
        description="The customer is away: a saved card is charged without them. Needs `customer`. "
        "If their bank wants to hear from them, they are asked by mail.",
    )
    # Not strict: JSON has no enumerations.
    setup_future_usage: FutureUsage | None = Field(
        default=None,
        strict=False,
        description="Save the card for `customer` once it has paid, to be charged later while they "
        "are present (`on_session`) or also while they are away (`off_session`).",
    )
    receipt_email: ReceiptEmail | None = Field(
        default=None,
        description="Where the card provider sends its receipt. Stored in the database, never "
        "returned.",
        examples=["ada@example.com"],
    )


class PlaceOrderResponse(ResponseModel):
    """The order as placed; its state is at ``status_url``."""

    order_id: str
    total: Amount
    lines: tuple[Line, ...]
    status_url: str


class OrderSummary(ResponseModel):
    order_id: str
    customer_id: str
    status: Status
    reason: str | None
    total: Amount
    placed_at: datetime


class OrderListResponse(ResponseModel):
    """A page of orders, newest first. ``next_cursor`` leads to the next page; null at the end."""

    orders: tuple[OrderSummary, ...]
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    dependencies=[require_scope(Scope.SHOP)],
    responses={
        201: {
            "headers": {
                "Location": {"description": "Where the order is.", "schema": {"type": "string"}}
            },
            **example(
                {
                    "order_id": "1001",
                    "total": {"amount": 2900, "currency": "EUR"},
                    "lines": [
                        {
                            "sku": "MUG",
                            "name": "Mug",
                            "quantity": 2,
                            "unit_price": {"amount": 1450, "currency": "EUR"},
                        }
                    ],
                    "status_url": "/orders/1001",
                }
            ),
        },
        **problem_responses(ORDER_EXISTS, KEY_REUSED),
        **problem_responses(MALFORMED, INVALID_ORDER, INVALID_ORDER_ID),
    },
)
async def place_order(
    body: PlaceOrderRequest,
    orders: Orders,
    *,
    response: Response,
    caller: Caller,
    idempotency_key: IdempotencyKeyHeader = None,
) -> PlaceOrderResponse:
    """Place an order at the catalogue's prices. It is processed once it is checked out.

    Send an `order_id` of your own or an `Idempotency-Key`: a repeated request is then the same
    order, with the same response and the prices of the first request. With neither, each request
    places another order.
    """
    key = None if idempotency_key is None else IdempotencyKey(idempotency_key)
    order_id = body.order_id
    if order_id is None:
        order_id = key.derived_id if key else f"o{secrets.token_hex(12)}"
    recipient = Recipient(body.recipient.name, body.recipient.email, body.recipient.address)
    basket = Basket(
        order_id=order_id,
        customer_id=body.customer_id,
        recipient=recipient,
        quantities=tuple((line.sku, line.quantity) for line in body.lines),
        payment_method=body.payment_method,
        flagged=body.flagged,
        options=PaymentOptions(
            customer=body.customer,
            off_session=body.off_session,
            setup_future_usage=body.setup_future_usage,
            receipt_email=body.receipt_email,
        ),
    )
    order = await orders.place(basket, key=key, placed_by=caller.name)
    url = order_url(order.id)
    response.headers["Location"] = url
    return PlaceOrderResponse.model_validate(
        {"order_id": order.id, "total": order.total, "lines": order.lines, "status_url": url}
    )


@router.get(
    "",
    responses={
        200: example(
            {
                "orders": [
                    {
                        "order_id": "1001",
                        "customer_id": "customer-1",
                        "status": "completed",
                        "reason": None,
                        "total": {"amount": 2900, "currency": "EUR"},
                        "placed_at": "2026-03-01T10:00:00Z",
                    }
                ],
                "next_cursor": "MToxNzcyMzU5MjAwMDAwMDAwOjEwMDE",
            }
        ),
        **problem_responses(MALFORMED, INVALID_CURSOR),
    },
)
async def list_orders(
    orders: Orders,
    status: Annotated[Status | None, Query(description="Only those of this status.")] = None,
    customer: Annotated[
        CustomerId | None,
        Query(description="Only this `customer_id`'s.", examples=["customer-1"]),
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many.")] = 50,
) -> OrderListResponse:
    """List orders, newest first. Orders placed meanwhile do not shift the pages."""
    after = None if cursor is None else Cursor.read(cursor)
    page = await orders.page(OrderFilter(status, customer), limit, after)
    return OrderListResponse.model_validate(
        {"orders": page.orders, "next_cursor": str(page.next) if page.next else None}
    )
