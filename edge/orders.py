"""An order under way: how far it is, and what people tell it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Response
from pydantic import Field

from edge.access import Caller, needs
from edge.describing import declared, example
from edge.parts import Operations, OrderId, Orders
from edge.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    NO_WORKER,
    NOT_WAITING,
    ORDER_ENDED,
    ORDER_NOT_STARTED,
    ORDER_STRANDED,
    TOO_LATE,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    ProblemError,
)
from edge.shapes import Asked, Order, PaymentMethod, Remark, Told, Who
from orders.keys import Scope
from orders.messages import Cancelled, CancelUnderWay, EndedOtherwise
from orders.requests import CardAccepted

router = APIRouter(prefix="/orders", tags=["orders"])

_EUR_29: Final = {"amount": 2900, "currency": "EUR"}
_ORDER: Final = {
    "order_id": "1001",
    "customer_id": "cus_1",
    "status": "completed",
    "reason": None,
    "total": _EUR_29,
    "placed_at": "2026-03-01T10:00:00Z",
    "lines": [
        {
            "sku": "MUG",
            "name": "Mug",
            "quantity": 2,
            "unit_price": {"amount": 1450, "currency": "EUR"},
        }
    ],
    "stock": "committed",
    "payments": [
        {
            "payment_id": "pi_3Nx",
            "attempt": 1,
            "state": "captured",
            "amount": _EUR_29,
            "captured": _EUR_29,
            "refunded": {"amount": 0, "currency": "EUR"},
        }
    ],
    "parcels": [{"parcel_id": "par_7", "status": "accepted", "tracking": ""}],
    "refunds": [],
    "history": [
        {
            "at": "2026-03-01T10:00:00Z",
            "event": "order_placed",
            "detail": {"total": "29.00 EUR"},
            "text": "order placed (total 29.00 EUR)",
        }
    ],
}
#: What any Update of a run may be refused with.
_OF_A_RUN: Final = {
    **declared(UNKNOWN_ORDER),
    **declared(MALFORMED, INVALID_ORDER_ID),
    **declared(UNAVAILABLE, NO_WORKER),
}


class CancelOrder(Asked):
    """``by``: a role or an account id, never a person's name."""

    by: Who = Field(default="customer")


class ApproveOrder(Asked):
    """``by``: an account id or a role; left out, the name of the key."""

    by: Who | None = None
    note: Remark = Field(default="", description="No personal data.")


class RejectOrder(Asked):
    """``by``: an account id or a role; left out, the name of the key."""

    by: Who | None = None
    reason: Remark = Field(default="", description="No personal data.")


class OtherCard(Asked):
    """Another card, by the provider's token."""

    payment_method: PaymentMethod


class Decided(Told):
    """What was decided, and by whom: it is in the order's history."""

    order_id: str
    decision: Literal["approved", "rejected"]
    by: str


@router.get(
    "/{order_id}",
    responses={
        200: example(_ORDER),
        **declared(UNKNOWN_ORDER),
        **declared(MALFORMED, INVALID_ORDER_ID),
    },
)
async def read_order(order_id: OrderId, orders: Orders) -> Order:
    """Where the order stands and what happened to it, without personal data."""
    return Order.of(await orders.view(order_id))


@router.post(
    "/{order_id}/cancel",
    dependencies=[needs(Scope.SHOP)],
    responses={
        200: example({"kind": "cancelled", "status": "refunded", "given_back": _EUR_29}),
        202: {
            "description": "Accepted, still being undone",
            "model": CancelUnderWay,
            **example({"kind": "under_way"}),
        },
        **declared(ORDER_NOT_STARTED, TOO_LATE, ORDER_ENDED, ORDER_STRANDED),
        **_OF_A_RUN,
    },
)
async def cancel(
    order_id: OrderId,
    orders: Orders,
    response: Response,
    asked: Annotated[CancelOrder, Body()] = CancelOrder(),  # noqa: B008 - frozen
) -> Cancelled | CancelUnderWay:
    """Stop the order; the answer is what became of it. 202: accepted, still being undone."""
    answer = await orders.cancel(order_id, asked.by)
    match answer:
        case Cancelled():
            return answer
        case CancelUnderWay():
            response.status_code = 202
            return answer
        case EndedOtherwise(status=status):
            raise ProblemError(
                ORDER_ENDED, f"order {order_id} could not be cancelled: it is {status}"
            )


@router.post(
    "/{order_id}/approve",
    dependencies=[needs(Scope.OPERATOR)],
    responses={
        200: example({"order_id": "1001", "decision": "approved", "by": "ops-7"}),
        **declared(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_OF_A_RUN,
    },
)
async def approve(
    order_id: OrderId,
    operations: Operations,
    caller: Caller,
    asked: Annotated[ApproveOrder, Body()] = ApproveOrder(),  # noqa: B008 - frozen
) -> Decided:
    """Let an order pass that waits for a person."""
    by = asked.by or caller.name
    await operations.approve(order_id, by, asked.note)
    return Decided(order_id=order_id, decision="approved", by=by)


@router.post(
    "/{order_id}/reject",
    dependencies=[needs(Scope.OPERATOR)],
    responses={
        200: example({"order_id": "1001", "decision": "rejected", "by": "ops-7"}),
        **declared(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_OF_A_RUN,
    },
)
async def reject(
    order_id: OrderId,
    operations: Operations,
    caller: Caller,
    asked: Annotated[RejectOrder, Body()] = RejectOrder(),  # noqa: B008 - frozen
) -> Decided:
    """Stop an order that waits for a person; it is undone."""
    by = asked.by or caller.name
    await operations.reject(order_id, by, asked.reason)
    return Decided(order_id=order_id, decision="rejected", by=by)


@router.post(
    "/{order_id}/payment-method",
    status_code=202,
    dependencies=[needs(Scope.SHOP)],
    responses={
        202: example({"kind": "card_accepted", "attempt": 2}),
        **declared(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_OF_A_RUN,
    },
)
async def offer_payment_method(order_id: OrderId, asked: OtherCard, orders: Orders) -> CardAccepted:
    """Try another card after a decline, while the order waits for one. Check out again with
    `wait_seconds` to hear what became of it.
    """
    return await orders.submit_payment_method(order_id, asked.payment_method)
