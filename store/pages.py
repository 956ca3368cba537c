"""Keyset pagination over orders."""

from __future__ import annotations

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.lifecycle import Status
from orders.money import Money
from orders.pages import Cursor, OrderFilter, OrderPage, PlacedOrder
from store.tables import orders

_COLUMNS = (
    orders.c.id,
    orders.c.customer_id,
    orders.c.status,
    orders.c.reason,
    orders.c.total,
    orders.c.currency,
    orders.c.placed_at,
)


async def read_page(
    connection: AsyncConnection, wanted: OrderFilter, limit: int, after: Cursor | None
) -> OrderPage:
    """At most ``limit`` orders, newest first, from those placed before ``after``."""
    newest = select(*_COLUMNS).order_by(orders.c.placed_at.desc(), orders.c.id.desc())
    if wanted.status is not None:
        newest = newest.where(orders.c.status == wanted.status)
    if wanted.customer_id is not None:
        newest = newest.where(orders.c.customer_id == wanted.customer_id)
    if after is not None:
        before = tuple_(orders.c.placed_at, orders.c.id) < (after.placed_at, after.order_id)
        newest = newest.where(before)
    rows = await connection.execute(newest.limit(limit + 1))
    found = [
        PlacedOrder(
            order_id=row.id,
            customer_id=row.customer_id,
            status=Status(row.status),
            reason=row.reason,
            total=Money(row.total, row.currency),
            placed_at=row.placed_at,
        )
        for row in rows
    ]
    return OrderPage.of(found, limit)
