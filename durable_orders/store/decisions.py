"""What was decided of an order, in a transaction that has locked its row.

Whoever is about to do what cannot be taken back looks here first: an order is undone or kept, never
both. The lock decides which of the two came first.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    EndedBefore,
    UndoAnswer,
    UndoBegun,
    UndoRequest,
)
from durable_orders.domain.lifecycle import Decision, Status, Stop, StopReason, decided
from durable_orders.domain.money import Money
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.store import statuses
from durable_orders.store.history import WITH_LINE, line
from durable_orders.store.tables import given_back_by_hand, orders, parcels, payments

#: Columns of ``orders`` that ``decision_of`` and ``undone`` read.
DECISION_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    orders.c.status.label("order_status"),
    orders.c.decision,
    orders.c.reason,
    orders.c.reason_message,
)
#: Whether an order was cancelled before a run had begun it, and no run has told its customer.
CANCELLED_UNSTARTED: Final[ColumnElement[bool]] = and_(
    orders.c.status == Status.CANCELLED.value,
    orders.c.decision == Decision.UNDO.value,
    orders.c.run_id == "",
)
_OF_ORDER: Final = orders.c.id == bindparam("order_id")
_LOCK: Final = (
    select(
        *DECISION_COLUMNS,
        orders.c.currency,
        orders.c.stock,
        orders.c.run_id,
        CANCELLED_UNSTARTED.label("cancelled_unstarted"),
    )
    .where(_OF_ORDER)
    .with_for_update(key_share=True)
)
_DECIDE: Final = (
    update(orders)
    .where(_OF_ORDER)
    .values(
        decision=bindparam("as"),
        reason=bindparam("why"),
        reason_message=bindparam("message"),
        updated_at=bindparam("now"),
    )
    .add_cte(WITH_LINE)
)
_UNDO: Final = _DECIDE.values(
    run_id=func.coalesce(func.nullif(bindparam("run"), ""), orders.c.run_id)
)
_CARRY: Final = update(orders).where(_OF_ORDER).values(run_id=bindparam("run"))
_CLOSE_UNSTARTED: Final = (
    update(orders).where(_OF_ORDER).values(decision=Decision.UNDO.value, stock="released")
)
_CHARGED: Final = select(exists().where(payments.c.order_id == bindparam("order_id")))
_BY_HAND: Final = (
    select(given_back_by_hand.c.amount)
    .where(given_back_by_hand.c.order_id == bindparam("order_id"))
    .scalar_subquery()
)
_CAPTURED: Final = (
    select(func.sum(payments.c.captured))
    .where(payments.c.order_id == bindparam("order_id"))
    .scalar_subquery()
)
_TAKEN: Final = select(func.coalesce(_BY_HAND, _CAPTURED, 0))
_PARCEL_IDS: Final = (
    select(parcels.c.parcel_id)
    .where(parcels.c.order_id == bindparam("order_id"))
    .order_by(parcels.c.parcel_id)
)


def decision_of(row: Any) -> Decision | None:
    """What was decided of the order in a row with ``DECISION_COLUMNS``."""
    written = None if row.decision is None else Decision(row.decision)
    return decided(Status(row.order_status), written)


def undone(row: Any) -> Stop | None:
    """Why the order in a row with ``DECISION_COLUMNS`` is being undone, or has ended early; None
    when it is not.
    """
    if decision_of(row) is not Decision.UNDO:
        return None
    if row.reason is None:  # decided by an earlier version, which did not write down why
        return Stop(StopReason.CLOSED_BEFORE, "it was being undone before")
    return Stop(StopReason(row.reason), row.reason_message or "")


async def begin_undo(connection: AsyncConnection, undo: UndoRequest, now: datetime) -> UndoAnswer:
    """Decide that the order is undone. Raises ``NoSuchOrderError``."""
    this = {"order_id": undo.order_id}
    row = await _lock(connection, undo.order_id)
    if decision_of(row) is Decision.KEEP:
        named = await connection.scalars(_PARCEL_IDS, this)
        return AlreadyFulfilled(tuple(named))
    status, known = Status(row.order_status), undone(row)
    if status.is_final and known is not None:
        if row.cancelled_unstarted:
            await connection.execute(_CARRY, this | {"run": undo.run_id})
        # All that was taken was given back, else it would not have ended. What was said to be given
        # back by hand stands in for what the provider says.
        taken = 0
        if status is Status.REFUNDED:
            taken = int(await connection.scalar(_TAKEN, this) or 0)
        money = Money(taken, row.currency)
        return EndedBefore(status, known, money, money)
    if known is None:
        known = undo.stop
        detail = {"reason": str(known.reason), "message": known.message}
        to = {"as": Decision.UNDO, "why": known.reason, "message": known.message, "now": now}
        begun = line(undo.order_id, "undo_begun", detail, now)
        await connection.execute(_UNDO, this | to | {"run": undo.run_id} | begun)
    charged = await connection.scalar(_CHARGED, this)
    handed_over = status in {Status.HELD, Status.PAID}
    return UndoBegun(known, charged=bool(charged), handed_over=handed_over)


async def cancel_unstarted(
    connection: AsyncConnection, order_id: str, stop: Stop, now: datetime
) -> bool:
    """Cancel an order that no run has begun. Raises ``NoSuchOrderError``."""
    row = await _lock(connection, order_id)
    if row.cancelled_unstarted:
        return True
    status = Status(row.order_status)
    is_begun = row.run_id or row.decision is not None or row.stock != "none"
    if is_begun or status is not Status.PLACED:
        return False
    await statuses.move(connection, order_id, status, Status.CANCELLED, stop=stop, now=now)
    await connection.execute(_CLOSE_UNSTARTED, {"order_id": order_id})
    return True


async def keep(connection: AsyncConnection, order_id: str, now: datetime) -> None:
    """Decide that the order stands. Raises ``NoSuchOrderError``."""
    row = await _lock(connection, order_id)
    if Status(row.order_status).is_final or decision_of(row) is Decision.KEEP:
        return
    to = {"order_id": order_id, "as": Decision.KEEP, "why": None, "message": None, "now": now}
    await connection.execute(_DECIDE, to | line(order_id, "order_kept", at=now))


async def _lock(connection: AsyncConnection, order_id: str) -> Row[*tuple[Any, ...]]:
    row = (await connection.execute(_LOCK, {"order_id": order_id})).one_or_none()
    if row is None:
        raise NoSuchOrderError(order_id)
    return row
