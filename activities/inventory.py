"""Inventory activities: reserve stock, release it, commit it."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import activity

from durable_orders.domain.activity_messages import (
    CommitAnswer,
    CommitRequest,
    OrderRef,
    Reservation,
    ReserveAnswer,
)
from durable_orders.domain.ports import Inventory


@dataclass(frozen=True)
class InventoryActivities:
    """Conversations with our stock. Database only, short, one transaction each."""

    inventory: Inventory

    @activity.defn
    async def reserve_inventory(self, order: Reservation) -> ReserveAnswer:
        """Reserve all lines of the order, or none."""
        return await self.inventory.reserve(order.order_id, order.run_id)

    @activity.defn
    async def release_inventory(self, order: OrderRef) -> None:
        """Compensation of ``reserve_inventory``; after it that can reserve nothing any more."""
        await self.inventory.release(order.order_id)

    @activity.defn
    async def update_inventory(self, order: CommitRequest) -> CommitAnswer:
        """Take what the order reserved off the shelves for good: it is fulfilled, and has ended if
        it is asked to end with that. From then on it is kept, unless it was decided before to undo
        it.
        """
        return await self.inventory.commit(order.order_id, ends_as=order.ends_as)
