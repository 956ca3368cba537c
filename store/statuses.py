"""An order's status: moved within a transaction that holds the lock of the order's row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.lifecycle import FOLLOWS, Status, Stop
from orders.ports import IllegalStatusError
from store.history import history_line
from store.tables import order_history, orders


async def move(
    connection: AsyncConnection,
    order_id: str,
    known: Status,
    status: Status,
    *,
    stop: Stop | None = None,
    now: datetime | None = None,
) -> None:
    """Bring the order, whose row is locked and ``known`` to be so, to ``status``.

    A no-op when it is there, or was there before. Raises ``IllegalStatusError``.
    """
    if known == status:
        return
    if status not in FOLLOWS[known]:
        # A workflow task that lost its worker runs its local activities again, all of them.
        if await _has_been(connection, order_id, status):
            return
        raise IllegalStatusError(f"order {order_id} is {known}: it cannot become {status}")
    detail = {"reason": str(stop.reason), "message": stop.message} if stop else {}
    changes: dict[str, Any] = {"status": status, "updated_at": now or func.now()}
    if stop:
        changes |= {"reason": stop.reason, "reason_message": stop.message}
    line = history_line(order_id, f"order_{status}", detail, now).cte("line")
    await connection.execute(
        update(orders).where(orders.c.id == order_id).values(changes).add_cte(line)
    )


async def _has_been(connection: AsyncConnection, order_id: str, status: Status) -> bool:
    line = select(order_history.c.id).where(
        order_history.c.order_id == order_id, order_history.c.event == f"order_{status}"
    )
    return await connection.scalar(line.limit(1)) is not None
