"""The shop's ledger of charges, their tries, and refunds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row, bindparam, case, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.charges import LIVE_TRY, TRY_OVER, BookedCharge
from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Decision, Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    CardTry,
    ChargeEntry,
    ChargeState,
    IllegalStatusError,
    NoSuchOrderError,
    RefusedError,
    TryRefusal,
)
from durable_orders.store import hot_path, statuses
from durable_orders.store.charge_changes import Said, change_of, said_of_charge
from durable_orders.store.charge_rows import booked_charge, read_charges, read_tries
from durable_orders.store.database import Database
from durable_orders.store.decisions import DECISION_COLUMNS, decision_of, undone
from durable_orders.store.history import ADD_LINE, WITH_LINE, line
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import given_back_by_hand, orders, payment_tries, payments, refunds

# Parameters of an INSERT or UPDATE may not have the names of its columns.
_OF_CHARGE: Final = (
    payments.c.order_id == bindparam("of_order"),
    payments.c.payment_id == bindparam("of_payment"),
)
_OF_TRY: Final = (
    payment_tries.c.order_id == bindparam("of_order"),
    payment_tries.c.number == bindparam("of_number"),
)
_ORDER_OF: Final = (
    select(payments.c.order_id)
    .join_from(payments, orders)
    .where(payments.c.payment_id == bindparam("payment_id"), IS_OURS)
)
_LOCK: Final = select(payments).where(*_OF_CHARGE).with_for_update(key_share=True)
_LOCK_ORDER: Final = (
    select(*DECISION_COLUMNS, orders.c.charging_closed_at, orders.c.total, orders.c.currency)
    .where(orders.c.id == bindparam("order_id"))
    .with_for_update(key_share=True)
)
_ANNOUNCE: Final = (
    insert(payment_tries)
    .values(
        order_id=bindparam("of_order"),
        payment_id=bindparam("of_payment"),
        number=bindparam("of_number"),
        payment_method=bindparam("method"),
        charge_before=bindparam("before"),
        key=bindparam("of_provider"),
        state=bindparam("begins_as"),
    )
    .returning(payment_tries.c.announced_at)
    .add_cte(WITH_LINE)
)
#: The first try, with the charge itself: foreign keys are checked when a statement has ended.
_ANNOUNCE_FIRST: Final = _ANNOUNCE.add_cte(
    insert(payments)
    .values(
        order_id=bindparam("of_order"),
        payment_id=bindparam("of_payment"),
        amount=bindparam("to_take"),
        currency=bindparam("of_currency"),
        state=ChargeState.OPEN,
    )
    .cte("charge")
)
_ANNOUNCE_NEXT: Final = _ANNOUNCE.add_cte(
    update(payments).where(*_OF_CHARGE).values(revision=payments.c.revision + 1).cte("charge")
)
_RECORD: Final = (
    update(payments)
    .where(*_OF_CHARGE)
    .values(
        state=bindparam("to"),
        captured=bindparam("captured_now"),
        refunded=bindparam("refunded_now"),
        decline_code=bindparam("code"),
        capture_before=bindparam("capture_until"),
        latest_charge=bindparam("newest"),
        revision=payments.c.revision + 1,
        updated_at=func.now(),
    )
)
_MOVE_TRY: Final = (
    update(payment_tries)
    .where(*_OF_TRY)
    .values(state=bindparam("try_to"), decline_code=bindparam("try_code"), updated_at=func.now())
)
_RECORD_LINE: Final = _RECORD.add_cte(WITH_LINE)
_RECORD_TRY: Final = _RECORD_LINE.add_cte(_MOVE_TRY.cte("card_try"))
_END_TRY: Final = (
    _MOVE_TRY.where(payment_tries.c.state.not_in(sorted(TRY_OVER)))
    .values(refusal=bindparam("refused"))
    .returning(payment_tries.c.payment_id)
)
_RAISE_REFUNDED: Final = (
    update(payments)
    .where(*_OF_CHARGE)
    .values(refunded=func.greatest(payments.c.refunded, bindparam("known")), updated_at=func.now())
)
_BY_HAND: Final = (
    select(given_back_by_hand.c.amount, orders.c.currency)
    .join_from(given_back_by_hand, orders)
    .where(given_back_by_hand.c.order_id == bindparam("order_id"))
)
_CLOSE: Final = (
    update(orders)
    .where(orders.c.id == bindparam("order_id"))
    .values(
        charging_closed_at=func.coalesce(orders.c.charging_closed_at, func.now()),
        # A kept order may have money given back by hand: it stays kept.
        decision=case(
            (orders.c.status.in_(sorted(FULFILLED_OR_LATER)), orders.c.decision),
            else_=func.coalesce(orders.c.decision, Decision.UNDO.value),
        ),
    )
    .returning(*DECISION_COLUMNS)
)
_NOTE_REFUND: Final = (
    postgresql.insert(refunds)
    .on_conflict_do_nothing(index_elements=["refund_id"])
    .returning(refunds.c.refund_id)
)
_REFUND: Final = select(refunds).where(refunds.c.refund_id == bindparam("refund_id"))
_REFUNDED: Final = select(func.sum(refunds.c.amount)).where(
    refunds.c.order_id == bindparam("order_id"), refunds.c.attempt == bindparam("attempt")
)


class PostgresPaymentLedger:
    """``PaymentLedger`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, order_id: str) -> ChargeEntry | None:
        return await hot_path.find_charge(self._database, order_id)

    async def find_order(self, payment_id: str) -> str | None:
        """Find the order that is paid with this payment; None when none of this installation is."""
        async with self._database.statement() as connection:
            found = await connection.scalar(_ORDER_OF, {"payment_id": payment_id})
        return None if found is None else str(found)

    async def announce(
        self, order_id: str, payment_id: str, amount: Money, card_try: CardTry
    ) -> ChargeEntry | None:
        """Announce a try before it is confirmed.

        None on a closed order even for a try announced before: the charge is being undone. Raises
        ``NoSuchOrderError`` and ``RefusedError``, also for an amount that is not the order's total.
        """
        first = await hot_path.announce(self._database, order_id, payment_id, amount, card_try)
        if first is not None:
            return first
        number = card_try.number
        async with self._database.transaction() as connection:
            found = await connection.execute(_LOCK_ORDER, {"order_id": order_id})
            order = found.one_or_none()
            if order is None:
                raise NoSuchOrderError(order_id)
            if order.charging_closed_at is not None or undone(order) is not None:
                return None
            total = Money(order.total, order.currency)
            if amount != total:
                raise RefusedError(f"order {order_id} costs {total}: no charge of {amount}")
            # A statement of its own, begun once the lock is held: it sees what the transaction that
            # held it before has announced.
            entry = await _find(connection, order_id)
            if entry is not None:
                if entry.payment_id != payment_id:
                    raise RefusedError(
                        f"order {order_id} is charged as {entry.payment_id}, not as {payment_id}"
                    )
                if entry.find_try(number) is not None:
                    return entry
                _check_follows(entry, number)
            values = {
                **_this(order_id, payment_id),
                "of_number": number,
                "method": card_try.payment_method,
                "before": card_try.charge_before,
                "of_provider": card_try.key,
                "begins_as": card_try.state,
                **_line(order_id, said_of_charge(payment_id, card_try.state, number=number)),
            }
            if entry is None:
                nothing = Money(0, amount.currency)
                to_take = {"to_take": amount.amount, "of_currency": amount.currency}
                announced_at = await connection.scalar(_ANNOUNCE_FIRST, values | to_take)
                entry = ChargeEntry(
                    order_id,
                    payment_id,
                    amount,
                    ChargeState.OPEN,
                    revision=-1,
                    order_status=Status(order.order_status),
                    booked=BookedCharge(ChargeState.OPEN, nothing, nothing),
                )
            else:
                announced_at = await connection.scalar(_ANNOUNCE_NEXT, values)
            announced = replace(card_try, announced_at=announced_at)
            return replace(entry, revision=entry.revision + 1, tries=(*entry.tries, announced))

    async def record(
        self,
        entry: ChargeEntry,
        charge: CardCharge,
        *,
        answers: int | None = None,
        leads_to: Status | None = None,
    ) -> bool:
        """Merge the provider's charge by the rules of ``durable_orders.domain.charges``.

        Raises ``RefusedError`` when it is another charge than the entry's; and as
        ``OrderRepository.move`` does, then the charge is recorded all the same.
        """
        order_id, payment_id = entry.order_id, entry.payment_id
        if charge.payment_id != payment_id:
            raise RefusedError(
                f"order {order_id} is charged as {payment_id}, not as {charge.payment_id}"
            )
        if await hot_path.record(self._database, entry, charge, answers, leads_to):
            return True
        is_newest = await self._merge(entry, charge, answers)
        if leads_to is not None:
            async with self._database.transaction() as connection:
                known = await statuses.lock(connection, order_id)
                await statuses.move(connection, order_id, known, leads_to)
        return is_newest

    async def _merge(self, entry: ChargeEntry, charge: CardCharge, answers: int | None) -> bool:
        order_id, payment_id = entry.order_id, entry.payment_id
        async with self._database.transaction() as connection:
            row = await _lock(connection, order_id, payment_id)
            tries = await read_tries(connection, payment_id)
            fresh: bool = row.revision == entry.revision
            change = change_of(booked_charge(row), tries, charge, answers=answers, fresh=fresh)
            if change is None:
                return fresh
            booked, card_try = change.booked, change.try_after
            values: dict[str, Any] = {
                **_this(order_id, payment_id),
                "to": booked.state,
                "captured_now": booked.captured.amount,
                "refunded_now": booked.refunded.amount,
                "code": booked.decline_code,
                "capture_until": booked.capture_before,
                "newest": booked.latest_charge,
            }
            if change.said is None:
                await connection.execute(_RECORD, values)
                return fresh
            values |= _line(order_id, change.said)
            if card_try is None:
                await connection.execute(_RECORD_LINE, values)
                return fresh
            to = {"try_to": card_try.state, "try_code": card_try.decline_code}
            await connection.execute(_RECORD_TRY, values | to | {"of_number": card_try.number})
            return fresh

    async def end_try(
        self,
        order_id: str,
        number: int,
        state: ChargeState,
        decline_code: str = "",
        refusal: TryRefusal | None = None,
    ) -> None:
        this = {"of_order": order_id, "of_number": number}
        end = {"try_to": state, "try_code": decline_code, "refused": refusal}
        async with self._database.transaction() as connection:
            payment_id = await connection.scalar(_END_TRY, this | end)
            if payment_id is not None:
                ended = said_of_charge(payment_id, refusal or state, decline_code, number=number)
                await connection.execute(ADD_LINE, _line(order_id, ended))

    async def close(self, order_id: str) -> list[ChargeEntry]:
        """Close the order for charging. Raises ``NoSuchOrderError``."""
        async with self._database.transaction() as connection:
            if await _close(connection, order_id) is Decision.KEEP:
                raise IllegalStatusError(f"order {order_id} is kept: its charge is not undone")
            # A separate statement, begun once the lock is held: one that began before would not see
            # a try that another transaction announced while this one waited for the lock.
            return await read_charges(connection, order_id)

    async def record_refund(self, order_id: str, payment_id: str, refund: CardRefund) -> None:
        """Record the refund.

        Raises ``RefusedError`` for another charge than the order's, for more than the ledger has as
        captured, and for a refund id that is recorded for another charge or amount.
        """
        async with self._database.transaction() as connection:
            payment = await _lock(connection, order_id, payment_id)
            if refund.amount.currency != payment.currency:
                raise RefusedError(f"{payment_id} was not charged in {refund.amount}")
            this = {"order_id": order_id, "attempt": payment.attempt}
            noted = {"refund_id": refund.refund_id, "amount": refund.amount.amount}
            is_new = await connection.scalar(_NOTE_REFUND, this | noted)
            if is_new is None:
                await _check_same_refund(connection, payment, refund)
                return
            # The provider's total (``record``) may include this refund already: so the amount is
            # not added, but the total raised to the sum of the refunds recorded one by one.
            known = await connection.scalar(_REFUNDED, this)
            await connection.execute(
                _RAISE_REFUNDED, {**_this(order_id, payment_id), "known": int(known or 0)}
            )
            detail = {
                "payment_id": payment_id,
                "refund_id": refund.refund_id,
                "amount": str(refund.amount),
            }
            await connection.execute(ADD_LINE, line(order_id, "payment_refunded", detail))

    async def find_manual_refund(self, order_id: str) -> Money | None:
        async with self._database.statement() as connection:
            found = await connection.execute(_BY_HAND, {"order_id": order_id})
        row = found.one_or_none()
        return None if row is None else Money(row.amount, row.currency)

    async def record_manual_refund(self, given_back: ManualRefund) -> None:
        order_id, amount = given_back.order_id, given_back.amount
        values = {"amount": amount.amount, "said_by": given_back.by, "note": given_back.note}
        async with self._database.transaction() as connection:
            await _close(connection, order_id)
            await connection.execute(
                postgresql.insert(given_back_by_hand)
                .values(order_id=order_id, **values)
                .on_conflict_do_update(index_elements=["order_id"], set_=values)
            )
            detail = {"amount": str(amount), "by": given_back.by, "note": given_back.note}
            await connection.execute(ADD_LINE, line(order_id, "given_back_by_hand", detail))


async def _find(connection: AsyncConnection, order_id: str) -> ChargeEntry | None:
    """The order's newest charge."""
    charges = await read_charges(connection, order_id)
    return charges[-1] if charges else None


def _check_follows(entry: ChargeEntry, number: int) -> None:
    """Refuse a try of a worker that was cut off long ago, and one beside a try that is not over."""
    for card_try in entry.tries:
        if card_try.number > number:
            raise RefusedError(
                f"order {entry.order_id} had its try {card_try.number}: no try {number} after it"
            )
        if card_try.state in LIVE_TRY:
            raise RefusedError(
                f"try {card_try.number} of order {entry.order_id} is {card_try.state}: "
                f"no try {number} beside it"
            )


async def _close(connection: AsyncConnection, order_id: str) -> Decision | None:
    """Close the order for charging, and return what was decided of it; its row stays locked until
    the transaction ends.
    """
    closed = (await connection.execute(_CLOSE, {"order_id": order_id})).one_or_none()
    if closed is None:
        raise NoSuchOrderError(order_id)
    await connection.execute(ADD_LINE, line(order_id, "charging_closed"))
    return decision_of(closed)


async def _lock(connection: AsyncConnection, order_id: str, payment_id: str) -> Row[Any]:
    found = await connection.execute(_LOCK, _this(order_id, payment_id))
    row = found.one_or_none()
    if row is None:
        raise RefusedError(f"order {order_id} is not charged as {payment_id}")
    return row


async def _check_same_refund(
    connection: AsyncConnection, payment: Row[Any], refund: CardRefund
) -> None:
    stored = (await connection.execute(_REFUND, {"refund_id": refund.refund_id})).one()
    if (stored.order_id, stored.attempt, stored.amount) != (
        payment.order_id,
        payment.attempt,
        refund.amount.amount,
    ):
        raise RefusedError(f"refund {refund.refund_id} is in the books with another meaning")


def _this(order_id: str, payment_id: str) -> dict[str, Any]:
    return {"of_order": order_id, "of_payment": payment_id}


def _line(order_id: str, said: Said) -> dict[str, Any]:
    return line(order_id, said.event, said.detail)
