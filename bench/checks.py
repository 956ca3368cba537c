"""Check the result of every order: a fast order that was charged twice is an error."""

from __future__ import annotations

from sqlalchemy import select

from bench.environment import BenchEnvironment
from durable_orders.domain.lifecycle import Status
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.tables import orders
from sandbox.books_client import BooksClient, OrderBooks


async def find_errors(environment: BenchEnvironment) -> list[str]:
    """All errors, a sentence each; empty if every order completed with its effects exactly once."""
    errors = await find_inconsistencies(environment.database)
    booked = await BooksClient(environment.stand_in_url).all()
    async with environment.database.statement() as connection:
        rows = (await connection.execute(select(orders.c.id, orders.c.status))).all()
    status_of = {row.id: Status(row.status) for row in rows}
    for order_id in environment.started:
        if (status := status_of[order_id]) is not Status.COMPLETED:
            errors.append(f"order {order_id} is {status}, not completed")
        books = booked.get(order_id)
        errors += _errors_of(books) if books else [f"nothing was done for order {order_id}"]
    return errors


def _errors_of(books: OrderBooks) -> list[str]:
    counted = {
        "live charges": len(books.live_payments),
        "parcels": len(books.parcels),
        "confirmations": len(books.mails_of("confirmation")),
    }
    return [
        f"order {books.order_id} has {number} {what}, not 1"
        for what, number in counted.items()
        if number != 1
    ]
