"""Routes: the dashboard (what needs a person, counts by status, newest orders), and a search."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from durable_orders.api.admin.forms import Admin, AdminRequest
from durable_orders.api.admin.templating import HtmlRoute
from durable_orders.api.dependencies import (
    Disputes,
    Operations,
    Orders,
    PaymentRiskRuns,
    Refunds,
)
from durable_orders.api.problems import MALFORMED, UNAVAILABLE, ProblemError
from durable_orders.clients.errors import UnreachableError
from durable_orders.domain.audit.advice import advice
from durable_orders.domain.disputes.advice import not_shown
from durable_orders.domain.disputes.messages import PaymentRiskNeedingAttention
from durable_orders.domain.ids import InvalidOrderIdError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import Cursor, InvalidCursorError, OrderFilter
from durable_orders.domain.operators.dashboard import DashboardRefund
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.domain.refunds.messages import RefundNeedingAttention
from durable_orders.domain.views import OrderNeedingAttention

router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)


class _Attention(NamedTuple):
    """Runs that need a person, by what they are about."""

    orders: tuple[OrderNeedingAttention, ...]
    refunds: tuple[RefundNeedingAttention, ...]
    payments: tuple[PaymentRiskNeedingAttention, ...]


_PAGE_SIZE: Final = 25
#: Entries of each kind that needs a person.
_MAX_SHOWN: Final = 20
#: Counts stop here; larger ones are shown as 1000+.
_MAX_COUNTED: Final = 1_000


@dataclass(frozen=True)
class _Runs:
    """Clients of the runs that may need a person."""

    orders: Operations
    refunds: Refunds
    payments: PaymentRiskRuns


async def _get_runs(orders: Operations, refunds: Refunds, payments: PaymentRiskRuns) -> _Runs:
    return _Runs(orders, refunds, payments)


@router.get("")
async def read_overview(
    admin: Admin,
    orders: Orders,
    disputes: Disputes,
    runs: Annotated[_Runs, Depends(_get_runs)],
    *,
    status: str = "",
    customer: str = "",
    after: str = "",
) -> Response:
    """The dashboard, or a later page of orders; of one status or customer, if given."""
    order_filter = OrderFilter(_status(status), customer or None)
    if after:
        return await _later_page(admin, orders, order_filter, after)
    return await _dashboard(admin, orders, disputes, _attention(runs), order_filter)


@router.get("/find")
async def find(orders: Orders, admin: Admin, order: str = "") -> Response:
    """Redirect to the page of the order with this id."""
    order_id = order.strip()
    if not order_id:
        return RedirectResponse("/operator", 303)
    try:
        await orders.view(order_id)
    except (NoSuchOrderError, InvalidOrderIdError) as error:
        return await admin.redirect_refused(str(error), "/operator")
    return RedirectResponse(f"/operator/orders/{order_id}", 303)


async def _dashboard(
    admin: AdminRequest,
    orders: Orders,
    disputes: Disputes,
    attention: Awaitable[_Attention | None],
    order_filter: OrderFilter,
) -> Response:
    dependencies = admin.dependencies
    overview = dependencies.overview
    needs_attention, (waiting, page), (refunds, counts), findings, disputed = await asyncio.gather(
        attention,
        asyncio.gather(
            orders.page(OrderFilter(Status.AWAITING_APPROVAL), _MAX_SHOWN),
            orders.page(order_filter, _PAGE_SIZE),
        ),
        asyncio.gather(
            overview.waiting_refunds(dependencies.now(), _MAX_SHOWN),
            overview.counts(_MAX_COUNTED),
        ),
        dependencies.findings.listed(everything=False, limit=_MAX_SHOWN),
        disputes.page(_MAX_SHOWN),
    )
    return await admin.page(
        "overview.html",
        200 if needs_attention is not None else UNAVAILABLE.status,
        needs_attention=None if needs_attention is None else needs_attention.orders,
        refund_attention=needs_attention.refunds if needs_attention else (),
        payments=not_shown(needs_attention.payments, disputed.risks) if needs_attention else (),
        waiting=waiting,
        refunds=_others(refunds, needs_attention.refunds if needs_attention else ()),
        findings=[(finding, advice(finding).text) for finding in findings],
        disputed=disputed,
        counts=counts,
        max_counted=_MAX_COUNTED,
        page=page,
        older=_older_url(order_filter, page.next),
        order_filter=order_filter,
    )


async def _later_page(
    admin: AdminRequest, orders: Orders, order_filter: OrderFilter, after: str
) -> Response:
    """A later page, with orders only."""
    try:
        page = await orders.page(order_filter, _PAGE_SIZE, Cursor.read(after))
    except InvalidCursorError:
        raise ProblemError(MALFORMED, "there is no such page of orders: begin anew") from None
    return await admin.page(
        "older.html",
        page=page,
        older=_older_url(order_filter, page.next),
        order_filter=order_filter,
    )


async def _attention(runs: _Runs) -> _Attention | None:
    """The runs that need a person, and refunds without a run; None when Temporal does not
    answer.
    """
    try:
        return _Attention(
            *await asyncio.gather(
                runs.orders.attention(limit=_MAX_SHOWN),
                runs.refunds.attention(limit=_MAX_SHOWN),
                runs.payments.attention(limit=_MAX_SHOWN),
            )
        )
    except UnreachableError:
        return None


def _others(
    refunds: Iterable[DashboardRefund], shown: Iterable[RefundNeedingAttention]
) -> list[DashboardRefund]:
    """Those refunds that are not shown already, with more about them."""
    known = {(one.refund.order_id, one.refund.refund_id) for one in shown}
    return [one for one in refunds if (one.order_id, one.refund_id) not in known]


def _status(text: str) -> Status | None:
    try:
        return Status(text) if text else None
    except ValueError:
        raise ProblemError(MALFORMED, f"there is no status {text[:40]!r}") from None


def _older_url(order_filter: OrderFilter, after: Cursor | None) -> str | None:
    if after is None:
        return None
    query = {
        "status": order_filter.status,
        "customer": order_filter.customer_id,
        "after": str(after),
    }
    return "/operator?" + urlencode({name: text for name, text in query.items() if text})
