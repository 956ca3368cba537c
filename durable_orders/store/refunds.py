"""Refund requests, with the charges they refund. The order's row is locked first, as everywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardRefund, NoSuchOrderError, RefusedError
from durable_orders.domain.refunds.calculation import plan_refund, plan_undo
from durable_orders.domain.refunds.ports import NoSuchRefundError
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
    UnfinishedRefund,
)
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.refund_rows import (
    insert_refund,
    lock_paid_charge,
    read_refunds,
    read_unfinished,
    read_waiting,
    update_refund,
)
from durable_orders.store.rows import read_order
from durable_orders.store.tables import orders, payments, products, refunds

_LOCK_ORDER: Final = (
    select(orders.c.id).where(orders.c.id == bindparam("order_id")).with_for_update(key_share=True)
)
_LOCK_PRODUCTS: Final = (
    select(products.c.sku)
    .where(products.c.sku.in_(bindparam("skus", expanding=True)))
    .order_by(products.c.sku)
    .with_for_update(key_share=True)
)
_PUT_BACK: Final = (
    update(products)
    .where(products.c.sku == bindparam("this"))
    .values(on_hand=products.c.on_hand + bindparam("quantity"))
)
# Parameters of an UPDATE may not have the names of its columns.
_OF_CHARGE: Final = (
    payments.c.order_id == bindparam("of_order"),
    payments.c.attempt == bindparam("of_attempt"),
)
_LOCK_CHARGE: Final = select(payments.c.attempt).where(*_OF_CHARGE).with_for_update()
_NOTE: Final = postgresql.insert(refunds).on_conflict_do_nothing(index_elements=["refund_id"])
_FORGET: Final = delete(refunds).where(refunds.c.refund_id == bindparam("refund_id"))
_KNOWN: Final = (
    select(func.coalesce(func.sum(refunds.c.amount), 0))
    .where(
        refunds.c.order_id == bindparam("of_order"), refunds.c.attempt == bindparam("of_attempt")
    )
    .scalar_subquery()
)
_RAISE_REFUNDED: Final = (
    update(payments)
    .where(*_OF_CHARGE)
    .values(refunded=func.greatest(payments.c.refunded, _KNOWN), updated_at=func.now())
)
_LOWER_REFUNDED: Final = (
    update(payments)
    .where(*_OF_CHARGE)
    .values(refunded=payments.c.refunded - bindparam("by"), updated_at=func.now())
)


class PostgresRefundBook:
    """``RefundBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, request: RefundRequest, now: datetime) -> RefundEntry | RefundRefused:
        async with self._database.transaction() as connection:
            await _lock_order(connection, request.order_id)
            # Separate statements, begun once the lock is held: they see what the transactions that
            # held it before have reserved.
            earlier = await read_refunds(connection, request.order_id)
            for known in earlier:
                if known.request.refund_id == request.refund_id:
                    return known if known.request.same_as(request) else _refusal(known)
            order = await read_order(connection, request.order_id)
            if order is None:
                raise NoSuchOrderError(request.order_id)
            charge = await lock_paid_charge(connection, request.order_id)
            entry = plan_refund(request, order, charge, earlier)
            if isinstance(entry, RefundEntry):
                await insert_refund(connection, entry, now)
            return entry

    async def reserve_undo(
        self, order_id: str, payment_id: str, left: Money, now: datetime
    ) -> RefundEntry | None:
        async with self._database.transaction() as connection:
            await _lock_order(connection, order_id)
            entries = await read_refunds(connection, order_id)
            known = next((one for one in entries if one.request.refund_id == UNDO_REFUND_ID), None)
            charge = await lock_paid_charge(connection, order_id)
            if charge is None or charge.payment_id != payment_id:
                raise RefusedError(f"order {order_id} has no money by {payment_id} to give back")
            entry = plan_undo(order_id, charge, left, known)
            if entry is not None and known is None:
                await insert_refund(connection, entry, now)
            elif entry is not None and entry != known:
                await update_refund(connection, entry, now)
                changed = line(order_id, entry.event, entry.history_detail(), now)
                await connection.execute(ADD_LINE, changed)
            return entry

    async def find(self, order_id: str, refund_id: str) -> RefundEntry | None:
        found = await self.refunds_of(order_id)
        return next((each for each in found if each.request.refund_id == refund_id), None)

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        async with self._database.snapshot() as connection:
            return await read_refunds(connection, order_id)

    async def waiting(self, limit: int) -> tuple[RefundEntry, ...]:
        async with self._database.snapshot() as connection:
            return await read_waiting(connection, limit)

    async def unfinished(
        self,
        quiet_since: datetime,
        limit: int,
        *,
        after: tuple[str, str] = ("", ""),
        order_id: str | None = None,
    ) -> tuple[UnfinishedRefund, ...]:
        async with self._database.snapshot() as connection:
            return await read_unfinished(
                connection, quiet_since, limit, after=after, order_id=order_id
            )

    async def begin(
        self, order_id: str, refund_id: str, attempt: int, now: datetime
    ) -> RefundEntry:
        return await self._change(order_id, refund_id, lambda entry: entry.begun(attempt), now)

    async def tell(
        self, order_id: str, refund_id: str, attempt: int, refund: CardRefund, now: datetime
    ) -> RefundEntry:
        return await self._change(
            order_id, refund_id, lambda entry: entry.merge(attempt, refund), now
        )

    async def move(
        self, order_id: str, refund_id: str, state: RefundState, now: datetime, why: str = ""
    ) -> RefundEntry:
        return await self._change(order_id, refund_id, lambda entry: entry.moved(state, why), now)

    async def restock(self, order_id: str, refund_id: str, now: datetime) -> RefundEntry:
        async with self._database.transaction() as connection:
            known = await _lock_refund(connection, order_id, refund_id)
            after = known.with_restock()
            if after == known:
                return known
            # In the order of sku, as every change of stock: no deadlock.
            await connection.execute(_LOCK_PRODUCTS, {"skus": [sku for sku, _ in known.lines]})
            for sku, quantity in known.lines:
                await connection.execute(_PUT_BACK, {"this": sku, "quantity": quantity})
            await update_refund(connection, after, now)
            detail = {"refund_id": refund_id} | {sku: str(n) for sku, n in known.lines}
            await connection.execute(ADD_LINE, line(order_id, "refund_restocked", detail, now))
            return after

    async def _change(
        self,
        order_id: str,
        refund_id: str,
        change: Callable[[RefundEntry], RefundEntry],
        now: datetime,
    ) -> RefundEntry:
        async with self._database.transaction() as connection:
            before = await _lock_refund(connection, order_id, refund_id)
            after = change(before)
            if after != before:
                await update_refund(connection, after, now)
                await _update_ledger(connection, before, after)
                changed = line(order_id, after.event, after.history_detail(), now)
                await connection.execute(ADD_LINE, changed)
            return after


def _refusal(known: RefundEntry) -> RefundRefused:
    request = known.request
    return RefundRefused(
        f"order {request.order_id} has a refund {request.refund_id} already, of other contents"
    )


async def _lock_order(connection: AsyncConnection, order_id: str) -> None:
    if await connection.scalar(_LOCK_ORDER, {"order_id": order_id}) is None:
        raise NoSuchOrderError(order_id)


async def _lock_refund(connection: AsyncConnection, order_id: str, refund_id: str) -> RefundEntry:
    """Lock the order and return its refund. Raises ``NoSuchRefundError``."""
    await _lock_order(connection, order_id)
    for entry in await read_refunds(connection, order_id):
        if entry.request.refund_id == refund_id:
            return entry
    raise NoSuchRefundError(order_id, refund_id)


async def _update_ledger(
    connection: AsyncConnection, before: RefundEntry, after: RefundEntry
) -> None:
    """Count the refund in the charge's refunded amount, or no longer, by its new state."""
    was, is_ = before.state in ACCEPTED_BY_PROVIDER, after.state in ACCEPTED_BY_PROVIDER
    order_id, attempt = after.request.order_id, after.charge_attempt
    of_charge = {"of_order": order_id, "of_attempt": attempt}
    if is_ and not was:
        # The provider's total (``PostgresPaymentLedger.record``) may include it already: so the
        # amount is not added, but the total raised to the sum of the refunds recorded one by one.
        await connection.execute(_LOCK_CHARGE, of_charge)
        noted = {
            "refund_id": after.card_refund_id,
            "order_id": order_id,
            "attempt": attempt,
            "amount": after.amount.amount,
        }
        await connection.execute(_NOTE, noted)
        await connection.execute(_RAISE_REFUNDED, of_charge)
    elif was and not is_:
        await connection.execute(_FORGET, {"refund_id": before.card_refund_id})
        await connection.execute(_LOWER_REFUNDED, of_charge | {"by": after.amount.amount})
