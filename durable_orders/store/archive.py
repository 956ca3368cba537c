"""The archive: moves the histories of orders that ended long ago out of ``order_history``.

A history is moved as a whole into one row of ``archived_history``, where all reading finds it
(``whole_history``). What happens to the order later adds lines to ``order_history`` as ever, and a
later run moves these too. Everything else of the order stays where it is.

Each transaction moves the histories of fifty to five hundred orders. It takes their rows' locks
first, as everywhere, and skips an order that somebody else has locked: it waits for no order's row.
A run that is killed has moved what it had committed, and the next one goes on from there, because
what was moved is not in ``order_history`` any more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    ColumnElement,
    Row,
    Text,
    and_,
    any_,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.charges import MAY_TAKE_MONEY
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.refunds.refund import UNFINISHED
from durable_orders.store.database import Database
from durable_orders.store.tables import (
    archived_history,
    disputes,
    findings,
    fraud_warnings,
    order_history,
    orders,
    payments,
    refund_requests,
    reviews,
)

#: Lines that are read at a time; a transaction moves the histories of as many orders at most.
_LINES_AT_ONCE: Final = 500
_ENDS: Final = sorted(status for status in Status if status.is_final)


@dataclass(frozen=True)
class Archived:
    """What one transaction has moved, or would move. ``reached``: the time of the last line that
    was looked at.
    """

    orders: int
    lines: int
    reached: datetime


_BEFORE: Final[BindParameter[datetime]] = bindparam("before", type_=orders.c.updated_at.type)
_ORDER_IDS: Final[BindParameter[Sequence[str]]] = bindparam("order_ids", type_=ARRAY(Text))
_AFTER: Final[BindParameter[int]] = bindparam("after", type_=BigInteger())
_MOST: Final[BindParameter[int]] = bindparam("most", type_=BigInteger())

#: The oldest lines after a known one: their ids grow with time.
_OLDEST: Final = (
    select(order_history.c.id, order_history.c.order_id, order_history.c.at)
    .where(order_history.c.id > _AFTER)
    .order_by(order_history.c.id)
    .limit(_LINES_AT_ONCE)
)


def _of_order(table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.order_id == orders.c.id, *conditions).correlate(orders)


#: Ended, and nothing has happened since, and nothing is waited for.
_IS_OVER: Final = and_(
    orders.c.id == any_(_ORDER_IDS),
    orders.c.status.in_(_ENDS),
    orders.c.updated_at < _BEFORE,
    ~_of_order(order_history, order_history.c.at >= _BEFORE),
    ~_of_order(payments, payments.c.state.in_(sorted(MAY_TAKE_MONEY))),
    ~_of_order(refund_requests, refund_requests.c.state.in_(sorted(UNFINISHED))),
    ~_of_order(disputes, or_(disputes.c.closed_at.is_(None), disputes.c.updated_at >= _BEFORE)),
    ~_of_order(
        fraud_warnings, fraud_warnings.c.is_actionable, fraud_warnings.c.acknowledged_by == ""
    ),
    ~_of_order(reviews, reviews.c.is_open, reviews.c.acknowledged_by == ""),
    ~_of_order(findings, findings.c.resolved_at.is_(None), findings.c.acknowledged_at.is_(None)),
)
_LOCK: Final = (
    select(orders.c.id)
    .where(orders.c.id == any_(_ORDER_IDS), orders.c.status.in_(_ENDS))
    .where(orders.c.updated_at < _BEFORE)
    .order_by(orders.c.id)
    .with_for_update(key_share=True, skip_locked=True)
)
#: Those of the orders that are over, with the number of their lines. Each is looked at where its
#: first line is.
_OVER: Final = (
    select(orders.c.id, func.count(order_history.c.id).label("lines"))
    .join_from(orders, order_history)
    .where(_IS_OVER)
    .group_by(orders.c.id)
    .having(func.min(order_history.c.id) > _AFTER)
    .order_by(func.min(order_history.c.id))
    .limit(_MOST)
)
#: One statement: a trigger lets a line go only together with its arrival.
_MOVE: Final = text("""
WITH moved AS (
    DELETE FROM order_history WHERE order_id = ANY(:order_ids) RETURNING *
)
INSERT INTO archived_history (
    order_id, first_line, archived_at, ids, times, events, details, mails
)
SELECT order_id, min(id), :now, array_agg(id ORDER BY id), array_agg(at ORDER BY id),
       array_agg(event ORDER BY id), array_agg(detail ORDER BY id),
       coalesce(array_agg(detail ->> 'mail') FILTER (WHERE detail ? 'mail'), '{}')
FROM moved GROUP BY order_id
""").bindparams(_ORDER_IDS, bindparam("now", type_=archived_history.c.archived_at.type))


async def archive_histories(
    database: Database,
    before: datetime,
    now: datetime,
    *,
    limit: int | None = None,
    dry_run: bool = False,
) -> AsyncGenerator[Archived]:
    """Archive the histories of orders that ended before ``before`` and are quiet since, the oldest
    first, at most those of ``limit`` orders; yields after each transaction.

    ``dry_run``: move nothing, and yield what would be moved. Raises ``NoAnswerError``.
    """
    left, after = limit, 0
    while left is None or left > 0:
        async with database.statement() as connection:
            page = (await connection.execute(_OLDEST, {"after": after})).all()
        if not page:
            return
        this = {
            "order_ids": sorted({line.order_id for line in page}),
            "before": before,
            "after": after,
            "most": len(page) if left is None else left,
        }
        async with database.transaction() as connection:
            over = await _over(connection, this, lock=not dry_run)
            if over and not dry_run:
                moved = {"order_ids": [order.id for order in over], "now": now}
                await connection.execute(_MOVE, moved)
        left = None if left is None else left - len(over)
        yield Archived(len(over), sum(order.lines for order in over), page[-1].at)
        after = page[-1].id
        # Younger lines come later: an order that was closed in time has none of them.
        if all(line.at >= before for line in page):
            return


async def _over(
    connection: AsyncConnection, this: dict[str, Any], *, lock: bool
) -> Sequence[Row[Any]]:
    if lock:
        # First the locks, then the look: another transaction may have changed an order meanwhile.
        this = this | {"order_ids": (await connection.scalars(_LOCK, this)).all()}
    return (await connection.execute(_OVER, this)).all()
