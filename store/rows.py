"""An order in rows, and back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Insert, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.lifecycle import Status
from orders.money import Money
from orders.order import Line, Order, Recipient
from orders.views import HistoryLine, OrderView, ParcelView, PaymentView, RefundView
from store.tables import (
    given_back_by_hand,
    order_history,
    order_lines,
    orders,
    parcels,
    payments,
    refund_requests,
)

_LINE_COLUMNS = (
    order_lines.c.sku,
    order_lines.c.name,
    order_lines.c.quantity,
    order_lines.c.unit_price,
)


def new_order(order: Order, now: datetime) -> Insert:
    """Inserts the order without its lines and returns its id, or nothing when the id is taken."""
    return (
        postgresql.insert(orders)
        .values(
            id=order.id,
            customer_id=order.customer_id,
            recipient_name=order.recipient.name,
            recipient_email=order.recipient.email,
            recipient_address=order.recipient.address,
            payment_method=order.payment_method,
            flagged=order.flagged,
            total=order.total.amount,
            currency=order.total.currency,
            status=order.status,
            placed_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(orders.c.id)
    )


def new_lines(order: Order) -> Insert:
    """Inserts the order's lines, in its order."""
    return insert(order_lines).values(
        [
            {
                "order_id": order.id,
                "position": position,
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price": line.unit_price.amount,
            }
            for position, line in enumerate(order.lines)
        ]
    )


async def read_order(connection: AsyncConnection, order_id: str) -> Order | None:
    """The order with its lines, in one statement."""
    rows = (
        await connection.execute(
            select(orders, *(column.label(f"line_{column.name}") for column in _LINE_COLUMNS))
            .join_from(orders, order_lines)
            .where(orders.c.id == order_id)
            .order_by(order_lines.c.position)
        )
    ).all()
    if not rows:
        return None
    first = rows[0]
    return Order(
        id=first.id,
        customer_id=first.customer_id,
        recipient=Recipient(
            name=first.recipient_name,
            email=first.recipient_email,
            address=first.recipient_address,
        ),
        lines=tuple(
            Line(
                sku=row.line_sku,
                name=row.line_name,
                quantity=row.line_quantity,
                unit_price=Money(row.line_unit_price, row.currency),
            )
            for row in rows
        ),
        total=Money(first.total, first.currency),
        payment_method=first.payment_method,
        status=Status(first.status),
        reason=first.reason,
        flagged=first.flagged,
    )


async def read_view(connection: AsyncConnection, order_id: str) -> OrderView | None:
    """The order with everything that happened to it."""
    order = await read_order(connection, order_id)
    if order is None:
        return None
    row = (
        await connection.execute(
            select(orders.c.placed_at, orders.c.stock).where(orders.c.id == order_id)
        )
    ).one()
    charges = await connection.execute(
        select(payments).where(payments.c.order_id == order_id).order_by(payments.c.attempt)
    )
    by_hand = await connection.scalar(
        select(given_back_by_hand.c.amount).where(given_back_by_hand.c.order_id == order_id)
    )
    sent = await connection.execute(
        select(parcels).where(parcels.c.order_id == order_id).order_by(parcels.c.parcel_id)
    )
    asked = await connection.execute(
        select(refund_requests)
        .where(refund_requests.c.order_id == order_id)
        .order_by(refund_requests.c.number)
    )
    lines = await connection.execute(
        select(order_history)
        .where(order_history.c.order_id == order_id)
        .order_by(order_history.c.id)
    )
    return OrderView(
        order=order,
        placed_at=row.placed_at,
        stock=row.stock,
        payments=tuple(
            PaymentView(
                payment_id=charge.payment_id,
                attempt=charge.attempt,
                state=charge.state,
                amount=Money(charge.amount, charge.currency),
                captured=Money(charge.captured, charge.currency),
                refunded=Money(charge.refunded, charge.currency),
            )
            for charge in charges
        ),
        given_back_by_hand=None if by_hand is None else Money(by_hand, order.total.currency),
        parcels=tuple(ParcelView(p.parcel_id, p.status, p.tracking) for p in sent),
        refunds=tuple(
            RefundView(
                refund_id=refund.refund_id,
                amount=Money(refund.amount, order.total.currency),
                state=refund.state,
                restocked=refund.restocked,
            )
            for refund in asked
        ),
        history=tuple(
            HistoryLine(at=line.at, event=line.event, detail=line.detail) for line in lines
        ),
    )
