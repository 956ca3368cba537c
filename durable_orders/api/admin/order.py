"""Route: the page of one order, with its actions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.api.admin.forms import Admin
from durable_orders.api.admin.order_actions import available_actions
from durable_orders.api.admin.refunds import refused_refunds
from durable_orders.api.admin.templating import HtmlRoute
from durable_orders.api.dependencies import OrderId, Orders, Refunds
from durable_orders.api.problems import UNAVAILABLE
from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.domain.activity_messages import Progress
from durable_orders.domain.disputes.advice import advice_for
from durable_orders.domain.ids import refund_workflow_id, workflow_id
from durable_orders.domain.refunds.messages import RefundProgress
from durable_orders.domain.refunds.refund import REFUNDABLE, UNFINISHED
from durable_orders.domain.views import OrderView

router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)


@router.get("/orders/{order_id}")
async def read_order(order_id: OrderId, admin: Admin, orders: Orders, refunds: Refunds) -> Response:
    """One order. Without Temporal it is shown as the database has it."""
    view, entries = await asyncio.gather(orders.view(order_id), refunds.refunds_of(order_id))
    progress: Progress | None = None
    refund_progress: Mapping[str, RefundProgress] = {}
    refused: Mapping[str, RefundProgress] = {}
    with contextlib.suppress(UnreachableError):
        progress, refund_progress, refused = await asyncio.gather(
            orders.status(order_id),
            _refund_progress(view, refunds),
            _refused_refunds(view, refunds),
        )
    web_ui = admin.dependencies.web_ui
    refund_ids = [refund.refund_id for refund in view.refunds]
    return await admin.page(
        "order.html",
        200 if progress else UNAVAILABLE.status,
        view=view,
        order=view.order,
        progress=progress,
        refund_requests={entry.request.refund_id: entry.request for entry in entries},
        refund_progress=refund_progress,
        refused_refunds=refused,
        actions=available_actions(view, progress),
        can_refund=view.order.status in REFUNDABLE,
        run_url=web_ui.run_url(workflow_id(order_id)),
        advice={risk.risk_id: advice_for(risk, order_id, view.order.status) for risk in view.risks},
        refund_urls={r: web_ui.run_url(refund_workflow_id(order_id, r)) for r in refund_ids},
    )


async def _refund_progress(view: OrderView, refunds: Refunds) -> Mapping[str, RefundProgress]:
    """The progress of each refund that has not ended, by its id."""
    open_ = [refund.refund_id for refund in view.refunds if refund.state in UNFINISHED]
    progresses = (refunds.status(view.order.id, refund_id) for refund_id in open_)
    return dict(zip(open_, await asyncio.gather(*progresses), strict=True))


async def _refused_refunds(view: OrderView, refunds: Refunds) -> Mapping[str, RefundProgress]:
    """The progress of each refund that the order itself started, that was refused, and that asks
    for an operator, by its id: nothing was set aside for it, so the database has only the refusal.
    """
    found: dict[str, RefundProgress] = {}
    for refund_id in refused_refunds(view):
        with contextlib.suppress(OrderClientError):  # it has ended
            progress = await refunds.status(view.order.id, refund_id)
            if progress.attention is not None:
                found[refund_id] = progress
    return found
