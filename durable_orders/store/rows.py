"""Mapping between orders and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import OrderSummary
from durable_orders.domain.installation import ForeignOrderError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import FutureUsage, Line, Order, PaymentOptions, Recipient
from durable_orders.store.decisions import CANCELLED_UNSTARTED, undone
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import order_lines, orders, whole_history

_LINE_COLUMNS = (
    order_lines.c.sku,
    order_lines.c.name,
    order_lines.c.quantity,
    order_lines.c.unit_price,
)
_NEW_ORDER: Final = (
    postgresql.insert(orders)
    .on_conflict_do_nothing(index_elements=["id"])
    .returning(orders.c.key_prefix)
)
#: The order, whether it is ours, and its lines: a row for each.
ORDER: Final = (
    select(
        orders,
        orders.c.status.label("order_status"),
        IS_OURS.label("is_ours"),
        *(column.label(f"line_{column.name}") for column in _LINE_COLUMNS),
    )
    .join_from(orders, order_lines)
    .where(orders.c.id == bindparam("order_id"))
    .order_by(order_lines.c.position)
)
#: With the id of the mail of which its history has a line.
ORDER_AND_MAIL: Final = ORDER.add_columns(
    select(whole_history.c.detail["mail"].astext)
    .where(
        whole_history.c.order_id == bindparam("order_id"),
        whole_history.c.event == bindparam("event"),
        whole_history.c.detail.contains(bindparam("detail", type_=whole_history.c.detail.type)),
    )
    .order_by(whole_history.c.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("mail_id")
)
#: The order without personal data.
SUMMARY: Final = select(
    *(
        orders.c[name]
        for name in (
            "id",
            "customer_id",
            "total",
            "currency",
            "status",
            "flagged",
            "key_prefix",
            "off_session",
            "run_id",
        )
    ),
    CANCELLED_UNSTARTED.label("cancelled_unstarted"),
    IS_OURS.label("is_ours"),
    select(whole_history.c.detail["actor"].astext)
    .where(whole_history.c.order_id == orders.c.id, whole_history.c.event == "order_placed")
    .limit(1)
    .scalar_subquery()
    .label("placed_by"),
).where(orders.c.id == bindparam("order_id"))


async def insert_order(connection: AsyncConnection, order: Order, now: datetime) -> Order | None:
    """Insert the order and its lines; return it with its key prefix, the installation's name now.

    None, with nothing inserted, when the id is taken.
    """
    values: dict[str, Any] = {
        "id": order.id,
        "customer_id": order.customer_id,
        "recipient_name": order.recipient.name,
        "recipient_email": order.recipient.email,
        "recipient_address": order.recipient.address,
        "payment_method": order.payment_method,
        "flagged": order.flagged,
        "customer": order.options.customer,
        "off_session": order.options.off_session,
        "setup_future_usage": order.options.setup_future_usage,
        "receipt_email": order.options.receipt_email,
        "total": order.total.amount,
        "currency": order.total.currency,
        "status": order.status,
        "placed_at": now,
        "updated_at": now,
    }
    key_prefix = await connection.scalar(_NEW_ORDER, values)
    if key_prefix is None:
        return None
    await connection.execute(
        insert(order_lines),
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
        ],
    )
    return replace(order, key_prefix=key_prefix)


async def read_order(connection: AsyncConnection, order_id: str) -> Order | None:
    """The order with its lines, in one statement."""
    rows = (await connection.execute(ORDER, {"order_id": order_id})).all()
    return order_of(rows) if rows else None


def check_ours(row: Any) -> None:
    """Raise ``ForeignOrderError`` for an order, in a row of ``SUMMARY`` or ``ORDER``, that another
    installation placed.
    """
    if not row.is_ours:
        raise ForeignOrderError(row.id, row.key_prefix)


def summary_of(row: Any) -> OrderSummary:
    """The order in a row of ``SUMMARY``."""
    return OrderSummary(
        order_id=row.id,
        customer_id=row.customer_id,
        total=Money(row.total, row.currency),
        status=Status(row.status),
        flagged=row.flagged,
        key_prefix=row.key_prefix,
        off_session=row.off_session,
        run_id=row.run_id,
        cancelled_unstarted=row.cancelled_unstarted,
        placed_by=row.placed_by or "",
    )


def order_of(rows: Sequence[Any]) -> Order:
    """The order in rows of ``ORDER``: one for each line."""
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
        key_prefix=first.key_prefix,
        options=PaymentOptions(
            customer=first.customer,
            off_session=first.off_session,
            setup_future_usage=FutureUsage(usage) if (usage := first.setup_future_usage) else None,
            receipt_email=first.receipt_email,
        ),
        undone=undone(first),
    )
