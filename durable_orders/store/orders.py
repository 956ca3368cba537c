"""Orders, their status and history."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, select, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import OrderSummary, UndoAnswer, UndoRequest
from durable_orders.domain.ids import IdempotencyKey, IdempotencyKeyReusedError
from durable_orders.domain.lifecycle import Status, Stop
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, PlacedOrder
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order, placed_from, priced
from durable_orders.domain.parcels import Parcel, ParcelStatus
from durable_orders.domain.ports import (
    ChargeEntry,
    NoSuchOrderError,
    OrderExistsError,
    RefusedError,
)
from durable_orders.domain.views import WAREHOUSE_SAID, OrderView
from durable_orders.store import decisions, hot_path, statuses
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, ADD_WORDS, WITH_LINE, line
from durable_orders.store.rows import insert_order, read_order
from durable_orders.store.tables import orders, parcels, placing_keys, products
from durable_orders.store.views import read_view

_IS_THERE: Final = select(orders.c.id).where(orders.c.id == bindparam("order_id"))
# Parameters of an UPDATE may not have the names of its columns.
_OF_PARCEL: Final = (
    parcels.c.order_id == bindparam("of_order"),
    parcels.c.parcel_id == bindparam("parcel"),
)
_LOCK_PARCEL: Final = (
    select(parcels.c.status, parcels.c.tracking).where(*_OF_PARCEL).with_for_update()
)
_TRACK_PARCEL: Final = (
    update(parcels).where(*_OF_PARCEL).values(status=bindparam("to"), tracking=bindparam("as"))
)
_MOVE_PARCEL: Final = _TRACK_PARCEL.add_cte(WITH_LINE)
_CATALOGUE: Final = select(
    products.c.sku, products.c.name, products.c.price, products.c.currency
).where(products.c.sku.in_(bindparam("skus", expanding=True)))
_USE_KEY: Final = postgresql.insert(placing_keys).on_conflict_do_nothing(index_elements=["key"])
_USED_FOR: Final = select(placing_keys.c.order_id).where(placing_keys.c.key == bindparam("key"))


class PostgresOrderRepository:
    """``OrderBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(
        self,
        basket: Basket,
        now: datetime,
        *,
        key: IdempotencyKey | None = None,
        placed_by: str = "",
    ) -> Order:
        """Place the order, or return the existing one at the prices it was placed at."""
        async with self._database.transaction() as connection:
            if key is None:
                return await _place(connection, basket, now, placed_by)
            await _check_key(connection, key, basket)
            order = await _place(connection, basket, now, placed_by)
            await _store_key(connection, key, basket, now)
            return order

    async def get(self, order_id: str) -> Order:
        return await hot_path.find_order(self._database, order_id)

    async def get_for_mail(
        self, order_id: str, event: str, **detail: str
    ) -> tuple[Order, str | None]:
        return await hot_path.find_order_for_mail(self._database, order_id, event, detail)

    async def get_for_charge(self, order_id: str) -> tuple[Order, ChargeEntry | None]:
        return await hot_path.find_order_for_charge(self._database, order_id)

    async def summary(self, order_id: str) -> OrderSummary:
        return await hot_path.find_summary(self._database, order_id)

    async def page(self, wanted: OrderFilter, limit: int, after: Cursor | None = None) -> OrderPage:
        async with self._database.statement() as connection:
            return await read_page(connection, wanted, limit, after)

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        async with self._database.transaction() as connection:
            known = await statuses.lock(connection, order_id)
            await statuses.move(connection, order_id, known, status, stop=stop, now=now)

    async def begin_undo(self, undo: UndoRequest, now: datetime) -> UndoAnswer:
        async with self._database.transaction() as connection:
            return await decisions.begin_undo(connection, undo, now)

    async def cancel_unstarted(self, order_id: str, stop: Stop, now: datetime) -> bool:
        async with self._database.transaction() as connection:
            return await decisions.cancel_unstarted(connection, order_id, stop, now)

    async def keep(self, order_id: str, now: datetime) -> None:
        async with self._database.transaction() as connection:
            await decisions.keep(connection, order_id, now)

    async def record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        """Record the parcels of the fulfilment.

        Raises ``NoSuchOrderError``, and ``RefusedError`` for a second fulfilment of the order or a
        parcel of another order.
        """
        await hot_path.name_parcels(self._database, order_id, fulfillment_id, parcel_ids)

    async def move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        async with self._database.transaction() as connection:
            this = {"of_order": order_id, "parcel": parcel.parcel_id}
            row = (await connection.execute(_LOCK_PARCEL, this)).one_or_none()
            if row is None:
                raise RefusedError(f"order {order_id} has no parcel {parcel.parcel_id}")
            known = Parcel(parcel.parcel_id, ParcelStatus(row.status), row.tracking)
            merged = known.merge(parcel)
            if merged == known:
                return
            to: dict[str, Any] = {**this, "to": merged.status, "as": merged.tracking}
            if merged.status is known.status:
                await connection.execute(_TRACK_PARCEL, to)
                return
            detail = {"parcel_id": parcel.parcel_id, "tracking": merged.tracking}
            moved = line(order_id, f"parcel_{merged.status}", detail, now)
            await connection.execute(_MOVE_PARCEL, to | moved)

    async def note(self, order_id: str, event: str, now: datetime, **detail: str) -> None:
        """Add the history line. Raises ``NoSuchOrderError``."""
        await hot_path.note(self._database, order_id, event, detail, now)

    async def note_words(self, order_id: str, about: str, words: str, now: datetime) -> None:
        """Add the history line. Raises ``NoSuchOrderError``."""
        said = line(order_id, WAREHOUSE_SAID, {"about": about, "words": words}, now)
        async with self._database.transaction() as connection:
            if await connection.scalar(_IS_THERE, {"order_id": order_id}) is None:
                raise NoSuchOrderError(order_id)
            await connection.execute(ADD_WORDS, said | {"about": about})

    async def view(self, order_id: str) -> OrderView:
        async with self._database.statement() as connection:
            view = await read_view(connection, order_id)
        if view is None:
            raise NoSuchOrderError(order_id)
        return view


async def _place(
    connection: AsyncConnection, basket: Basket, now: datetime, placed_by: str
) -> Order:
    if known := await read_order(connection, basket.order_id):
        return _check_same_contents(known, basket)
    order = await insert_order(
        connection, priced(basket, await _catalogue(connection, basket)), now
    )
    if order is None:
        # Another transaction placed it meanwhile; the insert has waited for its commit.
        placed = await read_order(connection, basket.order_id)
        if placed is None:
            raise NoSuchOrderError(basket.order_id)
        return _check_same_contents(placed, basket)
    who = {"actor": placed_by} if placed_by else {}
    placed_line = line(order.id, "order_placed", {"total": str(order.total), **who}, now)
    await connection.execute(ADD_LINE, placed_line)
    return order


async def _check_key(connection: AsyncConnection, key: IdempotencyKey, basket: Basket) -> None:
    """Raise ``IdempotencyKeyReusedError`` when the key was used for another basket."""
    used_for = await connection.scalar(_USED_FOR, {"key": key.text})
    if used_for is None:
        return
    known = await read_order(connection, used_for)
    if known is None or not placed_from(known, basket):
        raise IdempotencyKeyReusedError(key)


async def _store_key(
    connection: AsyncConnection, key: IdempotencyKey, basket: Basket, now: datetime
) -> None:
    """Store the key with its order; waits for a transaction that is storing the same key."""
    values = {"key": key.text, "order_id": basket.order_id, "placed_at": now}
    await connection.execute(_USE_KEY, values)
    await _check_key(connection, key, basket)


async def _catalogue(connection: AsyncConnection, basket: Basket) -> dict[str, tuple[str, Money]]:
    skus = [sku for sku, _ in basket.quantities]
    rows = await connection.execute(_CATALOGUE, {"skus": skus})
    return {row.sku: (row.name, Money(row.price, row.currency)) for row in rows}


def _check_same_contents(known: Order, basket: Basket) -> Order:
    if not placed_from(known, basket):
        raise OrderExistsError(basket.order_id)
    return known


_COLUMNS = (
    orders.c.id,
    orders.c.customer_id,
    orders.c.status,
    orders.c.reason,
    orders.c.total,
    orders.c.currency,
    orders.c.placed_at,
)


@cache
def _page_of(*, with_status: bool, of_customer: bool, after: bool) -> Select[Any]:
    """The statement of a page: to put it together takes as long as to run it."""
    newest = select(*_COLUMNS).order_by(orders.c.placed_at.desc(), orders.c.id.desc())
    if with_status:
        newest = newest.where(orders.c.status == bindparam("of_status"))
    if of_customer:
        newest = newest.where(orders.c.customer_id == bindparam("customer"))
    if after:
        before = tuple_(bindparam("placed_at", type_=orders.c.placed_at.type), bindparam("last"))
        newest = newest.where(tuple_(orders.c.placed_at, orders.c.id) < before)
    return newest.limit(bindparam("most"))


async def read_page(
    connection: AsyncConnection, wanted: OrderFilter, limit: int, after: Cursor | None
) -> OrderPage:
    """At most ``limit`` orders, newest first, from those placed before ``after``."""
    statement = _page_of(
        with_status=wanted.status is not None,
        of_customer=wanted.customer_id is not None,
        after=after is not None,
    )
    values: dict[str, Any] = {
        "of_status": wanted.status,
        "customer": wanted.customer_id,
        "placed_at": after and after.placed_at,
        "last": after and after.order_id,
        "most": limit + 1,
    }
    rows = (await connection.execute(statement, values)).all()
    found = [
        PlacedOrder(
            order_id=order_id,
            customer_id=customer_id,
            status=Status(status),
            reason=reason,
            total=Money(total, currency),
            placed_at=placed_at,
        )
        for order_id, customer_id, status, reason, total, currency, placed_at in rows
    ]
    return OrderPage.of(found, limit)
