"""An order under way: how far it is, and stopping it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from edge.access import needs
from edge.describing import declared, exampled
from edge.parts import OrderId, Orders
from edge.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    NO_WORKER,
    ORDER_ENDED,
    ORDER_NOT_STARTED,
    ORDER_STRANDED,
    TOO_LATE,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    ProblemError,
)
from orders.keys import Scope
from orders.messages import Cancelled, CancelUnderWay, EndedOtherwise
from orders.views import without_personal_data

router = APIRouter(prefix="/orders", tags=["orders"])

_ORDER: Final = {
    "order_id": "1001",
    "customer_id": "cus_1",
    "status": "completed",
    "reason": None,
    "total": {"amount": 2900, "currency": "EUR"},
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
    "payments": [],
    "parcels": [],
    "refunds": [],
    "history": [{"at": "2026-03-01T10:00:00Z", "event": "order_placed", "detail": {}}],
}
_CANCELLED: Final = {
    "kind": "cancelled",
    "status": "refunded",
    "given_back": {"amount": 2900, "currency": "EUR"},
}


@router.get(
    "/{order_id}",
    responses={200: exampled(_ORDER), **declared(UNKNOWN_ORDER, MALFORMED, INVALID_ORDER_ID)},
)
async def read_order(order_id: OrderId, orders: Orders) -> dict[str, Any]:
    """Where the order stands and what happened to it, without personal data."""
    return without_personal_data(await orders.view(order_id))


@router.post(
    "/{order_id}/cancel",
    dependencies=[needs(Scope.SHOP)],
    responses={
        200: exampled(_CANCELLED),
        202: {"description": "Accepted, still being undone", **exampled({"kind": "under_way"})},
        **declared(UNKNOWN_ORDER, ORDER_NOT_STARTED, TOO_LATE, ORDER_ENDED, ORDER_STRANDED),
        **declared(MALFORMED, INVALID_ORDER_ID, UNAVAILABLE, NO_WORKER),
    },
)
async def cancel(order_id: OrderId, orders: Orders, response: Response) -> Any:
    """Stop the order; the answer is what became of it. 202: accepted, still being undone."""
    answer = await orders.cancel(order_id)
    match answer:
        case Cancelled():
            pass
        case CancelUnderWay():
            response.status_code = 202
        case EndedOtherwise(status=status):
            raise ProblemError(
                ORDER_ENDED, f"order {order_id} could not be cancelled: it is {status}"
            )
    return answer
