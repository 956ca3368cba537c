"""Read models of disputes, early fraud warnings and reviews: of one order, and of all, in pages."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    DateTime,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
)

from durable_orders.domain.disputes.dispute import Dispute, DisputeStatus, FraudWarning, Review
from durable_orders.domain.disputes.listing import (
    CursorPart,
    ListedRisk,
    RiskCursor,
    RiskPage,
    RiskView,
    risk_view,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.store.database import Database
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import disputes, fraud_warnings, orders, payments, reviews

_NO_TIME: Final = null().cast(DateTime(timezone=True))
_NO_TEXT: Final = null().cast(Text)
_NO_NUMBER: Final = null().cast(BigInteger)
#: Not a parameter, or the partial indexes would not fit.
_NOBODY: Final = literal("", literal_execute=True)


def _part(
    table: Table,
    risk_id: Column[Any],
    reason: Column[Any],
    flag: ColumnElement[bool],
    **own: ColumnElement[Any],
) -> Select[Any]:
    """One table in the columns of all three; ``own`` are those that it fills besides."""
    others: dict[str, ColumnElement[Any]] = {
        "state": _NO_TEXT,
        "due_by": _NO_TIME,
        "disputed": _NO_NUMBER,
        "withdrawn": _NO_NUMBER,
        "fee": _NO_NUMBER,
        "fee_currency": _NO_TEXT,
        "submissions": _NO_NUMBER,
        **own,
    }
    return select(
        literal(table.name).label("kind"),
        risk_id.label("risk_id"),
        table.c.order_id,
        table.c.payment_id,
        table.c.opened_at,
        table.c.acknowledged_by,
        reason.label("reason"),
        flag.label("flag"),
        payments.c.amount.label("paid"),
        payments.c.currency.label("currency"),
        *(column.label(name) for name, column in others.items()),
    ).join_from(table, payments, table.c.payment_id == payments.c.payment_id)


_DISPUTES: Final = _part(
    disputes,
    disputes.c.dispute_id,
    disputes.c.reason,
    disputes.c.closed_at.is_(None),
    state=disputes.c.status,
    due_by=disputes.c.due_by,
    disputed=disputes.c.amount,
    withdrawn=disputes.c.withdrawn,
    fee=disputes.c.fee,
    fee_currency=disputes.c.fee_currency,
    submissions=disputes.c.submissions.cast(BigInteger),
)
_WARNINGS: Final = _part(
    fraud_warnings,
    fraud_warnings.c.warning_id,
    fraud_warnings.c.fraud_type,
    fraud_warnings.c.is_actionable,
)
_REVIEWS: Final = _part(
    reviews,
    reviews.c.review_id,
    reviews.c.opened_reason,
    reviews.c.is_open,
    state=reviews.c.closed_reason,
)

_THIS_ORDER: Final[BindParameter[str]] = bindparam("order_id")
#: All of an order's payment.
RISKS_OF_ORDER: Final = union_all(
    _DISPUTES.where(disputes.c.order_id == _THIS_ORDER),
    _WARNINGS.where(fraud_warnings.c.order_id == _THIS_ORDER),
    _REVIEWS.where(reviews.c.order_id == _THIS_ORDER),
)
_THIS: Final[BindParameter[str]] = bindparam("risk_id")
_ALL: Final = union_all(_DISPUTES, _WARNINGS, _REVIEWS).cte("risks")
_ONE: Final = union_all(
    _DISPUTES.where(disputes.c.dispute_id == _THIS),
    _WARNINGS.where(fraud_warnings.c.warning_id == _THIS),
    _REVIEWS.where(reviews.c.review_id == _THIS),
).cte("risks")
#: Each part uses a partial index of its own.
_OPEN: Final = union_all(
    _DISPUTES.where(disputes.c.closed_at.is_(None)),
    _WARNINGS.where(fraud_warnings.c.is_actionable, fraud_warnings.c.acknowledged_by == _NOBODY),
    _REVIEWS.where(reviews.c.is_open, reviews.c.acknowledged_by == _NOBODY),
).cte("risks")


class PostgresRiskListRepository:
    """``RiskListRepository`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, limit: int, after: RiskCursor | None = None, *, closed: bool = False
    ) -> RiskPage:
        wanted = _newest(after) if closed else _by_deadline(after)
        async with self._database.statement() as connection:
            rows = (await connection.execute(wanted.limit(limit + 1))).all()
        return RiskPage.of(tuple(map(_listed, rows)), limit, closed=closed)

    async def find(self, risk_id: str) -> ListedRisk | None:
        async with self._database.statement() as connection:
            rows = await connection.execute(_with_order(_ONE), {"risk_id": risk_id})
        row = rows.one_or_none()
        return None if row is None else _listed(row)


def _with_order(risks: Any) -> Select[Any]:
    return (
        select(risks, orders.c.status)
        .join_from(risks, orders, orders.c.id == risks.c.order_id)
        .where(IS_OURS)
    )


def _newest(after: RiskCursor | None) -> Select[Any]:
    key = tuple_(_ALL.c.opened_at, _ALL.c.risk_id)
    wanted = _with_order(_ALL).order_by(_ALL.c.opened_at.desc(), _ALL.c.risk_id.desc())
    return wanted if after is None else wanted.where(key < (after.at, after.risk_id))


def _by_deadline(after: RiskCursor | None) -> Select[Any]:
    keys = (
        _OPEN.c.due_by.is_(None),
        func.coalesce(_OPEN.c.due_by, _OPEN.c.opened_at),
        _OPEN.c.risk_id,
    )
    wanted = _with_order(_OPEN).order_by(*keys)
    if after is None:
        return wanted
    is_undated = after.part is CursorPart.UNDATED
    return wanted.where(tuple_(*keys) > (is_undated, after.at, after.risk_id))


def _listed(row: Row[Any]) -> ListedRisk:
    return ListedRisk(row.order_id, Status(row.status), risk_view_of(row))


def risk_view_of(row: Any) -> RiskView:
    """The view of one in a row of ``RISKS_OF_ORDER``, or of another union of the three tables."""
    return risk_view(_risk(row), Money(row.paid, row.currency))


def _risk(row: Any) -> Dispute | FraudWarning | Review:
    ids, opened, by = (row.risk_id, row.payment_id), row.opened_at, row.acknowledged_by
    if row.kind == fraud_warnings.name:
        return FraudWarning(*ids, row.reason, row.flag, opened, by)
    if row.kind == reviews.name:
        return Review(*ids, row.reason, row.flag, opened, row.state, by)
    return Dispute(
        *ids,
        Money(row.disputed, row.currency),
        Money(row.withdrawn, row.currency),
        Money(row.fee, row.fee_currency),
        row.reason,
        DisputeStatus(row.state),
        opened,
        row.due_by,
        row.submissions,
        by,
    )
