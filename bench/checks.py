"""A quick order that was charged twice is no result: what became of every order is added up."""

from __future__ import annotations

from sqlalchemy import select

from bench.environment import Stage
from orders.lifecycle import Status
from sandbox.books_client import BooksClient, OrderBooks
from store.check import faults
from store.tables import orders


async def wrongs(stage: Stage) -> list[str]:
    """A sentence for everything that is not as it should be; empty when all is well."""
    found = await faults(stage.database)
    pages = await BooksClient(stage.stand_in_url).all()
    async with stage.database.statement() as connection:
        rows = (await connection.execute(select(orders.c.id, orders.c.status))).all()
    status_of = {row.id: Status(row.status) for row in rows}
    for order_id in stage.started:
        if (status := status_of[order_id]) is not Status.COMPLETED:
            found.append(f"order {order_id} is {status}, not completed")
        page = pages.get(order_id)
        found += _wrongs_of(page) if page else [f"nothing was done for order {order_id}"]
    return found


def _wrongs_of(page: OrderBooks) -> list[str]:
    counted = {
        "live charges": len(page.live_payments),
        "parcels": len(page.parcels),
        "confirmations": len(page.mails_of("confirmation")),
    }
    return [
        f"order {page.order_id} has {number} {what}, not 1"
        for what, number in counted.items()
        if number != 1
    ]
