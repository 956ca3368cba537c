"""A shopper checks out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from edge.describing import declared, exampled
from edge.parts import Orders, RequestId
from edge.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    ORDER_ENDED,
    ORDER_STRANDED,
    UNKNOWN_ORDER,
)

router = APIRouter(tags=["orders"])


class Checkout(BaseModel):
    """A shopper checks out: carry this order, which your shop has placed before."""

    order_id: str = Field(description="The order's id.", examples=["1001"])


class Accepted(BaseModel):
    """The order is carried; ask ``status_url`` how far it is."""

    workflow_id: str = Field(examples=["order-1001"])
    status_url: str = Field(examples=["/orders/1001"])


@router.post(
    "/checkout",
    status_code=202,
    responses={
        202: exampled({"workflow_id": "order-1001", "status_url": "/orders/1001"}),
        **declared(UNKNOWN_ORDER, ORDER_ENDED, ORDER_STRANDED, MALFORMED, INVALID_ORDER_ID),
    },
)
async def checkout(
    asked: Checkout, orders: Orders, request: Request, request_id: RequestId
) -> Accepted:
    """Have an order carried to its end. Twice, or at once, is the same run."""
    run = await orders.start(asked.order_id, request_id=request_id)
    # A path: which host we have is the proxy's business.
    url = request.app.url_path_for("read_order", order_id=asked.order_id)
    return Accepted(workflow_id=run.workflow_id, status_url=url)
