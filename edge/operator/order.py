"""One order, with all that is known of it and all that can be done about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.clients.errors import UnreachableError
from edge.operator.decisions import possible
from edge.operator.rendering import Page
from edge.operator.visits import Visiting
from edge.parts import Orders, Refunds
from edge.problems import UNAVAILABLE
from orders.ids import refund_workflow_id, workflow_id
from orders.messages import Progress
from orders.refund_messages import RefundProgress
from orders.refunds import FREED, REFUNDABLE, RefundState
from orders.views import OrderView

router = APIRouter(prefix="/operator", route_class=Page, include_in_schema=False)

_OVER = frozenset({*FREED, RefundState.SUCCEEDED, RefundState.SETTLED})


@router.get("/orders/{order_id}")
async def read_order(order_id: str, visit: Visiting, orders: Orders, refunds: Refunds) -> Response:
    """One order. Without Temporal it is shown as the database knows it."""
    view, entries = await asyncio.gather(orders.view(order_id), refunds.refunds_of(order_id))
    progress: Progress | None = None
    paying_back: Mapping[str, RefundProgress] = {}
    with contextlib.suppress(UnreachableError):
        progress, paying_back = await asyncio.gather(
            orders.status(order_id), _under_way(view, refunds)
        )
    office = visit.office
    refund_ids = [refund.refund_id for refund in view.refunds]
    return await visit.page(
        "order.html",
        200 if progress else UNAVAILABLE.status,
        view=view,
        order=view.order,
        progress=progress,
        asked={entry.request.refund_id: entry.request for entry in entries},
        paying_back=paying_back,
        decisions=possible(view, progress),
        can_refund=view.order.status in REFUNDABLE,
        run_url=office.web_ui.run(workflow_id(order_id)),
        refund_urls={r: office.web_ui.run(refund_workflow_id(order_id, r)) for r in refund_ids},
    )


async def _under_way(view: OrderView, refunds: Refunds) -> Mapping[str, RefundProgress]:
    """How far each refund is that is not over, by its id."""
    open_ = [refund.refund_id for refund in view.refunds if refund.state not in _OVER]
    asked = (refunds.status(view.order.id, refund_id) for refund_id in open_)
    return dict(zip(open_, await asyncio.gather(*asked), strict=True))
