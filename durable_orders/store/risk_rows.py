"""Mapping between disputes, early fraud warnings and reviews, and their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.money import Money
from durable_orders.domain.ports import ChargeState
from durable_orders.store.tables import disputes, fraud_warnings, payments, reviews

_PAYMENT: Final = (
    select(payments.c.payment_id)
    .where(payments.c.order_id == bindparam("order_id"))
    # Of before migration 0011: an order had a charge for each card, one of which was paid.
    .order_by(
        case((payments.c.state == ChargeState.CAPTURED, 0), else_=1), payments.c.attempt.desc()
    )
    .limit(1)
)
_DISPUTES: Final = (
    select(disputes)
    .where(disputes.c.order_id == bindparam("order_id"))
    .order_by(disputes.c.opened_at, disputes.c.dispute_id)
)
_WARNINGS: Final = (
    select(fraud_warnings)
    .where(fraud_warnings.c.order_id == bindparam("order_id"))
    .order_by(fraud_warnings.c.opened_at, fraud_warnings.c.warning_id)
)
_REVIEWS: Final = (
    select(reviews)
    .where(reviews.c.order_id == bindparam("order_id"))
    .order_by(reviews.c.opened_at, reviews.c.review_id)
)
#: A dispute may take more than the payment was, when the rate of its currency has changed: that is
#: no more of the payment.
WITHDRAWN: Final = func.sum(func.least(disputes.c.withdrawn, payments.c.captured))
_WITHDRAWN: Final = (
    select(func.coalesce(WITHDRAWN, 0))
    .join_from(disputes, payments, disputes.c.payment_id == payments.c.payment_id)
    .where(disputes.c.order_id == bindparam("order_id"))
)


async def read_risks(connection: AsyncConnection, order_id: str) -> PaymentRisks | None:
    """All disputes, warnings and reviews of an order; None when it has no charge."""
    this = {"order_id": order_id}
    payment_id = await connection.scalar(_PAYMENT, this)
    if payment_id is None:
        return None
    of_disputes = (await connection.execute(_DISPUTES, this)).all()
    of_warnings = (await connection.execute(_WARNINGS, this)).all()
    of_reviews = (await connection.execute(_REVIEWS, this)).all()
    rows = [*of_disputes, *of_warnings, *of_reviews]
    return PaymentRisks(
        payment_id=payment_id,
        disputes=tuple(map(dispute, of_disputes)),
        warnings=tuple(map(fraud_warning, of_warnings)),
        reviews=tuple(map(review, of_reviews)),
        revision=sum(row.revision for row in rows),
    )


async def withdrawn_of(connection: AsyncConnection, order_id: str) -> int:
    """What disputes have taken of the order's money and not put back, in minor units."""
    return int(await connection.scalar(_WITHDRAWN, {"order_id": order_id}) or 0)


def dispute(row: Row[Any]) -> Dispute:
    """The dispute in a row of ``disputes``."""
    return Dispute(
        dispute_id=row.dispute_id,
        payment_id=row.payment_id,
        amount=Money(row.amount, row.currency),
        withdrawn=Money(row.withdrawn, row.currency),
        fee=Money(row.fee, row.fee_currency),
        reason=row.reason,
        status=DisputeStatus(row.status),
        opened_at=row.opened_at,
        due_by=row.due_by,
        submissions=row.submissions,
        acknowledged_by=row.acknowledged_by,
    )


def dispute_values(one: Dispute, now: datetime) -> dict[str, Any]:
    """What changes of a dispute's row."""
    return {
        "amount": one.amount.amount,
        "currency": one.amount.currency,
        "withdrawn": one.withdrawn.amount,
        "fee": one.fee.amount,
        "fee_currency": one.fee.currency,
        "reason": one.reason,
        "status": one.status,
        "due_by": one.due_by,
        "submissions": one.submissions,
        "acknowledged_by": one.acknowledged_by,
        "opened_at": one.opened_at,
        "updated_at": now,
        "closed_at": None if one.is_open else now,
    }


def fraud_warning(row: Row[Any]) -> FraudWarning:
    """The warning in a row of ``fraud_warnings``."""
    return FraudWarning(
        warning_id=row.warning_id,
        payment_id=row.payment_id,
        fraud_type=row.fraud_type,
        is_actionable=row.is_actionable,
        opened_at=row.opened_at,
        acknowledged_by=row.acknowledged_by,
    )


def warning_values(one: FraudWarning, now: datetime) -> dict[str, Any]:
    """What changes of a warning's row."""
    return {
        "fraud_type": one.fraud_type,
        "is_actionable": one.is_actionable,
        "acknowledged_by": one.acknowledged_by,
        "opened_at": one.opened_at,
        "updated_at": now,
    }


def review(row: Row[Any]) -> Review:
    """The review in a row of ``reviews``."""
    return Review(
        review_id=row.review_id,
        payment_id=row.payment_id,
        opened_reason=row.opened_reason,
        is_open=row.is_open,
        opened_at=row.opened_at,
        closed_reason=row.closed_reason,
        acknowledged_by=row.acknowledged_by,
    )


def review_values(one: Review, now: datetime) -> dict[str, Any]:
    """What changes of a review's row."""
    return {
        "opened_reason": one.opened_reason,
        "is_open": one.is_open,
        "closed_reason": one.closed_reason,
        "acknowledged_by": one.acknowledged_by,
        "opened_at": one.opened_at,
        "updated_at": now,
    }
