"""A refund in rows, and back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.money import Money
from orders.ports import ChargeState
from orders.refunds import PaidCharge, RefundEntry, RefundReason, RefundRequest, RefundState
from store.history import history_line
from store.tables import payments, refund_lines, refund_requests

_REFUNDS: Final = select(refund_requests, payments.c.payment_id, payments.c.currency).join_from(
    refund_requests, payments
)


async def paid_charge(connection: AsyncConnection, order_id: str) -> PaidCharge | None:
    """The charge that took the order's money, locked; None when none did."""
    row = (
        await connection.execute(
            select(payments)
            .where(payments.c.order_id == order_id, payments.c.state == ChargeState.CAPTURED)
            .with_for_update(key_share=True)
        )
    ).one_or_none()
    if row is None:
        return None
    return PaidCharge(
        attempt=row.attempt,
        payment_id=row.payment_id,
        captured=Money(row.captured, row.currency),
        refunded=Money(row.refunded, row.currency),
    )


async def new_refund(connection: AsyncConnection, entry: RefundEntry, now: datetime) -> None:
    """Keep the refund and the pieces that it takes back."""
    request = entry.request
    ids = {"order_id": request.order_id, "refund_id": request.refund_id}
    await connection.execute(
        insert(refund_requests).values(
            **ids,
            charge_attempt=entry.charge_attempt,
            amount=entry.amount.amount,
            request=asdict(request),
            state=entry.state,
            requested_at=now,
            updated_at=now,
        )
    )
    if entry.lines:
        await connection.execute(
            insert(refund_lines).values(
                [{**ids, "sku": sku, "quantity": quantity} for sku, quantity in entry.lines]
            )
        )
    await connection.execute(
        history_line(request.order_id, entry.event, entry.history_detail(), now)
    )


async def changed_refund(connection: AsyncConnection, entry: RefundEntry, now: datetime) -> None:
    """Keep what has changed of the refund; its amount and pieces never do."""
    await connection.execute(
        update(refund_requests)
        .where(
            refund_requests.c.order_id == entry.request.order_id,
            refund_requests.c.refund_id == entry.request.refund_id,
        )
        .values(
            state=entry.state,
            attempt=entry.attempt,
            card_refund_id=entry.card_refund_id,
            why=entry.why,
            restocked=entry.restocked,
            updated_at=now,
        )
    )


async def read_refunds(connection: AsyncConnection, order_id: str) -> tuple[RefundEntry, ...]:
    """All refunds of the order, oldest first."""
    of_order = _REFUNDS.where(refund_requests.c.order_id == order_id)
    return await _read(connection, of_order.order_by(refund_requests.c.number))


async def read_waiting(connection: AsyncConnection, limit: int) -> tuple[RefundEntry, ...]:
    """Refunds that wait for approval, the oldest first."""
    # Written into the statement, so that PostgreSQL knows the index of those that wait.
    state = literal(RefundState.AWAITING_APPROVAL.value, literal_execute=True)
    wanted = _REFUNDS.where(refund_requests.c.state == state)
    return await _read(connection, wanted.order_by(refund_requests.c.requested_at).limit(limit))


async def _read(connection: AsyncConnection, wanted: Select[Any]) -> tuple[RefundEntry, ...]:
    found = (await connection.execute(wanted)).all()
    lines: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    if found:
        taken_back = await connection.execute(
            select(refund_lines)
            .where(refund_lines.c.order_id.in_({row.order_id for row in found}))
            .order_by(refund_lines.c.sku)
        )
        for line in taken_back:
            lines[line.order_id, line.refund_id].append((line.sku, line.quantity))
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
