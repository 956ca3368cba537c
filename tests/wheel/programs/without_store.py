"""A program outside the checkout: orders and refunds by their ids, with the bare package.

Its arguments are two orders that were placed: one to be completed, one that waits for approval.
"""

from __future__ import annotations

import asyncio
import json
import sys

from durable_orders import OrderClient, RefundClient, RefundRequest, connect
from durable_orders.process import exit_process


async def use(completed: str, waiting: str) -> dict[str, object]:
    """Start, follow, refund and cancel."""
    temporal = await connect()
    orders, refunds = OrderClient(temporal), RefundClient(temporal)

    await orders.start(completed)
    seen = [progress.status async for progress in orders.watch(completed)]
    outcome = await orders.result(completed)
    await refunds.request(RefundRequest(completed, "r1", lines=(("MUG", 1),)))
    refund = await refunds.result(completed, "r1")

    await orders.start(waiting)
    await reaches(orders, waiting, "waiting for approval")
    cancelled = await orders.cancel(waiting, "customer")

    return {
        "seen": seen,
        "taken": str(outcome.taken),
        "refund": refund.kind,
        "cancelled": cancelled.kind,
        "status": (await orders.status(waiting)).status,
        "loaded": sorted(sys.modules),
    }


async def reaches(orders: OrderClient, order_id: str, doing: str) -> None:
    """Follow the order until it does this."""
    async for progress in orders.watch(order_id):
        if progress.doing.startswith(doing):
            return


if __name__ == "__main__":
    print(json.dumps(asyncio.run(use(*sys.argv[1:]))))  # noqa: T201 - its answer
    exit_process(0)
