"""Reading an order, and writing down where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from orders.messages import OrderRef, OrderSummary, StatusChange
from orders.ports import OrderBook


@dataclass(frozen=True)
class OrderBookActivities:
    """Conversations with the order's row and its history. Database only, short."""

    orders: OrderBook

    @activity.defn
    async def read_order(self, order: OrderRef) -> OrderSummary:
        """What orchestration needs to know of the order; not found is not retried."""
        return await self.orders.summary(order.order_id)

    @activity.defn
    async def record_status(self, change: StatusChange) -> None:
        """Bring the order's row to this status; again is a no-op."""
        await self.orders.move(change.order_id, change.status, change.stop, datetime.now(UTC))
