"""Check the result of every order: a fast order that was charged twice is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import select

from durable_orders.domain.lifecycle import Status
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.database import Database
from durable_orders.store.tables import orders
from sandbox.books_client import BooksClient, OrderBooks

_CANCELLED = frozenset({Status.CANCELLED, Status.REFUNDED})


async def find_errors(
    database: Database,
    stand_in_url: str,
    started: Iterable[str],
    cancelled: Collection[str] = frozenset(),
) -> list[str]:
    """All errors, a sentence each; empty if every order that was started completed with its effects
    exactly once, and every one of the ``cancelled`` ended without any.
    """
    errors = await find_inconsistencies(database)
    booked = await BooksClient(stand_in_url).all()
    async with database.statement() as connection:
        rows = (await connection.execute(select(orders.c.id, orders.c.status))).all()
    status_of = {row.id: Status(row.status) for row in rows}
    errors += [
        f"order {order_id} is {status_of[order_id]}, not completed"
        for order_id in started
        if status_of[order_id] is not Status.COMPLETED
    ]
    errors += [
        f"order {order_id} is {status_of[order_id]}, not cancelled"
        for order_id in cancelled
        if status_of[order_id] not in _CANCELLED
    ]
    return errors + effect_errors(booked, started) + effect_errors(booked, cancelled, wanted=0)


def effect_errors(
    booked: Mapping[str, OrderBooks], order_ids: Iterable[str], *, wanted: int = 1
) -> list[str]:
    """Errors in the books of these orders: so many charges, parcels and confirmations of each are
    ``wanted``.
    """
    errors = []
    for order_id in order_ids:
        books = booked.get(order_id)
        if books is not None:
            errors += _errors_of(books, wanted)
        elif wanted:
            errors.append(f"nothing was done for order {order_id}")
    return errors


def _errors_of(books: OrderBooks, wanted: int) -> list[str]:
    counted = {
        "live charges": len(books.live_payments),
        "parcels": len(books.parcels),
        "confirmations": len(books.mails_of("confirmation")),
    }
    return [
        f"order {books.order_id} has {number} {what}, not {wanted}"
        for what, number in counted.items()
        if number != wanted
    ]
