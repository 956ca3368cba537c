"""Dashboard figures over all orders and refunds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, literal, or_, select, union_all

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.operators.dashboard import (
    MAY_NEED_OPERATOR,
    UNANSWERED_AFTER,
    DashboardRefund,
)
from durable_orders.domain.refunds.refund import RefundState
from durable_orders.store.database import Database
from durable_orders.store.tables import orders, payments, refund_requests


class PostgresDashboardRepository:
    """``OverviewBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self, most: int) -> Mapping[Status, int]:
        # One bounded index range per status, so this stays quick however many orders there are.
        wanted = union_all(*(_count(status, most) for status in Status))
        async with self._database.statement() as connection:
            rows = await connection.execute(wanted)
            return {Status(row.status): row.number for row in rows}

    async def waiting_refunds(self, now: datetime, limit: int) -> tuple[DashboardRefund, ...]:
        found = refund_requests.c
        unanswered = found.updated_at <= now - UNANSWERED_AFTER
        wanted = (
            select(
                found.order_id,
                found.refund_id,
                found.amount,
                found.state,
                found.why,
                found.updated_at,
                payments.c.currency,
            )
            .join_from(refund_requests, payments)
            .where(found.state.in_(sorted(MAY_NEED_OPERATOR)))
            .where(or_(found.state != RefundState.ISSUING, unanswered))
            .order_by(found.number)
            .limit(limit)
        )
        async with self._database.statement() as connection:
            rows = (await connection.execute(wanted)).all()
        return tuple(map(_waiting, rows))


def _count(status: Status, most: int) -> Select[tuple[str, int]]:
    some = select(orders.c.id).where(orders.c.status == status).limit(most).subquery()
    number = select(func.count()).select_from(some).scalar_subquery()
    return select(literal(str(status)).label("status"), number.label("number"))


def _waiting(row: Row[*tuple[Any, ...]]) -> DashboardRefund:
    return DashboardRefund(
        order_id=row.order_id,
        refund_id=row.refund_id,
        amount=Money(row.amount, row.currency),
        state=RefundState(row.state),
        why=row.why,
        since=row.updated_at,
    )
