"""Orders, their status and history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.lifecycle import FOLLOWS, Status, Stop
from orders.messages import OrderSummary
from orders.money import Money
from orders.order import Basket, Order, placed_from, priced
from orders.pages import Bookmark, OrderPage, Wanted
from orders.parcels import Parcel, ParcelStatus
from orders.placing import KeyReusedError, RequestKey
from orders.ports import (
    IllegalStatusError,
    NoSuchOrderError,
    OrderExistsError,
    RefusedError,
)
from orders.views import OrderView
from store.database import Database
from store.history import history_line
from store.pages import read_page
from store.rows import new_lines, new_order, read_order, read_view
from store.tables import order_history, orders, parcels, placing_keys, products


class PostgresOrderBook:
    """``orders.ports.OrderBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, basket: Basket, now: datetime, *, key: RequestKey | None = None) -> Order:
        """Price the basket from the catalogue and keep it as a new order.

        The same basket again returns the order that exists, at the prices it was placed at. Raises
        ``InvalidOrderError`` or ``OrderExistsError``; and ``KeyReusedError`` when another basket
        was placed with this key.
        """
        async with self._database.transaction() as connection:
            if key is None:
                return await _placed(connection, basket, now)
            await _check_free(connection, key, basket)
            order = await _placed(connection, basket, now)
            await _use(connection, key, basket, now)
            return order

    async def get(self, order_id: str) -> Order:
        """The order. Raises ``NoSuchOrderError``."""
        async with self._database.statement() as connection:
            order = await read_order(connection, order_id)
        if order is None:
            raise NoSuchOrderError(order_id)
        return order

    async def summary(self, order_id: str) -> OrderSummary:
        """The order without personal data. Raises ``NoSuchOrderError``."""
        columns = ("customer_id", "total", "currency", "status", "flagged")
        wanted = select(*(orders.c[name] for name in columns)).where(orders.c.id == order_id)
        async with self._database.statement() as connection:
            found = await connection.execute(wanted)
        row = found.one_or_none()
        if row is None:
            raise NoSuchOrderError(order_id)
        return OrderSummary(
            order_id=order_id,
            customer_id=row.customer_id,
            total=Money(row.total, row.currency),
            status=Status(row.status),
            flagged=row.flagged,
        )

    async def page(self, wanted: Wanted, limit: int, after: Bookmark | None = None) -> OrderPage:
        """At most ``limit`` orders, newest first, from those placed before ``after``."""
        async with self._database.statement() as connection:
            return await read_page(connection, wanted, limit, after)

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        """Give the order this status and write it into its history.

        Again is a no-op, also when the order has moved on since.

        Raises ``NoSuchOrderError`` or ``IllegalStatusError``.
        """
        async with self._database.transaction() as connection:
            known = await _lock(connection, order_id)
            if known == status:
                return
            if status not in FOLLOWS[known]:
                # A workflow task that lost its worker runs its local activities again, all of them.
                if await _has_been(connection, order_id, status):
                    return
                raise IllegalStatusError(f"order {order_id} is {known}: it cannot become {status}")
            detail = {"reason": str(stop.reason), "message": stop.message} if stop else {}
            changes: dict[str, Any] = {"status": status, "updated_at": now}
            if stop:
                changes |= {"reason": stop.reason, "reason_message": stop.message}
            line = history_line(order_id, f"order_{status}", detail, now).cte("line")
            await connection.execute(
                update(orders).where(orders.c.id == order_id).values(changes).add_cte(line)
            )

    async def record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        """Note the parcels the warehouse named, each once.

        Raises ``NoSuchOrderError``, and ``RefusedError`` for a second fulfilment of the order or a
        parcel of another one.
        """
        async with self._database.transaction() as connection:
            known = await connection.scalar(
                update(orders)
                .where(orders.c.id == order_id)
                .values(fulfillment_id=func.coalesce(orders.c.fulfillment_id, fulfillment_id))
                .returning(orders.c.fulfillment_id)
            )
            if known is None:
                raise NoSuchOrderError(order_id)
            if known != fulfillment_id:
                raise RefusedError(f"order {order_id} is fulfilled as {known}")
            for parcel_id in parcel_ids:
                detail = {"fulfillment_id": fulfillment_id, "parcel_id": parcel_id}
                line = history_line(order_id, "parcel_named", detail).cte("line")
                await connection.execute(
                    postgresql.insert(parcels)
                    .values(order_id=order_id, parcel_id=parcel_id)
                    .on_conflict_do_nothing(index_elements=["order_id", "parcel_id"])
                    .add_cte(line)
                )

    async def move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        """Note where a parcel is, forwards only, and write it into the history, once.

        Raises ``RefusedError`` for a parcel that the order does not have.
        """
        async with self._database.transaction() as connection:
            this = (parcels.c.order_id == order_id) & (parcels.c.parcel_id == parcel.parcel_id)
            found = await connection.execute(
                select(parcels.c.status, parcels.c.tracking).where(this).with_for_update()
            )
            row = found.one_or_none()
            if row is None:
                raise RefusedError(f"order {order_id} has no parcel {parcel.parcel_id}")
            known = Parcel(parcel.parcel_id, ParcelStatus(row.status), row.tracking)
            told = known.told(parcel)
            if told == known:
                return
            changes = update(parcels).where(this).values(status=told.status, tracking=told.tracking)
            if told.status is not known.status:
                detail = {"parcel_id": parcel.parcel_id, "tracking": told.tracking}
                line = history_line(order_id, f"parcel_{told.status}", detail, now)
                changes = changes.add_cte(line.cte("line"))
            await connection.execute(changes)

    async def note(self, order_id: str, event: str, now: datetime, **detail: str) -> None:
        """Add a line to the order's history, once per event and detail.

        Raises ``NoSuchOrderError``.
        """
        async with self._database.transaction() as connection:
            found = await connection.scalar(select(orders.c.id).where(orders.c.id == order_id))
            if found is None:
                raise NoSuchOrderError(order_id)
            await connection.execute(history_line(order_id, event, detail, now))

    async def view(self, order_id: str) -> OrderView:
        """Everything a person may want to see of an order. Raises ``NoSuchOrderError``."""
        async with self._database.snapshot() as connection:
            view = await read_view(connection, order_id)
        if view is None:
            raise NoSuchOrderError(order_id)
        return view


async def _placed(connection: AsyncConnection, basket: Basket, now: datetime) -> Order:
    if known := await read_order(connection, basket.order_id):
        return _same(known, basket)
    order = priced(basket, await _catalogue(connection, basket))
    is_new = await connection.scalar(new_order(order, now))
    if is_new is None:
        # Somebody placed it since we looked; the insert has waited for their commit.
        placed = await read_order(connection, basket.order_id)
        if placed is None:
            raise NoSuchOrderError(basket.order_id)
        return _same(placed, basket)
    await connection.execute(new_lines(order))
    await connection.execute(
        history_line(order.id, "order_placed", {"total": str(order.total)}, now)
    )
    return order


async def _check_free(connection: AsyncConnection, key: RequestKey, basket: Basket) -> None:
    """Raises ``KeyReusedError`` when the key was used for another basket."""
    used_for = await connection.scalar(
        select(placing_keys.c.order_id).where(placing_keys.c.key == key.text)
    )
    if used_for is None:
        return
    known = await read_order(connection, used_for)
    if known is None or not placed_from(known, basket):
        raise KeyReusedError(key)


async def _use(connection: AsyncConnection, key: RequestKey, basket: Basket, now: datetime) -> None:
    """Note what the key was used for; waits for whoever is using it now."""
    values = {"key": key.text, "order_id": basket.order_id, "placed_at": now}
    used = postgresql.insert(placing_keys).values(values)
    await connection.execute(used.on_conflict_do_nothing(index_elements=["key"]))
    await _check_free(connection, key, basket)


async def _lock(connection: AsyncConnection, order_id: str) -> Status:
    """Lock the order; its status."""
    status = await connection.scalar(
        select(orders.c.status).where(orders.c.id == order_id).with_for_update(key_share=True)
    )
    if status is None:
        raise NoSuchOrderError(order_id)
    return Status(status)


async def _has_been(connection: AsyncConnection, order_id: str, status: Status) -> bool:
    line = select(order_history.c.id).where(
        order_history.c.order_id == order_id, order_history.c.event == f"order_{status}"
    )
    return await connection.scalar(line.limit(1)) is not None


async def _catalogue(connection: AsyncConnection, basket: Basket) -> dict[str, tuple[str, Money]]:
    rows = await connection.execute(
        select(products.c.sku, products.c.name, products.c.price, products.c.currency).where(
            products.c.sku.in_([sku for sku, _ in basket.quantities])
        )
    )
    return {row.sku: (row.name, Money(row.price, row.currency)) for row in rows}


def _same(known: Order, basket: Basket) -> Order:
    if not placed_from(known, basket):
        raise OrderExistsError(basket.order_id)
    return known
