"""Stock: reserve, release, commit.

The order's row is locked first, then its products in the order of sku: two orders for the same
products wait for each other and never deadlock. The locks admit key-share locks, which a foreign
key takes: placing an order for the same product does not wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import (
    CommitAnswer,
    OrderSummary,
    OrderUndone,
    ReservationClosed,
    ReserveAnswer,
    Reserved,
    StockCommitted,
)
from durable_orders.domain.inventory import StockState, shortage
from durable_orders.domain.lifecycle import FOLLOWS, Status, Stop
from durable_orders.domain.parcels import Parcel, ParcelStatus
from durable_orders.domain.ports import IllegalStatusError, NoSuchOrderError
from durable_orders.store import decisions, hot_path, statuses
from durable_orders.store.database import Database
from durable_orders.store.history import WITH_LINE, line
from durable_orders.store.tables import order_lines, orders, parcels, products

# After a wait for the lock, PostgreSQL reads the order's row again, but not the joined lines. The
# join is safe only because lines never change.
_LOCK: Final = (
    select(
        *decisions.DECISION_COLUMNS,
        orders.c.stock,
        orders.c.run_id,
        order_lines.c.sku,
        order_lines.c.quantity,
    )
    .join_from(orders, order_lines)
    .where(orders.c.id == bindparam("order_id"))
    .order_by(order_lines.c.position)
    .with_for_update(of=orders, key_share=True)
)
_LOCK_PRODUCTS: Final = (
    select(products.c.sku, (products.c.on_hand - products.c.reserved).label("available"))
    .where(products.c.sku.in_(bindparam("skus", expanding=True)))
    .order_by(products.c.sku)
    .with_for_update(key_share=True)
)
_PRODUCTS: Final = update(products).where(
    order_lines.c.order_id == bindparam("order_id"), order_lines.c.sku == products.c.sku
)
_RESERVE: Final = _PRODUCTS.values(reserved=products.c.reserved + order_lines.c.quantity)
_RELEASE: Final = _PRODUCTS.values(reserved=products.c.reserved - order_lines.c.quantity)
_COMMIT: Final = _RELEASE.values(on_hand=products.c.on_hand - order_lines.c.quantity)
_SET_STOCK: Final = (
    update(orders)
    .where(orders.c.id == bindparam("order_id"))
    .values(stock=bindparam("to"))
    .add_cte(WITH_LINE)
)
_SET_STOCK_OF_RUN: Final = _SET_STOCK.values(run_id=bindparam("run"))
_CARRY: Final = (
    update(orders).where(orders.c.id == bindparam("order_id")).values(run_id=bindparam("run"))
)
_PARCELS: Final = (
    select(parcels).where(parcels.c.order_id == bindparam("order_id")).order_by(parcels.c.parcel_id)
)


@dataclass(frozen=True)
class _LockedOrder:
    status: Status
    stock: StockState
    run_id: str
    undone: Stop | None
    quantities: tuple[tuple[str, int], ...]


class PostgresInventory:
    """``Inventory`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, order_id: str, run_id: str = "") -> ReserveAnswer:
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            if order.undone is not None:
                return OrderUndone(order.undone)
            match order.stock:
                case "reserved":
                    if run_id not in {"", order.run_id}:
                        await connection.execute(_CARRY, {"order_id": order_id, "run": run_id})
                    return Reserved()
                case "committed" | "released":
                    return ReservationClosed(order.stock)
                case "none":
                    pass
            available = await _lock_products(connection, order)
            if short := shortage(order.quantities, available):
                return short
            await connection.execute(_RESERVE, {"order_id": order_id})
            await _set_stock(connection, order_id, "reserved", run_id)
            return Reserved()

    async def release(self, order_id: str) -> None:
        """Release the order's stock. Raises ``NoSuchOrderError``."""
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            if order.stock in {"committed", "released"}:
                return
            if order.stock == "reserved":
                await _lock_products(connection, order)
                await connection.execute(_RELEASE, {"order_id": order_id})
            await _set_stock(connection, order_id, "released")

    async def begin(
        self, order_id: str, run_id: str = ""
    ) -> tuple[OrderSummary, ReserveAnswer | None]:
        found, is_reserved = await hot_path.begin(self._database, order_id, run_id)
        if is_reserved:
            return found, Reserved()
        if found.is_carried_by_another(run_id):
            return found, None
        return found, await self.reserve(order_id, run_id)

    async def commit(self, order_id: str, *, ends_as: Status | None = None) -> CommitAnswer:
        """Commit the order's stock. Also raises ``NoSuchOrderError``."""
        if ends_as is not None and ends_as not in FOLLOWS[Status.FULFILLED]:
            raise IllegalStatusError(f"a fulfilled order does not become {ends_as}")
        if await hot_path.commit(self._database, order_id, ends_as):
            return StockCommitted(ends_as or Status.FULFILLED)
        async with self._database.transaction() as connection:
            order = await _lock(connection, order_id)
            if order.stock == "committed":
                status = order.status
                if ends_as is not None and status is Status.FULFILLED:
                    await statuses.move(connection, order_id, status, ends_as)
                    status = ends_as
                rows = await connection.execute(_PARCELS, {"order_id": order_id})
                known = (Parcel(r.parcel_id, ParcelStatus(r.status), r.tracking) for r in rows)
                return StockCommitted(status, tuple(known))
            if order.undone is not None:
                return OrderUndone(order.undone)
            if order.stock != "reserved":
                raise IllegalStatusError(
                    f"the stock of order {order_id} is {order.stock}: there is nothing to commit"
                )
            await statuses.move(connection, order_id, order.status, Status.FULFILLED)
            await _lock_products(connection, order)
            await connection.execute(_COMMIT, {"order_id": order_id})
            await _set_stock(connection, order_id, "committed")
            if ends_as is None:
                return StockCommitted()
            await statuses.move(connection, order_id, Status.FULFILLED, ends_as)
            return StockCommitted(ends_as)


async def _lock(connection: AsyncConnection, order_id: str) -> _LockedOrder:
    rows = (await connection.execute(_LOCK, {"order_id": order_id})).all()
    if not rows:
        raise NoSuchOrderError(order_id)
    first = rows[0]
    return _LockedOrder(
        status=Status(first.order_status),
        stock=first.stock,
        run_id=first.run_id,
        undone=decisions.undone(first),
        quantities=tuple((row.sku, row.quantity) for row in rows),
    )


async def _lock_products(connection: AsyncConnection, order: _LockedOrder) -> dict[str, int]:
    """Lock the order's products and return the available pieces by sku."""
    skus = [sku for sku, _ in order.quantities]
    rows = await connection.execute(_LOCK_PRODUCTS, {"skus": skus})
    return {row.sku: row.available for row in rows}


async def _set_stock(
    connection: AsyncConnection,
    order_id: str,
    state: Literal["reserved", "released", "committed"],
    run_id: str = "",
) -> None:
    to = {"order_id": order_id, "to": state}
    said = line(order_id, f"stock_{state}")
    if run_id:
        await connection.execute(_SET_STOCK_OF_RUN, to | {"run": run_id} | said)
    else:
        await connection.execute(_SET_STOCK, to | said)
