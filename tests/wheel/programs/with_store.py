"""A program outside the checkout: orders are placed and shown too, with the extra ``store``.

Its arguments are the ids that the shop gives two orders.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from durable_orders import (
    Basket,
    OrderClient,
    Recipient,
    RefundClient,
    RefundRequest,
    connect,
)
from durable_orders.process import exit_process
from durable_orders.store import open_store

ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")


async def use(first: str, second: str) -> dict[str, object]:
    """Place, start, follow, refund and cancel."""
    temporal = await connect()
    async with open_store(os.environ["DATABASE_URL"], pool_size=2) as store:
        orders = OrderClient(temporal, store.orders)
        refunds = RefundClient(temporal, store.refunds)

        order = await orders.place(Basket(first, "cus_1", ADA, (("MUG", 2),), "pm_card_visa"))
        await orders.start(first)
        last = [seen async for seen in orders.watch_view(first)][-1]
        await refunds.request(RefundRequest(first, "r1", lines=(("MUG", 1),)))
        await refunds.result(first, "r1")

        flagged = Basket(second, "cus_1", ADA, (("TEE", 1),), "pm_card_visa", flagged=True)
        await orders.place(flagged)
        await orders.start(second)
        await reaches(orders, second, "waiting for approval")
        cancelled = await orders.cancel(second, "customer")

        return {
            "total": str(order.total),
            "history": [line.event for line in last.view.history],
            "refunds": [entry.state for entry in await refunds.refunds_of(first)],
            "cancelled": cancelled.kind,
            "status": (await orders.view(second)).order.status,
        }


async def reaches(orders: OrderClient, order_id: str, doing: str) -> None:
    """Follow the order until it does this."""
    async for progress in orders.watch(order_id):
        if progress.doing.startswith(doing):
            return


if __name__ == "__main__":
    print(json.dumps(asyncio.run(use(*sys.argv[1:]))))  # noqa: T201 - its answer
    exit_process(0)
