"""Routes: acknowledge a dispute, an early fraud warning or a review of an order."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.api.admin.forms import Admin, AdminRequest, VerifiedForm
from durable_orders.api.admin.labels import humanize, sentence
from durable_orders.api.admin.order_actions import Action
from durable_orders.api.admin.templating import HtmlRoute
from durable_orders.api.dependencies import OrderId, Orders, PaymentRiskRuns, RiskId
from durable_orders.clients.errors import OrderClientError, UnknownDisputeError
from durable_orders.domain.disputes.listing import RiskView
from durable_orders.domain.views import OrderView

router = APIRouter(
    prefix="/operator/orders/{order_id}/disputes", route_class=HtmlRoute, include_in_schema=False
)

_ACKNOWLEDGE: Final = Action(
    "acknowledge",
    "Leave it at that",
    "Nobody is asked about it any more, and an order that is held for a warning or a review goes "
    "on. Whatever the bank decides still comes.",
    note_label="Note for the order's history (no personal data)",
)


@router.get("/{risk_id}/acknowledge")
async def read_acknowledge(
    order_id: OrderId, risk_id: RiskId, admin: Admin, orders: Orders
) -> Response:
    """The confirmation page."""
    view = await orders.view(order_id)
    return await _page(view, _find(view, risk_id), admin)


@router.post("/{risk_id}/acknowledge")
async def acknowledge(
    order_id: OrderId,
    risk_id: RiskId,
    admin: Admin,
    *,
    orders: Orders,
    payment_risks: PaymentRiskRuns,
    form: VerifiedForm,
) -> Response:
    """Acknowledge it, and redirect to the order's page."""
    risk = _find(await orders.view(order_id), risk_id)
    then = f"/operator/orders/{order_id}"
    try:
        await payment_risks.acknowledge(order_id, risk_id, admin.by, form["why"])
    except OrderClientError as error:
        return await admin.redirect_refused(sentence(str(error)), then)
    return await admin.redirect_done(f"The {humanize(risk.kind)} {risk_id} is left at that.", then)


async def _page(view: OrderView, risk: RiskView, admin: AdminRequest) -> Response:
    return await admin.page(
        "decide.html",
        about=f"{humanize(risk.kind).capitalize()} {risk.risk_id} of order {view.order.id}",
        order=view.order,
        amount=risk.amount,
        state=risk.state,
        action=_ACKNOWLEDGE,
        effect=_ACKNOWLEDGE.effect,
        error="",
    )


def _find(view: OrderView, risk_id: str) -> RiskView:
    found = next((risk for risk in view.risks if risk.risk_id == risk_id), None)
    if found is None:
        raise UnknownDisputeError(risk_id)
    return found
