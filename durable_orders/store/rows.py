"""Mapping between orders and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.installation import ForeignOrderError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import FutureUsage, Line, Order, PaymentOptions, Recipient
from durable_orders.store.decisions import undone
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import order_history, order_lines, orders

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
_ORDER_AND_MAIL: Final = ORDER.add_columns(
    select(order_history.c.detail["mail"].astext)
    .where(
        order_history.c.order_id == bindparam("order_id"),
        order_history.c.event == bindparam("event"),
        order_history.c.detail.contains(bindparam("detail", type_=order_history.c.detail.type)),
    )
    .order_by(order_history.c.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("mail_id")
)


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


async def read_order(
    connection: AsyncConnection, order_id: str, *, is_ours: bool = False
) -> Order | None:
    """The order with its lines, in one statement.

    With ``is_ours``, raises ``ForeignOrderError`` when another installation placed it.
    """
    rows = (await connection.execute(ORDER, {"order_id": order_id})).all()
    if not rows:
        return None
    if is_ours:
        _check_ours(rows[0])
    return order_of(rows)


async def read_order_and_mail(
    connection: AsyncConnection, order_id: str, event: str, detail: Mapping[str, str]
) -> tuple[Order, str | None] | None:
    """The order, and the mail that its history says was sent, in one statement.

    Raises ``ForeignOrderError`` when another installation placed it.
    """
    wanted = {"order_id": order_id, "event": event, "detail": dict(detail)}
    rows = (await connection.execute(_ORDER_AND_MAIL, wanted)).all()
    if not rows:
        return None
    _check_ours(rows[0])
    return order_of(rows), rows[0].mail_id


def _check_ours(row: Row[Any]) -> None:
    if not row.is_ours:
        raise ForeignOrderError(row.id, row.key_prefix)


def order_of(rows: Sequence[Row[Any]]) -> Order:
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
