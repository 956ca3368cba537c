"""The shop's ledger of charges and refunds."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    ChargeEntry,
    ChargeState,
    NoSuchOrderError,
    RefusedError,
)
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.rows import CHARGES
from durable_orders.store.tables import given_back_by_hand, orders, payments, refunds

_CHARGE: Final = select(payments).where(
    payments.c.order_id == bindparam("order_id"), payments.c.attempt == bindparam("attempt")
)
_LOCK: Final = _CHARGE.with_for_update(key_share=True)
_OPEN: Final = (
    insert(payments)
    .on_conflict_do_nothing(index_elements=["order_id", "attempt"])
    .returning(payments.c.attempt)
)
# Parameters of an UPDATE may not have the names of its columns.
_CHANGE: Final = update(payments).where(
    payments.c.order_id == bindparam("of_order"), payments.c.attempt == bindparam("of_attempt")
)
_RECORD: Final = _CHANGE.values(
    state=bindparam("to"),
    captured=bindparam("captured_now"),
    refunded=bindparam("refunded_now"),
    decline_code=bindparam("code"),
    capture_before=bindparam("capture_until"),
    updated_at=func.now(),
)
_RAISE_REFUNDED: Final = _CHANGE.values(
    refunded=func.greatest(payments.c.refunded, bindparam("known")), updated_at=func.now()
)
_LOCK_ORDER: Final = (
    select(orders.c.charging_closed_at, orders.c.total, orders.c.currency)
    .where(orders.c.id == bindparam("order_id"))
    .with_for_update(key_share=True)
)
_CLOSE: Final = (
    update(orders)
    .where(orders.c.id == bindparam("order_id"))
    .values(charging_closed_at=func.coalesce(orders.c.charging_closed_at, func.now()))
    .returning(orders.c.id)
)
_NOTE_REFUND: Final = (
    insert(refunds)
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

    async def find(self, order_id: str, attempt: int) -> ChargeEntry | None:
        async with self._database.statement() as connection:
            this = {"order_id": order_id, "attempt": attempt}
            row = (await connection.execute(_CHARGE, this)).one_or_none()
        return None if row is None else _entry(row)

    async def open(self, order_id: str, attempt: int, payment_id: str, amount: Money) -> bool:
        """Store the provider's id before the charge is confirmed.

        False on a closed order even for an id stored before: the charge is being undone. Raises
        ``NoSuchOrderError``, and ``RefusedError`` for another id or amount for the same attempt,
        an amount that is not the order's total, or a second live charge.
        """
        async with self._database.transaction() as connection:
            found = await connection.execute(_LOCK_ORDER, {"order_id": order_id})
            order = found.one_or_none()
            if order is None:
                raise NoSuchOrderError(order_id)
            if order.charging_closed_at is not None:
                return False
            total = Money(order.total, order.currency)
            if amount != total:
                raise RefusedError(f"order {order_id} costs {total}: no charge of {amount}")
            entry = {
                "order_id": order_id,
                "attempt": attempt,
                "payment_id": payment_id,
                "amount": amount.amount,
                "currency": amount.currency,
                "state": ChargeState.OPEN,
            }
            is_new = await connection.scalar(_OPEN, entry)
            if is_new is None:
                stored = await _lock(connection, order_id, attempt)
                if stored.payment_id != payment_id:
                    raise RefusedError(
                        f"charge {attempt} of order {order_id} is {stored.payment_id}, "
                        f"not {payment_id}"
                    )
                return True
            opened = _line(order_id, attempt, payment_id, ChargeState.OPEN)
            await connection.execute(ADD_LINE, opened)
            return True

    async def record(self, order_id: str, attempt: int, charge: CardCharge) -> None:
        """Merge the provider's charge by the rule of ``BookedCharge.told``.

        Raises ``RefusedError`` when no charge, or another one, was opened for this attempt.
        """
        async with self._database.transaction() as connection:
            row = await _lock(connection, order_id, attempt)
            if row.payment_id != charge.payment_id:
                raise RefusedError(
                    f"charge {attempt} of order {order_id} is {row.payment_id}, "
                    f"not {charge.payment_id}"
                )
            known = BookedCharge(
                state=ChargeState(row.state),
                captured=Money(row.captured, row.currency),
                refunded=Money(row.refunded, row.currency),
                decline_code=row.decline_code,
                capture_before=row.capture_before,
            )
            booked = known.merge(charge)
            if booked == known:
                return
            now = {
                "to": booked.state,
                "captured_now": booked.captured.amount,
                "refunded_now": booked.refunded.amount,
                "code": booked.decline_code,
                "capture_until": booked.capture_before,
            }
            this = {"of_order": order_id, "of_attempt": attempt}
            await connection.execute(_RECORD, this | now)
            if booked.state is not known.state:
                change = (charge.payment_id, booked.state, booked.decline_code)
                await connection.execute(ADD_LINE, _line(order_id, attempt, *change))

    async def close(self, order_id: str) -> list[ChargeEntry]:
        """Close the order for charging. Raises ``NoSuchOrderError``."""
        async with self._database.transaction() as connection:
            await _close(connection, order_id)
            # A separate statement, begun once the lock is held: one that began before would not see
            # a charge that another transaction opened while this one waited for the lock.
            rows = await connection.execute(CHARGES, {"order_id": order_id})
            return [_entry(row) for row in rows]

    async def record_refund(self, order_id: str, attempt: int, refund: CardRefund) -> None:
        """Record the refund.

        Raises ``RefusedError`` for a charge that was never opened, for more than the ledger has as
        captured, and for a refund id that is recorded for another charge or amount.
        """
        async with self._database.transaction() as connection:
            payment = await _lock(connection, order_id, attempt)
            if refund.amount.currency != payment.currency:
                raise RefusedError(f"{payment.payment_id} was not charged in {refund.amount}")
            this = {"order_id": order_id, "attempt": attempt}
            noted = {"refund_id": refund.refund_id, "amount": refund.amount.amount}
            is_new = await connection.scalar(_NOTE_REFUND, this | noted)
            if is_new is None:
                await _check_same_refund(connection, order_id, attempt, refund)
                return
            # The provider's total (``record``) may include this refund already: so the amount is
            # not added, but the total raised to the sum of the refunds recorded one by one.
            known = await connection.scalar(_REFUNDED, this)
            await connection.execute(
                _RAISE_REFUNDED,
                {"of_order": order_id, "of_attempt": attempt, "known": int(known or 0)},
            )
            detail = {"refund_id": refund.refund_id, "amount": str(refund.amount)}
            refunded = line(order_id, "payment_refunded", {"attempt": str(attempt)} | detail)
            await connection.execute(ADD_LINE, refunded)

    async def record_manual_refund(self, given_back: ManualRefund) -> None:
        order_id, amount = given_back.order_id, given_back.amount
        values = {"amount": amount.amount, "said_by": given_back.by, "note": given_back.note}
        async with self._database.transaction() as connection:
            await _close(connection, order_id)
            await connection.execute(
                insert(given_back_by_hand)
                .values(order_id=order_id, **values)
                .on_conflict_do_update(index_elements=["order_id"], set_=values)
            )
            detail = {"amount": str(amount), "by": given_back.by, "note": given_back.note}
            await connection.execute(ADD_LINE, line(order_id, "given_back_by_hand", detail))


async def _close(connection: AsyncConnection, order_id: str) -> None:
    """Close the order for charging; its row stays locked until the transaction ends."""
    closed = await connection.scalar(_CLOSE, {"order_id": order_id})
    if closed is None:
        raise NoSuchOrderError(order_id)
    await connection.execute(ADD_LINE, line(order_id, "charging_closed"))


async def _lock(connection: AsyncConnection, order_id: str, attempt: int) -> Row[Any]:
    found = await connection.execute(_LOCK, {"order_id": order_id, "attempt": attempt})
    row = found.one_or_none()
    if row is None:
        raise RefusedError(f"charge {attempt} of order {order_id} was never opened")
    return row


async def _check_same_refund(
    connection: AsyncConnection, order_id: str, attempt: int, refund: CardRefund
) -> None:
    stored = (await connection.execute(_REFUND, {"refund_id": refund.refund_id})).one()
    if (stored.order_id, stored.attempt, stored.amount) != (
        order_id,
        attempt,
        refund.amount.amount,
    ):
        raise RefusedError(f"refund {refund.refund_id} is in the books with another meaning")


def _entry(row: Row[Any]) -> ChargeEntry:
    return ChargeEntry(
        order_id=row.order_id,
        attempt=row.attempt,
        payment_id=row.payment_id,
        amount=Money(row.amount, row.currency),
        state=ChargeState(row.state),
    )


def _line(
    order_id: str, attempt: int, payment_id: str, state: ChargeState, code: str = ""
) -> dict[str, Any]:
    detail = {"attempt": str(attempt), "payment_id": payment_id}
    if code:
        detail["code"] = code
    return line(order_id, f"payment_{state}", detail)
