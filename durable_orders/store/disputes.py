"""Disputes, early fraud warnings and reviews. The order's row is locked first, as everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Select,
    Table,
    bindparam,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.disputes.dispute import (
    Dispute,
    PaymentConcern,
    PaymentRisks,
)
from durable_orders.domain.disputes.merging import acknowledge, merge_risks
from durable_orders.domain.disputes.ports import RecordedConcern
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import NoSuchOrderError, RefusedError
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.installation import IS_OURS
from durable_orders.store.risk_rows import (
    dispute,
    dispute_values,
    fraud_warning,
    read_risks,
    review,
    review_values,
    warning_values,
)
from durable_orders.store.tables import disputes, fraud_warnings, orders, payments, reviews

_ORDER: Final = select(orders.c.id).where(orders.c.id == bindparam("order_id"))
_LOCK_ORDER: Final = _ORDER.with_for_update(key_share=True)
_ORDER_OF: Final = (
    select(payments.c.order_id)
    .join_from(payments, orders)
    .where(payments.c.payment_id == bindparam("payment_id"), IS_OURS)
)
_ORDERS_OF: Final = (
    select(payments.c.payment_id, payments.c.order_id)
    .join_from(payments, orders)
    .where(payments.c.payment_id.in_(bindparam("payment_ids", expanding=True)), IS_OURS)
)
_IS_CHARGED_AS: Final = select(payments.c.payment_id).where(
    payments.c.order_id == bindparam("order_id"), payments.c.payment_id == bindparam("payment_id")
)
_DISPUTE: Final = (
    select(disputes)
    .join_from(disputes, orders)
    .where(disputes.c.dispute_id == bindparam("dispute_id"), IS_OURS)
)


# A literal, so that PostgreSQL can use the partial indexes.
_NOBODY: Final = literal("", literal_execute=True)
_NO_DEADLINE: Final = null().cast(DateTime(timezone=True))


def _open(table: Table, id_column: Column[Any], due_by: ColumnElement[Any]) -> Select[Any]:
    return select(
        literal(table.name).label("kind"),
        id_column.label("id"),
        table.c.order_id,
        due_by.label("due_by"),
        table.c.opened_at,
    )


#: What is open on all orders; each part uses a partial index of its own.
_OPEN: Final = union_all(
    _open(disputes, disputes.c.dispute_id, disputes.c.due_by).where(disputes.c.closed_at.is_(None)),
    _open(fraud_warnings, fraud_warnings.c.warning_id, _NO_DEADLINE).where(
        fraud_warnings.c.is_actionable, fraud_warnings.c.acknowledged_by == _NOBODY
    ),
    _open(reviews, reviews.c.review_id, _NO_DEADLINE).where(
        reviews.c.is_open, reviews.c.acknowledged_by == _NOBODY
    ),
).cte("open_risks")
_NEXT: Final = (
    select(_OPEN.c.kind, _OPEN.c.id, _OPEN.c.order_id, orders.c.status)
    .join_from(_OPEN, orders, orders.c.id == _OPEN.c.order_id)
    .where(IS_OURS)
    .order_by(_OPEN.c.due_by.asc().nulls_last(), _OPEN.c.opened_at, _OPEN.c.id)
    .limit(bindparam("most"))
)
_OPEN_ORDERS: Final = (
    select(_OPEN.c.order_id)
    .distinct()
    .join_from(_OPEN, orders, orders.c.id == _OPEN.c.order_id)
    .where(IS_OURS, _OPEN.c.order_id > bindparam("after"))
    .order_by(_OPEN.c.order_id)
    .limit(bindparam("most"))
)
_AMOUNTS: Final = (payments.c.amount.label("paid"), payments.c.currency.label("paid_currency"))


def _rows(table: Table, id_column: Column[Any]) -> Select[Any]:
    return (
        select(table, *_AMOUNTS)
        .join_from(table, payments, table.c.payment_id == payments.c.payment_id)
        .where(id_column.in_(bindparam("ids", expanding=True)))
    )


class PostgresDisputeRepository:
    """``DisputeRepository`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_order(self, payment_id: str) -> str | None:
        async with self._database.statement() as connection:
            found = await connection.scalar(_ORDER_OF, {"payment_id": payment_id})
        return None if found is None else str(found)

    async def find_orders(self, payment_ids: Iterable[str]) -> Mapping[str, str]:
        async with self._database.statement() as connection:
            found = await connection.execute(_ORDERS_OF, {"payment_ids": list(payment_ids)})
        return {row.payment_id: row.order_id for row in found}

    async def open_orders(self, after: str, limit: int) -> tuple[str, ...]:
        async with self._database.statement() as connection:
            found = await connection.scalars(_OPEN_ORDERS, {"after": after, "most": limit})
            return tuple(found)

    async def record(self, order_id: str, risks: PaymentRisks, now: datetime) -> PaymentRisks:
        async with self._database.transaction() as connection:
            known = await _lock(connection, order_id)
            this = {"order_id": order_id, "payment_id": risks.payment_id}
            if known is None or await connection.scalar(_IS_CHARGED_AS, this) is None:
                raise RefusedError(f"order {order_id} is not charged as {risks.payment_id}")
            changes = merge_risks(known, risks)
            written = [
                (disputes.c.dispute_id, one.dispute_id, dispute_values(one, now))
                for one in changes.disputes
            ]
            written += [
                (fraud_warnings.c.warning_id, warning.warning_id, warning_values(warning, now))
                for warning in changes.warnings
            ]
            written += [
                (reviews.c.review_id, about.review_id, review_values(about, now))
                for about in changes.reviews
            ]
            ids = known.ids
            for column, id_, values in written:
                if id_ in ids:
                    await _update(connection, column, id_, values)
                else:
                    # One that is recorded for another order breaks the primary key: refused.
                    row = {column.name: id_, **this, **values}
                    await connection.execute(insert(column.table).values(row))
            for each in changes.lines:
                await connection.execute(ADD_LINE, line(order_id, each.event, each.detail, now))
            recorded = await read_risks(connection, order_id)
        if recorded is None:
            raise RefusedError(f"order {order_id} is not charged as {risks.payment_id}")
        return recorded

    async def acknowledge(
        self, order_id: str, concern_id: str, by: str, note: str, now: datetime
    ) -> PaymentRisks:
        async with self._database.transaction() as connection:
            known = await _lock(connection, order_id)
            after = None if known is None else acknowledge(known, concern_id, by)
            if known is None or after is None:
                raise RefusedError(f"order {order_id} has no dispute or warning {concern_id}")
            if after == known:
                return known
            for column in (disputes.c.dispute_id, fraud_warnings.c.warning_id, reviews.c.review_id):
                await _update(connection, column, concern_id, {"acknowledged_by": by})
            detail = {"id": concern_id, "by": by, "note": note}
            acknowledged = line(order_id, "payment_risk_acknowledged", detail, now)
            await connection.execute(ADD_LINE, acknowledged)
            return await read_risks(connection, order_id) or after

    async def risks_of(self, order_id: str) -> PaymentRisks | None:
        async with self._database.snapshot() as connection:
            if await connection.scalar(_ORDER, {"order_id": order_id}) is None:
                raise NoSuchOrderError(order_id)
            return await read_risks(connection, order_id)

    async def find(self, dispute_id: str) -> tuple[str, Dispute] | None:
        async with self._database.statement() as connection:
            rows = await connection.execute(_DISPUTE, {"dispute_id": dispute_id})
        row = rows.one_or_none()
        return None if row is None else (row.order_id, dispute(row))

    async def open_concerns(self, limit: int) -> tuple[RecordedConcern, ...]:
        async with self._database.snapshot() as connection:
            found = (await connection.execute(_NEXT, {"most": limit})).all()
            concerns: dict[str, tuple[PaymentConcern | None, str, Money]] = {}
            ids = {"ids": [row.id for row in found]}
            for row in await connection.execute(_rows(disputes, disputes.c.dispute_id), ids):
                one = dispute(row)
                concerns[one.dispute_id] = one.concern, row.payment_id, one.amount
            of_warnings = _rows(fraud_warnings, fraud_warnings.c.warning_id)
            for row in await connection.execute(of_warnings, ids):
                paid = Money(row.paid, row.paid_currency)
                concerns[row.warning_id] = fraud_warning(row).concern, row.payment_id, paid
            for row in await connection.execute(_rows(reviews, reviews.c.review_id), ids):
                paid = Money(row.paid, row.paid_currency)
                concerns[row.review_id] = review(row).concern, row.payment_id, paid
        return tuple(
            RecordedConcern(row.order_id, Status(row.status), payment_id, amount, concern)
            for row in found
            for concern, payment_id, amount in [concerns[row.id]]
            if concern is not None
        )


async def _lock(connection: AsyncConnection, order_id: str) -> PaymentRisks | None:
    """Lock the order and return what is recorded of it. Raises ``NoSuchOrderError``."""
    if await connection.scalar(_LOCK_ORDER, {"order_id": order_id}) is None:
        raise NoSuchOrderError(order_id)
    # Statements of their own, begun once the lock is held: they see what the transactions that held
    # it before have recorded.
    return await read_risks(connection, order_id)


async def _update(
    connection: AsyncConnection, column: Column[Any], id_: str, values: dict[str, Any]
) -> None:
    table = column.table
    changed = values | {"revision": table.c.revision + 1}
    if changed.get("closed_at") is not None:
        changed["closed_at"] = func.coalesce(table.c.closed_at, changed["closed_at"])
    await connection.execute(update(table).where(column == id_).values(changed))
