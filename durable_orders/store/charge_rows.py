"""Mapping between charges, with their tries, and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from sqlalchemy import bindparam, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardTry, ChargeEntry, ChargeState, TryRefusal
from durable_orders.store.decisions import DECISION_COLUMNS, undone
from durable_orders.store.tables import (
    disputes,
    fraud_warnings,
    orders,
    payment_tries,
    payments,
    reviews,
)

#: The columns of a try, beside those of a charge.
TRY: Final = tuple(
    payment_tries.c[name].label(f"try_{name}")
    for name in (
        "number",
        "payment_method",
        "charge_before",
        "key",
        "announced_at",
        "state",
        "decline_code",
        "refusal",
    )
)
#: Few charges are: the answer costs a look into three indexes, and no statement of its own.
IS_QUESTIONED: Final = or_(
    *(
        exists().where(table.c.order_id == payments.c.order_id)
        for table in (disputes, fraud_warnings, reviews)
    )
).label("is_questioned")
#: The charges of the orders that it is narrowed down to, oldest first: a row for each try.
CHARGES: Final = (
    select(payments, IS_QUESTIONED, *TRY, *DECISION_COLUMNS)
    .join_from(payments, orders)
    .join(payment_tries, payments.c.payment_id == payment_tries.c.payment_id, isouter=True)
    .order_by(payments.c.order_id, payments.c.attempt, payment_tries.c.number)
)
CHARGES_OF_ORDER: Final = CHARGES.where(payments.c.order_id == bindparam("order_id"))
_TRIES: Final = (
    select(*TRY)
    .where(payment_tries.c.payment_id == bindparam("payment_id"))
    .order_by(payment_tries.c.number)
)


async def read_charges(connection: AsyncConnection, order_id: str) -> list[ChargeEntry]:
    """All charges of an order, oldest first. Since migration 0011 there is one at most."""
    rows = await connection.execute(CHARGES_OF_ORDER, {"order_id": order_id})
    return [charge_entry(row, tries) for row, tries in with_tries(rows)]


async def read_tries(connection: AsyncConnection, payment_id: str) -> list[CardTry]:
    """The tries of a charge, oldest first."""
    rows = await connection.execute(_TRIES, {"payment_id": payment_id})
    return [card_try_of(row) for row in rows]


def with_tries(rows: Iterable[Any]) -> list[tuple[Any, tuple[CardTry, ...]]]:
    """Each charge in rows of ``CHARGES``, with its tries."""
    charges = (list(group) for _, group in groupby(rows, key=lambda row: row.payment_id))
    return [
        (charge[0], tuple(card_try_of(row) for row in charge if row.try_number is not None))
        for charge in charges
    ]


def charge_entry(row: Any, tries: tuple[CardTry, ...]) -> ChargeEntry:
    """The entry of a charge in a row of ``payments``."""
    return ChargeEntry(
        order_id=row.order_id,
        payment_id=row.payment_id,
        amount=Money(row.amount, row.currency),
        state=ChargeState(row.state),
        revision=row.revision,
        tries=tries,
        is_questioned=row.is_questioned,
        order_status=Status(row.order_status),
        undone=undone(row),
        booked=booked_charge(row),
    )


def booked_charge(row: Any) -> BookedCharge:
    """The record of a charge in a row of ``payments``."""
    return BookedCharge(
        state=ChargeState(row.state),
        captured=Money(row.captured, row.currency),
        refunded=Money(row.refunded, row.currency),
        decline_code=row.decline_code,
        capture_before=row.capture_before,
        latest_charge=row.latest_charge,
    )


def card_try_of(row: Any) -> CardTry:
    """The try in a row with the columns ``TRY``."""
    return CardTry(
        number=row.try_number,
        payment_method=row.try_payment_method,
        charge_before=row.try_charge_before,
        key=row.try_key,
        announced_at=row.try_announced_at,
        state=ChargeState(row.try_state),
        decline_code=row.try_decline_code,
        refusal=None if row.try_refusal is None else TryRefusal(row.try_refusal),
    )
