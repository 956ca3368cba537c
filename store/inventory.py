"""Stock: set aside, given back, taken for good.

The row of the order is locked first, then its products in the order of their sku: two orders over
the same products wait for each other and never deadlock. A key-share lock is left to others, so
placing an order for the same product (its foreign key needs one) does not wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Update, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.lifecycle import Status
from orders.messages import ReservationClosed, ReserveAnswer, Reserved
from orders.ports import IllegalStatusError, NoSuchOrderError
from orders.stock import StockState, shortage
from store import statuses
from store.database import Database
from store.history import history_line
from store.tables import order_lines, orders, products


@dataclass(frozen=True)
class _LockedOrder:
    status: Status
    stock: StockState
    is_undone: bool
    quantities: tuple[tuple[str, int], ...]


class PostgresInventory:
    """``orders.ports.Inventory`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, order_id: str) -> ReserveAnswer:
        """Set all lines aside, or none. Raises ``NoSuchOrderError``."""
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            match order.stock:
                case "reserved":
                    return Reserved()
                case "committed" | "released":
                    return ReservationClosed(order.stock)
                case "none":
                    pass
            available = await _lock_products(connection, order)
            if short := shortage(order.quantities, available):
                return short
            await connection.execute(
                _products_of(order_id).values(reserved=products.c.reserved + order_lines.c.quantity)
            )
            await _set_stock(connection, order_id, "reserved")
            return Reserved()

    async def release(self, order_id: str) -> None:
        """Give back what is set aside. A committed order keeps its stock committed.

        An order that never reserved is released too: a late reservation finds it closed. Raises
        ``NoSuchOrderError``.
        """
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            if order.stock in {"committed", "released"}:
                return
            if order.stock == "reserved":
                await _lock_products(connection, order)
                await connection.execute(
                    _products_of(order_id).values(
                        reserved=products.c.reserved - order_lines.c.quantity
                    )
                )
            await _set_stock(connection, order_id, "released")

    async def commit(self, order_id: str) -> None:
        """Take what is set aside off the shelves for good; with that the order is FULFILLED.

        Raises ``NoSuchOrderError``, or ``IllegalStatusError`` when nothing is set aside, or the
        order is not paid for or being undone.
        """
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            if order.stock == "committed":
                return
            if order.stock != "reserved":
                raise IllegalStatusError(
                    f"the stock of order {order_id} is {order.stock}: there is nothing to commit"
                )
            if order.is_undone:
                raise IllegalStatusError(f"order {order_id} is being undone: it is not kept")
            await statuses.move(connection, order_id, order.status, Status.FULFILLED)
            await _lock_products(connection, order)
            await connection.execute(
                _products_of(order_id).values(
                    on_hand=products.c.on_hand - order_lines.c.quantity,
                    reserved=products.c.reserved - order_lines.c.quantity,
                )
            )
            await _set_stock(connection, order_id, "committed")


async def _lock(connection: AsyncConnection, order_id: str) -> _LockedOrder:
    # After waiting for the lock PostgreSQL reads the order again, but not the lines: they may be
    # joined here only because they never change.
    rows = (
        await connection.execute(
            select(
                *(orders.c.status, orders.c.stock, orders.c.charging_closed_at),
                *(order_lines.c.sku, order_lines.c.quantity),
            )
            .join_from(orders, order_lines)
            .where(orders.c.id == order_id)
            .order_by(order_lines.c.position)
            .with_for_update(of=orders, key_share=True)
        )
    ).all()
    if not rows:
        raise NoSuchOrderError(order_id)
    first = rows[0]
    return _LockedOrder(
        status=Status(first.status),
        stock=first.stock,
        # Undoing closes the charging first, and nothing else does.
        is_undone=first.charging_closed_at is not None,
        quantities=tuple((row.sku, row.quantity) for row in rows),
    )


async def _lock_products(connection: AsyncConnection, order: _LockedOrder) -> dict[str, int]:
    """Lock the order's products; what of each is not set aside."""
    rows = await connection.execute(
        select(products.c.sku, (products.c.on_hand - products.c.reserved).label("available"))
        .where(products.c.sku.in_([sku for sku, _ in order.quantities]))
        .order_by(products.c.sku)
        .with_for_update(key_share=True)
    )
    return {row.sku: row.available for row in rows}


def _products_of(order_id: str) -> Update:
    return update(products).where(
        order_lines.c.order_id == order_id, order_lines.c.sku == products.c.sku
    )


async def _set_stock(
    connection: AsyncConnection,
    order_id: str,
    state: Literal["reserved", "released", "committed"],
) -> None:
    line = history_line(order_id, f"stock_{state}").cte("line")
    await connection.execute(
        update(orders).where(orders.c.id == order_id).values(stock=state).add_cte(line)
    )
