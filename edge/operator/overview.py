"""All orders: what needs a person, how many are where, the newest page by page."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from durable_orders.clients.errors import UnreachableError
from edge.operator.rendering import Page
from edge.operator.visits import Visit, Visiting
from edge.parts import Operations, Orders
from edge.problems import MALFORMED, UNAVAILABLE, ProblemError
from orders.ids import InvalidOrderIdError
from orders.lifecycle import Status
from orders.pages import Bookmark, InvalidBookmarkError, Wanted
from orders.ports import NoSuchOrderError
from orders.views import TroubledOrder

router = APIRouter(prefix="/operator", route_class=Page, include_in_schema=False)

_A_PAGE: Final = 25
#: Of each kind of what needs a person.
_MOST_SHOWN: Final = 20
#: Further than this nobody reads a number of orders.
_MOST_COUNTED: Final = 1_000


@router.get("")
async def read_overview(
    visit: Visiting,
    orders: Orders,
    operations: Operations,
    *,
    status: str = "",
    customer: str = "",
    after: str = "",
) -> Response:
    """What needs a person, and the newest orders: all, those of a status or of a customer."""
    wanted = Wanted(_status(status), customer or None)
    if after:
        return await _orders(visit, orders, wanted, after)
    return await _everything(visit, orders, operations, wanted)


@router.get("/find")
async def find(orders: Orders, visit: Visiting, order: str = "") -> Response:
    """The page of the order with this id."""
    order_id = order.strip()
    if not order_id:
        return RedirectResponse("/operator", 303)
    try:
        await orders.view(order_id)
    except (NoSuchOrderError, InvalidOrderIdError) as error:
        return await visit.refused(str(error), "/operator")
    return RedirectResponse(f"/operator/orders/{order_id}", 303)


async def _everything(
    visit: Visit, orders: Orders, operations: Operations, wanted: Wanted
) -> Response:
    overview = visit.office.overview
    troubled, waiting, refunds, counts, page = await asyncio.gather(
        _attention(operations),
        orders.page(Wanted(Status.AWAITING_APPROVAL), _MOST_SHOWN),
        overview.waiting_refunds(visit.office.now(), _MOST_SHOWN),
        overview.counts(_MOST_COUNTED),
        orders.page(wanted, _A_PAGE),
    )
    return await visit.page(
        "overview.html",
        200 if troubled is not None else UNAVAILABLE.status,
        troubled=troubled,
        waiting=waiting,
        refunds=refunds,
        counts=counts,
        most_counted=_MOST_COUNTED,
        page=page,
        older=_older(wanted, page.next),
        wanted=wanted,
    )


async def _orders(visit: Visit, orders: Orders, wanted: Wanted, after: str) -> Response:
    """A later page has the orders alone."""
    try:
        page = await orders.page(wanted, _A_PAGE, Bookmark.read(after))
    except InvalidBookmarkError:
        raise ProblemError(MALFORMED, "there is no such page of orders: begin anew") from None
    return await visit.page("older.html", page=page, older=_older(wanted, page.next), wanted=wanted)


async def _attention(operations: Operations) -> tuple[TroubledOrder, ...] | None:
    """Orders with a step that keeps failing; None when Temporal does not tell."""
    try:
        return await operations.attention(limit=_MOST_SHOWN)
    except UnreachableError:
        return None


def _status(text: str) -> Status | None:
    try:
        return Status(text) if text else None
    except ValueError:
        raise ProblemError(MALFORMED, f"there is no status {text[:40]!r}") from None


def _older(wanted: Wanted, after: Bookmark | None) -> str | None:
    if after is None:
        return None
    asked = {"status": wanted.status, "customer": wanted.customer_id, "after": str(after)}
    return "/operator?" + urlencode({name: text for name, text in asked.items() if text})
