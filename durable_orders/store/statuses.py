"""Changes of an order's status, in a transaction that has locked the order's row."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.lifecycle import FOLLOWS, Status, Stop
from durable_orders.domain.ports import IllegalStatusError, NoSuchOrderError
from durable_orders.store.history import WITH_LINE, line
from durable_orders.store.tables import orders, whole_history

_LOCK: Final = (
    select(orders.c.status)
    .where(orders.c.id == bindparam("order_id"))
    .with_for_update(key_share=True)
)
_MOVE: Final = (
    update(orders)
    .where(orders.c.id == bindparam("order_id"))
    .values(
        status=bindparam("to"),
        updated_at=func.coalesce(bindparam("now", type_=orders.c.updated_at.type), func.now()),
    )
    .add_cte(WITH_LINE)
)
_STOP: Final = _MOVE.values(reason=bindparam("why"), reason_message=bindparam("message"))
_HAS_BEEN: Final = (
    select(whole_history.c.id)
    .where(
        whole_history.c.order_id == bindparam("order_id"),
        whole_history.c.event == bindparam("event"),
    )
    .limit(1)
)


async def lock(connection: AsyncConnection, order_id: str) -> Status:
    """Lock the order and return its status. Raises ``NoSuchOrderError``."""
    status = await connection.scalar(_LOCK, {"order_id": order_id})
    if status is None:
        raise NoSuchOrderError(order_id)
    return Status(status)


async def move(
    connection: AsyncConnection,
    order_id: str,
    known: Status,
    status: Status,
    *,
    stop: Stop | None = None,
    now: datetime | None = None,
) -> None:
    """Move the order from ``known``, read under its lock, to ``status``.

    A no-op when the order has, or has had, this status. Raises ``IllegalStatusError``.
    """
    if known == status:
        return
    if status not in FOLLOWS[known]:
        # A workflow task that loses its worker runs all of its local activities again.
        if await _has_been(connection, order_id, status):
            return
        raise IllegalStatusError(f"order {order_id} is {known}: it cannot become {status}")
    to: dict[str, Any] = {"order_id": order_id, "to": status, "now": now}
    event = f"order_{status}"
    if stop is None:
        await connection.execute(_MOVE, to | line(order_id, event, at=now))
        return
    detail = {"reason": str(stop.reason), "message": stop.message}
    why = {"why": stop.reason, "message": stop.message}
    await connection.execute(_STOP, to | why | line(order_id, event, detail, now))


async def _has_been(connection: AsyncConnection, order_id: str, status: Status) -> bool:
    event = {"order_id": order_id, "event": f"order_{status}"}
    return await connection.scalar(_HAS_BEEN, event) is not None
