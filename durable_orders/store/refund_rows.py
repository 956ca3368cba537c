"""Mapping between refunds and their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Executable,
    Row,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import ChargeState
from durable_orders.domain.refunds.refund import (
    UNFINISHED,
    PaidCharge,
    RefundEntry,
    RefundReason,
    RefundRequest,
    RefundState,
    UnfinishedRefund,
)
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import (
    disputes,
    given_back_by_hand,
    orders,
    payments,
    refund_lines,
    refund_requests,
)

_REFUNDS: Final = select(refund_requests, payments.c.payment_id, payments.c.currency).join_from(
    refund_requests, payments
)
_OF_ORDER: Final = _REFUNDS.where(refund_requests.c.order_id == bindparam("order_id")).order_by(
    refund_requests.c.number
)
# The state is a literal, so that PostgreSQL can use the partial index of waiting refunds.
_WAITING: Final = (
    _REFUNDS.where(
        refund_requests.c.state
        == literal(RefundState.AWAITING_APPROVAL.value, literal_execute=True)
    )
    .order_by(refund_requests.c.requested_at)
    .limit(bindparam("most"))
)
_ENDS: Final = sorted(status for status in Status if status.is_final)
# The states are literals, so that PostgreSQL can use the partial index of unfinished refunds.
_UNFINISHED: Final = (
    select(
        refund_requests.c.order_id,
        refund_requests.c.refund_id,
        refund_requests.c.amount,
        refund_requests.c.state,
        refund_requests.c.updated_at,
        payments.c.currency,
    )
    .join_from(refund_requests, payments)
    .join(orders, orders.c.id == refund_requests.c.order_id)
    .where(
        refund_requests.c.state.in_(
            bindparam("states", sorted(UNFINISHED), expanding=True, literal_execute=True)
        ),
        refund_requests.c.updated_at <= bindparam("quiet_since"),
        tuple_(refund_requests.c.order_id, refund_requests.c.refund_id)
        > tuple_(bindparam("after_order"), bindparam("after_refund")),
        or_(refund_requests.c.refund_id != UNDO_REFUND_ID, orders.c.status.in_(_ENDS)),
        IS_OURS,
    )
    .order_by(refund_requests.c.order_id, refund_requests.c.refund_id)
    .limit(bindparam("most"))
)
_RETURNED_LINES: Final = (
    select(refund_lines)
    .where(refund_lines.c.order_id.in_(bindparam("orders", expanding=True)))
    .order_by(refund_lines.c.sku)
)
_PAID_CHARGE: Final = (
    select(payments)
    .where(
        payments.c.order_id == bindparam("order_id"),
        payments.c.state == ChargeState.CAPTURED,
    )
    .with_for_update(key_share=True)
)
#: Statuses of a chargeback that is open: the provider refunds nothing of its charge.
_CHARGED_BACK: Final = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)
_GONE: Final = select(
    func.coalesce(func.sum(disputes.c.withdrawn), 0).label("withdrawn"),
    func.array_agg(disputes.c.dispute_id).filter(disputes.c.withdrawn > 0).label("ids"),
    func.min(disputes.c.dispute_id)
    .filter(disputes.c.status.in_(_CHARGED_BACK))
    .label("charged_back_by"),
    func.count().filter(disputes.c.status == DisputeStatus.WON).label("won"),
    select(given_back_by_hand.c.amount)
    .where(given_back_by_hand.c.order_id == bindparam("order_id"))
    .scalar_subquery()
    .label("by_hand"),
).where(disputes.c.order_id == bindparam("order_id"))
# Parameters of an UPDATE may not have the names of its columns.
_CHANGE: Final = (
    update(refund_requests)
    .where(
        refund_requests.c.order_id == bindparam("of_order"),
        refund_requests.c.refund_id == bindparam("refund"),
    )
    .values(
        state=bindparam("to"),
        attempt=bindparam("tries"),
        card_refund_id=bindparam("of_provider"),
        why=bindparam("reason"),
        restocked=bindparam("on_shelf"),
        amount=bindparam("to_give_back"),
        updated_at=bindparam("now"),
    )
)


async def lock_paid_charge(connection: AsyncConnection, order_id: str) -> PaidCharge | None:
    """Lock and return the order's captured charge; None when there is none."""
    row = (await connection.execute(_PAID_CHARGE, {"order_id": order_id})).one_or_none()
    if row is None:
        return None
    gone = (await connection.execute(_GONE, {"order_id": order_id})).one()
    return PaidCharge(
        attempt=row.attempt,
        payment_id=row.payment_id,
        captured=Money(row.captured, row.currency),
        refunded=Money(row.refunded, row.currency),
        withdrawn=Money(int(gone.withdrawn), row.currency),
        by_hand=None if gone.by_hand is None else Money(gone.by_hand, row.currency),
        disputes=tuple(sorted(gone.ids or ())),
        charged_back_by=gone.charged_back_by or "",
        won=gone.won > 0,
    )


async def insert_refund(connection: AsyncConnection, entry: RefundEntry, now: datetime) -> None:
    """Insert the refund with its returned pieces and its history line."""
    request = entry.request
    ids = {"order_id": request.order_id, "refund_id": request.refund_id}
    values = {
        **ids,
        "charge_attempt": entry.charge_attempt,
        "amount": entry.amount.amount,
        "request": asdict(request),
        "state": entry.state,
        "why": entry.why,
        "requested_at": now,
        "updated_at": now,
    }
    await connection.execute(insert(refund_requests), values)
    if entry.lines:
        await connection.execute(
            insert(refund_lines),
            [{**ids, "sku": sku, "quantity": quantity} for sku, quantity in entry.lines],
        )
    requested = line(request.order_id, entry.event, entry.history_detail(), now)
    await connection.execute(ADD_LINE, requested)


async def update_refund(connection: AsyncConnection, entry: RefundEntry, now: datetime) -> None:
    """Update the refund. Its pieces never change, and its amount only while an undo issues it."""
    this = {"of_order": entry.request.order_id, "refund": entry.request.refund_id}
    to = {
        "to": entry.state,
        "tries": entry.attempt,
        "of_provider": entry.card_refund_id,
        "reason": entry.why,
        "on_shelf": entry.restocked,
        "to_give_back": entry.amount.amount,
        "now": now,
    }
    await connection.execute(_CHANGE, this | to)


async def read_refunds(connection: AsyncConnection, order_id: str) -> tuple[RefundEntry, ...]:
    """All refunds of the order, oldest first."""
    return await _read(connection, _OF_ORDER, {"order_id": order_id})


async def read_waiting(connection: AsyncConnection, limit: int) -> tuple[RefundEntry, ...]:
    """Refunds that wait for approval, oldest first."""
    return await _read(connection, _WAITING, {"most": limit})


async def read_unfinished(
    connection: AsyncConnection,
    quiet_since: datetime,
    limit: int,
    *,
    after: tuple[str, str],
    order_id: str | None,
) -> tuple[UnfinishedRefund, ...]:
    """Refunds that are not done and unchanged since then, by order id and refund id."""
    wanted = _UNFINISHED
    if order_id is not None:
        wanted = wanted.where(refund_requests.c.order_id == order_id)
    which = {
        "quiet_since": quiet_since,
        "after_order": after[0],
        "after_refund": after[1],
        "most": limit,
    }
    rows = (await connection.execute(wanted, which)).all()
    return tuple(
        UnfinishedRefund(
            order_id=row.order_id,
            refund_id=row.refund_id,
            amount=Money(row.amount, row.currency),
            state=RefundState(row.state),
            since=row.updated_at,
        )
        for row in rows
    )


async def _read(
    connection: AsyncConnection, wanted: Executable, which: Mapping[str, Any]
) -> tuple[RefundEntry, ...]:
    found = (await connection.execute(wanted, which)).all()
    lines: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    if found:
        order_ids = sorted({row.order_id for row in found})
        for back in await connection.execute(_RETURNED_LINES, {"orders": order_ids}):
            lines[back.order_id, back.refund_id].append((back.sku, back.quantity))
    return tuple(_entry(row, tuple(lines[row.order_id, row.refund_id])) for row in found)


def _entry(row: Row[Any], lines: tuple[tuple[str, int], ...]) -> RefundEntry:
    asked = row.request
    return RefundEntry(
        request=RefundRequest(
            order_id=row.order_id,
            refund_id=row.refund_id,
            lines=tuple((sku, quantity) for sku, quantity in asked["lines"]),
            amount=Money(**asked["amount"]) if asked["amount"] else None,
            restock=asked["restock"],
            reason=RefundReason(asked["reason"]),
            message=asked["message"],
            owed=asked.get("owed", False),
            requested_by=asked.get("requested_by", ""),
        ),
        amount=Money(row.amount, row.currency),
        lines=lines,
        charge_attempt=row.charge_attempt,
        payment_id=row.payment_id,
        state=RefundState(row.state),
        attempt=row.attempt,
        card_refund_id=row.card_refund_id,
        why=row.why,
        restocked=row.restocked,
    )
