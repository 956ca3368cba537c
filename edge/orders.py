"""An order under way: how far it is, and stopping it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from edge.parts import OrderId, Orders
from edge.problems import ORDER_ENDED, ProblemError
from orders.messages import Cancelled, CancelUnderWay, EndedOtherwise
from orders.views import without_personal_data

router = APIRouter(prefix="/orders", tags=["orders"])


@router.get("/{order_id}")
async def read_order(order_id: OrderId, orders: Orders) -> dict[str, Any]:
    """Where the order stands and what happened to it, without personal data."""
    return without_personal_data(await orders.view(order_id))


@router.post("/{order_id}/cancel")
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
