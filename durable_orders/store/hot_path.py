"""The hot path: what every order needs of the database, each in one round trip.

What changes something does the *ordinary* case, all of it, and else nothing: the rules stand in the
general code, to which the repositories then turn. All that makes a case ordinary is a condition of
the function in the database (migration 0022), under the locks that the general code takes: nobody
has decided anything of the order, it is open for charging, its status and its stock are those that
come before, and its charge is as it was read. Which status may follow which is said by the domain
and passed along. Each is safe to repeat: what was done before is not ordinary any more.

Statements go past SQLAlchemy, which takes longer to execute one than PostgreSQL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import ClauseElement, Text, and_, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg

from durable_orders.domain.activity_messages import OrderSummary
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.lifecycle import FOLLOWS, Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import (
    CardCharge,
    CardTry,
    ChargeEntry,
    ChargeState,
    NoSuchOrderError,
    RefusedError,
)
from durable_orders.store.charge_changes import change_of, said_of_charge
from durable_orders.store.charge_rows import (
    CHARGES_OF_ORDER,
    IS_QUESTIONED,
    TRY,
    card_try_of,
    charge_entry,
    with_tries,
)
from durable_orders.store.database import Database, Record
from durable_orders.store.installation import IS_OURS
from durable_orders.store.rows import (
    ORDER,
    ORDER_AND_MAIL,
    SUMMARY,
    check_ours,
    order_of,
    summary_of,
)
from durable_orders.store.tables import orders, payment_tries, payments

_DIALECT: Final[Any] = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own gap


class Query:
    """A statement of SQLAlchemy's, compiled once, for ``Database.fetch``."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._names: Sequence[str] = compiled.positiontup
        self._constants: Mapping[str, object] = compiled.params

    async def fetch(self, database: Database, **parameters: object) -> list[Record]:
        """Run it. Raises as ``Database.fetch`` does."""
        given = {**self._constants, **parameters}
        return await database.fetch(self._sql, *(given[name] for name in self._names))


def _before(status: Status) -> list[str]:
    """The statuses that ``status`` may follow on."""
    return sorted(known for known, after in FOLLOWS.items() if status in after)


#: Statuses of an order that no run has carried further.
_BEGINS_AS: Final = sorted((Status.PLACED, Status.AWAITING_APPROVAL))
_FROM: Final[Mapping[Status, list[str]]] = {status: _before(status) for status in Status}

#: Statuses of an order that is not paid, nor over.
_UNPAID: Final = _before(Status.HELD)
_NEWEST: Final = payments.alias("newest")
#: A row for each pair of a line of the order and a try of its newest charge.
_ORDER_AND_CHARGE: Final = Query(
    ORDER.join(
        payments,
        and_(
            payments.c.order_id == orders.c.id,
            payments.c.attempt
            == select(func.max(_NEWEST.c.attempt))
            .where(_NEWEST.c.order_id == orders.c.id)
            .scalar_subquery(),
        ),
        isouter=True,
    )
    .join(payment_tries, payment_tries.c.payment_id == payments.c.payment_id, isouter=True)
    .add_columns(
        *(column.label(f"charge_{column.name}") for column in payments.c),
        IS_QUESTIONED.label("charge_is_questioned"),
        *TRY,
    )
    .order_by(payment_tries.c.number)
)
_ORDER: Final = Query(ORDER)
_ORDER_AND_MAIL: Final = Query(ORDER_AND_MAIL)
_SUMMARY: Final = Query(SUMMARY)
_CHARGE: Final = Query(CHARGES_OF_ORDER)
_BEGIN: Final = Query(
    SUMMARY.add_columns(
        case(
            (
                IS_OURS,
                func.reserve_if_ordinary(
                    orders.c.id,
                    bindparam("run", type_=Text),
                    bindparam("begins_as", type_=ARRAY(Text)),
                ),
            ),
            else_=False,
        ).label("is_reserved")
    )
)
_COMMIT: Final = "SELECT commit_if_ordinary($1, $2, $3, $4) AS is_done"
_ANNOUNCE: Final = (
    "SELECT * FROM announce_if_ordinary($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
)
_RECORD: Final = (
    "SELECT record_if_ordinary($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
    " $16, $17, $18) AS is_done"
)
#: One statement does all of this, in every case: what it inserts is there already or is not.
_NAME_PARCELS: Final = """
WITH fulfilment AS (
    UPDATE orders SET fulfillment_id = coalesce(fulfillment_id, $2) WHERE id = $1
    RETURNING fulfillment_id
), named AS (
    SELECT parcel.id, parcel.number
    FROM fulfilment, unnest($3::text[]) WITH ORDINALITY AS parcel (id, number)
    WHERE fulfillment_id = $2
), recorded AS (
    INSERT INTO parcels (order_id, parcel_id) SELECT $1, id FROM named ORDER BY number
    ON CONFLICT (order_id, parcel_id) DO NOTHING
), said AS (
    INSERT INTO order_history (order_id, event, detail)
    SELECT $1, 'parcel_named', jsonb_build_object('fulfillment_id', $2::text, 'parcel_id', id)
    FROM named ORDER BY number
    ON CONFLICT DO NOTHING
)
SELECT fulfillment_id FROM fulfilment
"""
_NOTE: Final = """
WITH noted AS (
    SELECT id FROM orders WHERE id = $1
), said AS (
    INSERT INTO order_history (order_id, event, detail, at)
    SELECT id, $2, $3::jsonb, $4 FROM noted
    ON CONFLICT DO NOTHING
)
SELECT id FROM noted
"""


async def find_order(database: Database, order_id: str) -> Order:
    """The order. Raises ``NoSuchOrderError`` and ``ForeignOrderError``."""
    return order_of(_ours(order_id, await _ORDER.fetch(database, order_id=order_id)))


async def find_order_for_mail(
    database: Database, order_id: str, event: str, detail: Mapping[str, str]
) -> tuple[Order, str | None]:
    """The order, and the mail that its history says was sent. Raises as ``find_order`` does."""
    rows = await _ORDER_AND_MAIL.fetch(
        database, order_id=order_id, event=event, detail=json.dumps(detail)
    )
    return order_of(_ours(order_id, rows)), rows[0].mail_id


async def find_order_for_charge(
    database: Database, order_id: str
) -> tuple[Order, ChargeEntry | None]:
    """The order and its newest charge. Raises as ``find_order`` does."""
    rows = _ours(order_id, await _ORDER_AND_CHARGE.fetch(database, order_id=order_id))
    first = rows[0]
    # Each line is there once for each try, and each try once for each line.
    order = order_of([row for row in rows if row.try_number == first.try_number])
    if first.charge_payment_id is None:
        return order, None
    charge = {
        name.removeprefix("charge_"): value
        for name, value in first.items()
        if name.startswith("charge_")
    }
    of_order = {
        name: first[name] for name in ("order_status", "decision", "reason", "reason_message")
    }
    tries = tuple(
        card_try_of(row)
        for row in rows
        if row.line_sku == first.line_sku and row.try_number is not None
    )
    return order, charge_entry(SimpleNamespace(**charge, **of_order), tries)


async def find_summary(database: Database, order_id: str) -> OrderSummary:
    """The order without personal data. Raises as ``find_order`` does."""
    return summary_of(_ours(order_id, await _SUMMARY.fetch(database, order_id=order_id))[0])


async def find_charge(database: Database, order_id: str) -> ChargeEntry | None:
    """The order's newest charge."""
    charges = with_tries(await _CHARGE.fetch(database, order_id=order_id))
    return charge_entry(*charges[-1]) if charges else None


async def begin(database: Database, order_id: str, run_id: str) -> tuple[OrderSummary, bool]:
    """The order as it was found, and whether its stock was reserved. Raises as ``find_order``."""
    found = await _BEGIN.fetch(database, order_id=order_id, run=run_id, begins_as=_BEGINS_AS)
    row = _ours(order_id, found)[0]
    return summary_of(row), row.is_reserved


async def commit(database: Database, order_id: str, ends_as: Status | None) -> bool:
    """Take the order's reserved stock for good, fulfil it, and end it as ``ends_as``."""
    before = _FROM[Status.FULFILLED]
    [row] = await database.fetch(_COMMIT, order_id, before, Status.FULFILLED, ends_as)
    return bool(row.is_done)


async def announce(
    database: Database, order_id: str, payment_id: str, amount: Money, card_try: CardTry
) -> ChargeEntry | None:
    """Store the order's charge, with its first try; the entry of the two, None when that was not
    done. Raises ``RefusedError`` for a charge, or a key, of another order.
    """
    state, number = card_try.state, card_try.number
    said = said_of_charge(payment_id, state, number=number)
    rows = await database.fetch(
        _ANNOUNCE,
        *(order_id, payment_id, amount.amount, amount.currency, _UNPAID),
        *(number, card_try.payment_method, card_try.charge_before, card_try.key, state),
        *(said.event, json.dumps(said.detail)),
    )
    if not rows:
        return None
    nothing = Money(0, amount.currency)
    return ChargeEntry(
        order_id,
        payment_id,
        amount,
        ChargeState.OPEN,
        tries=(replace(card_try, announced_at=rows[0].announced),),
        order_status=Status(rows[0].order_is),
        booked=BookedCharge(ChargeState.OPEN, nothing, nothing),
    )


async def record(
    database: Database,
    entry: ChargeEntry,
    charge: CardCharge,
    answers: int | None,
    leads_to: Status | None,
) -> bool:
    """Record what the provider says of a charge that is as it was when ``entry`` was read, and move
    its order on.
    """
    if entry.booked is None:
        return False
    change = change_of(entry.booked, entry.tries, charge, answers=answers, fresh=True)
    if change is None:
        return False
    booked, before, after, said = change.booked, change.try_before, change.try_after, change.said
    [row] = await database.fetch(
        _RECORD,
        *(entry.order_id, entry.payment_id, entry.revision, entry.booked.refunded.amount),
        *(booked.state, booked.captured.amount, booked.refunded.amount, booked.decline_code),
        *(booked.capture_before, booked.latest_charge),
        *((after.number, before.state) if after and before else (None, None)),
        *((after.state, after.decline_code) if after else (None, None)),
        *((said.event, json.dumps(said.detail)) if said else (None, None)),
        *(leads_to, [] if leads_to is None else _FROM[leads_to]),
    )
    return bool(row.is_done)


async def name_parcels(
    database: Database, order_id: str, fulfillment_id: str, parcel_ids: Sequence[str]
) -> None:
    """Record the parcels of the fulfilment, in every case.

    Raises ``NoSuchOrderError``, and ``RefusedError`` for a second fulfilment of the order or a
    parcel of another order.
    """
    rows = await database.fetch(_NAME_PARCELS, order_id, fulfillment_id, list(parcel_ids))
    if not rows:
        raise NoSuchOrderError(order_id)
    if rows[0].fulfillment_id != fulfillment_id:
        raise RefusedError(f"order {order_id} is fulfilled as {rows[0].fulfillment_id}")


async def note(
    database: Database, order_id: str, event: str, detail: Mapping[str, str], at: datetime
) -> None:
    """Add a line to the order's history, in every case. Raises ``NoSuchOrderError``."""
    if not await database.fetch(_NOTE, order_id, event, json.dumps(detail), at):
        raise NoSuchOrderError(order_id)


def _ours(order_id: str, rows: list[Record]) -> list[Record]:
    if not rows:
        raise NoSuchOrderError(order_id)
    check_ours(rows[0])
    return rows
