"""Routes: read an order, cancel it, approve or reject it, submit another payment method."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Response
from pydantic import Field

from durable_orders.api.auth import Caller, require_scope
from durable_orders.api.dependencies import Operations, OrderId, Orders
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    NO_WORKER,
    NOT_WAITING,
    ORDER_ENDED,
    ORDER_NOT_STARTED,
    ORDER_STRANDED,
    SECOND_PERSON_NEEDED,
    TOO_LATE,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    ProblemError,
)
from durable_orders.api.schemas import (
    ActorId,
    OrderResponse,
    PaymentMethod,
    Remark,
    RequestModel,
    ResponseModel,
)
from durable_orders.domain.activity_messages import Cancelled, CancelUnderWay, EndedOtherwise
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.workflow_messages import CardAccepted

router = APIRouter(prefix="/orders", tags=["orders"])

_EUR_29: Final = {"amount": 2900, "currency": "EUR"}
_ORDER_EXAMPLE: Final = {
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
            "state": "captured",
            "amount": _EUR_29,
            "captured": _EUR_29,
            "refunded": {"amount": 0, "currency": "EUR"},
            "tries": [
                {"number": 1, "state": "declined", "decline_code": "insufficient_funds"},
                {"number": 2, "state": "captured", "decline_code": ""},
            ],
        }
    ],
    "parcels": [{"parcel_id": "par_7", "status": "accepted", "tracking": ""}],
    "refunds": [],
    "risks": [],
    "history": [
        {
            "at": "2026-03-01T10:00:00Z",
            "event": "order_placed",
            "detail": {"total": "29.00 EUR"},
            "text": "order placed (total 29.00 EUR)",
        }
    ],
}
#: Problems that every Update of a workflow may answer.
_UPDATE_PROBLEMS: Final = {
    **problem_responses(UNKNOWN_ORDER),
    **problem_responses(MALFORMED, INVALID_ORDER_ID),
    **problem_responses(UNAVAILABLE, NO_WORKER),
}


class CancelOrderRequest(RequestModel):
    """``by``: a role or an account id, never a person's name."""

    by: ActorId = Field(default="customer")


class ApproveRequest(RequestModel):
    """``by``: whom you decide for, an account id or a role: a note beside the name of the API key,
    which is always recorded. Default: that name.
    """

    by: ActorId | None = None
    note: Remark = Field(default="", description="No personal data.")


class RejectRequest(RequestModel):
    """``by``: whom you decide for, an account id or a role: a note beside the name of the API key,
    which is always recorded. Default: that name.
    """

    by: ActorId | None = None
    reason: Remark = Field(default="", description="No personal data.")


class PaymentMethodRequest(RequestModel):
    """Another payment method, by the card provider's token."""

    payment_method: PaymentMethod


class DecisionResponse(ResponseModel):
    """A decision and who made it; it is in the order's history. ``actor``: the API key's name."""

    order_id: str
    decision: Literal["approved", "rejected"]
    by: str
    actor: str


@router.get(
    "/{order_id}",
    responses={
        200: example(_ORDER_EXAMPLE),
        **problem_responses(UNKNOWN_ORDER),
        **problem_responses(MALFORMED, INVALID_ORDER_ID),
    },
)
async def read_order(order_id: OrderId, orders: Orders) -> OrderResponse:
    """An order's status, payments, parcels, risks and history, without personal data."""
    return OrderResponse.of(await orders.view(order_id))


@router.post(
    "/{order_id}/cancel",
    dependencies=[require_scope(Scope.SHOP)],
    responses={
        200: example({"kind": "cancelled", "status": "refunded", "given_back": _EUR_29}),
        202: {
            "description": "Accepted, still being undone",
            "model": CancelUnderWay,
            **example({"kind": "under_way"}),
        },
        **problem_responses(ORDER_NOT_STARTED, TOO_LATE, ORDER_ENDED, ORDER_STRANDED),
        **_UPDATE_PROBLEMS,
    },
)
async def cancel(
    order_id: OrderId,
    orders: Orders,
    response: Response,
    caller: Caller,
    body: Annotated[CancelOrderRequest, Body()] = CancelOrderRequest(),  # noqa: B008 - frozen
) -> Cancelled | CancelUnderWay:
    """Cancel an order. 200: the outcome. 202: accepted, the order is still being undone."""
    answer = await orders.cancel(order_id, body.by, actor=caller.name)
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
    dependencies=[require_scope(Scope.OPERATOR)],
    responses={
        200: example({"order_id": "1001", "decision": "approved", "by": "ops-7", "actor": "web"}),
        **problem_responses(SECOND_PERSON_NEEDED),
        **problem_responses(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_UPDATE_PROBLEMS,
    },
)
async def approve(
    order_id: OrderId,
    operations: Operations,
    caller: Caller,
    body: Annotated[ApproveRequest, Body()] = ApproveRequest(),  # noqa: B008 - frozen
) -> DecisionResponse:
    """Approve an order that waits for approval, or is held because its payment is uncertain."""
    by = body.by or caller.name
    await operations.approve(order_id, by, body.note, actor=caller.name)
    return DecisionResponse(order_id=order_id, decision="approved", by=by, actor=caller.name)


@router.post(
    "/{order_id}/reject",
    dependencies=[require_scope(Scope.OPERATOR)],
    responses={
        200: example({"order_id": "1001", "decision": "rejected", "by": "ops-7", "actor": "web"}),
        **problem_responses(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_UPDATE_PROBLEMS,
    },
)
async def reject(
    order_id: OrderId,
    operations: Operations,
    caller: Caller,
    body: Annotated[RejectRequest, Body()] = RejectRequest(),  # noqa: B008 - frozen
) -> DecisionResponse:
    """Reject an order that waits for approval, or is held because its payment is uncertain; it is
    undone.
    """
    by = body.by or caller.name
    await operations.reject(order_id, by, body.reason, actor=caller.name)
    return DecisionResponse(order_id=order_id, decision="rejected", by=by, actor=caller.name)


@router.post(
    "/{order_id}/payment-method",
    status_code=202,
    dependencies=[require_scope(Scope.SHOP)],
    responses={
        202: example({"kind": "card_accepted", "number": 2}),
        **problem_responses(NOT_WAITING, ORDER_NOT_STARTED, ORDER_ENDED, ORDER_STRANDED),
        **_UPDATE_PROBLEMS,
    },
)
async def offer_payment_method(
    order_id: OrderId, body: PaymentMethodRequest, orders: Orders
) -> CardAccepted:
    """Submit another payment method after a decline, while the order waits for one. Check out again
    with `wait_seconds` to learn the outcome.
    """
    return await orders.submit_payment_method(order_id, body.payment_method)
