"""Orders and their ledger entries, read for the audit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Row, and_, bindparam, func, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.audit.model import (
    BookedOrder,
    BookedRefund,
    LedgerEntry,
    RecordedManualRefund,
)
from durable_orders.domain.audit.ports import CursorPage
from durable_orders.domain.charges import MAY_TAKE_MONEY
from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    TAKEN_BY_DISPUTE,
    UNSETTLED,
    RefundState,
)
from durable_orders.store.charge_rows import CHARGES, booked_charge, charge_entry, with_tries
from durable_orders.store.database import Database
from durable_orders.store.decisions import CANCELLED_UNSTARTED
from durable_orders.store.installation import IS_OURS
from durable_orders.store.risk_rows import WITHDRAWN
from durable_orders.store.tables import (
    disputes,
    given_back_by_hand,
    orders,
    payments,
    refund_requests,
    refunds,
)

_COLUMNS: Final = ("id", "status", "total", "currency", "placed_at", "updated_at")
_ENDS: Final = sorted(status for status in Status if status.is_final)
# Literals, so that PostgreSQL can use the partial index of unsettled refunds.
_IS_UNSETTLED: Final[ColumnElement[bool]] = refund_requests.c.state.in_(
    bindparam("unsettled", sorted(UNSETTLED), expanding=True, literal_execute=True)
)
_MAY_TAKE_MONEY: Final[ColumnElement[bool]] = payments.c.state.in_(
    bindparam("may_take", sorted(MAY_TAKE_MONEY), expanding=True, literal_execute=True)
)
#: Orders with money that is moving, may move, or has moved lately.
_HAVE_MONEY_MOVING: Final = union(
    select(refund_requests.c.order_id).where(_IS_UNSETTLED),
    select(payments.c.order_id).where(_MAY_TAKE_MONEY),
    select(refund_requests.c.order_id).where(refund_requests.c.updated_at >= bindparam("since")),
    select(disputes.c.order_id).where(disputes.c.updated_at >= bindparam("since")),
)


class PostgresAuditRepository:
    """``AuditBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, changed_since: datetime, cursor: str | None, limit: int
    ) -> CursorPage[BookedOrder]:
        """Read a page of orders, sorted by id."""
        # Literals, so that PostgreSQL can use the partial index of orders in progress.
        ends: BindParameter[Any] = bindparam("ends", _ENDS, expanding=True, literal_execute=True)
        wanted: list[ColumnElement[bool]] = [
            or_(
                orders.c.status.not_in(ends),
                orders.c.updated_at >= changed_since,
                orders.c.id.in_(_HAVE_MONEY_MOVING.params(since=changed_since)),
            ),
            IS_OURS,
        ]
        if cursor is not None:
            wanted.append(orders.c.id > cursor)
        async with self._database.snapshot() as connection:
            found = await _read(connection, wanted, limit)
        return CursorPage(found, found[-1].order_id if len(found) == limit else None)

    async def standing(self, order_ids: Iterable[str]) -> Mapping[str, BookedOrder]:
        if not (wanted := list(order_ids)):
            return {}
        async with self._database.snapshot() as connection:
            found = await _read(connection, [orders.c.id.in_(wanted), IS_OURS])
        return {order.order_id: order for order in found}

    async def known_refunds(self, refund_ids: Iterable[str]) -> frozenset[str]:
        if not (wanted := list(refund_ids)):
            return frozenset()
        async with self._database.statement() as connection:
            known = await connection.scalars(
                select(refunds.c.refund_id).where(refunds.c.refund_id.in_(wanted))
            )
            return frozenset(known)


async def _read(
    connection: AsyncConnection, wanted: Iterable[ColumnElement[bool]], limit: int | None = None
) -> tuple[BookedOrder, ...]:
    rows = (
        await connection.execute(
            select(
                *(orders.c[name] for name in _COLUMNS),
                CANCELLED_UNSTARTED.label("cancelled_unstarted"),
            )
            .where(*wanted)
            .order_by(orders.c.id)
            .limit(limit)
        )
    ).all()
    ids = [row.id for row in rows]
    charges = await connection.execute(CHARGES.where(payments.c.order_id.in_(ids)))
    entries: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for charge, tries in with_tries(charges):
        entry = LedgerEntry(charge_entry(charge, tries), booked_charge(charge))
        entries[charge.order_id].append(entry)
    asked, by_hand = await _refunds(connection, ids), await _by_hand(connection, ids)
    told = await _unsettled_or_settled_undo(connection, ids)
    withdrawn = await _withdrawn(connection, ids)
    return tuple(
        replace(
            _standing(
                row, entries[row.id], asked.get(row.id, 0), by_hand.get(row.id), told[row.id]
            ),
            withdrawn=Money(withdrawn.get(row.id, 0), row.currency),
        )
        for row in rows
    )


async def _refunds(
    connection: AsyncConnection, order_ids: Sequence[str]
) -> Mapping[str, int | None]:
    """Sum of each order's accepted refunds; None while one of them is being issued."""
    state = refund_requests.c.state
    accepted = func.coalesce(
        func.sum(refund_requests.c.amount).filter(state.in_(ACCEPTED_BY_PROVIDER)), 0
    )
    rows = await connection.execute(
        select(
            refund_requests.c.order_id,
            accepted.label("accepted"),
            func.bool_or(state == RefundState.ISSUING).label("is_issuing"),
        )
        .where(refund_requests.c.order_id.in_(order_ids))
        .group_by(refund_requests.c.order_id)
    )
    return {row.order_id: None if row.is_issuing else int(row.accepted) for row in rows}


async def _unsettled_or_settled_undo(
    connection: AsyncConnection, order_ids: Sequence[str]
) -> Mapping[str, list[BookedRefund]]:
    """Each order's refunds that are on their way or owed, oldest first, and the one that undoes it
    when that was settled by hand.
    """
    found = refund_requests.c
    is_settled_undo = and_(
        found.refund_id == UNDO_REFUND_ID,
        found.state == RefundState.SETTLED.value,
        found.why != TAKEN_BY_DISPUTE,
    )
    rows = await connection.execute(
        select(refund_requests, payments.c.payment_id, payments.c.currency)
        .join_from(refund_requests, payments)
        .where(found.order_id.in_(order_ids), or_(_IS_UNSETTLED, is_settled_undo))
        .order_by(found.number)
    )
    refunds_of: defaultdict[str, list[BookedRefund]] = defaultdict(list)
    for row in rows:
        amount, state = Money(row.amount, row.currency), RefundState(row.state)
        refund = BookedRefund(row.refund_id, row.payment_id, amount, state, row.updated_at, row.why)
        refunds_of[row.order_id].append(refund)
    return refunds_of


async def _withdrawn(connection: AsyncConnection, order_ids: Sequence[str]) -> Mapping[str, int]:
    """What disputes have taken of each order's money and not put back."""
    rows = await connection.execute(
        select(disputes.c.order_id, WITHDRAWN.label("withdrawn"))
        .join_from(disputes, payments, disputes.c.payment_id == payments.c.payment_id)
        .where(disputes.c.order_id.in_(order_ids))
        .group_by(disputes.c.order_id)
    )
    return {row.order_id: int(row.withdrawn) for row in rows}


async def _by_hand(
    connection: AsyncConnection, order_ids: Sequence[str]
) -> Mapping[str, tuple[int, str]]:
    """Manual refunds by order id: the amount, and the operator who reported it."""
    rows = await connection.execute(
        select(given_back_by_hand).where(given_back_by_hand.c.order_id.in_(order_ids))
    )
    return {row.order_id: (row.amount, row.said_by) for row in rows}


def _standing(
    row: Row[*tuple[Any, ...]],
    entries: Sequence[LedgerEntry],
    refunds: int | None,
    hand: tuple[int, str] | None,
    told: Sequence[BookedRefund],
) -> BookedOrder:
    settled = [one.amount for one in told if one.state is RefundState.SETTLED]
    return BookedOrder(
        order_id=row.id,
        status=Status(row.status),
        total=Money(row.total, row.currency),
        placed_at=row.placed_at,
        changed_at=row.updated_at,
        entries=tuple(entries),
        refunds=None if refunds is None else Money(refunds, row.currency),
        by_hand=None
        if hand is None
        else RecordedManualRefund(Money(hand[0], row.currency), hand[1]),
        unsettled=tuple(one for one in told if one.state is not RefundState.SETTLED),
        settled_undo=settled[0] if settled else None,
        is_untold=row.cancelled_unstarted,
    )
