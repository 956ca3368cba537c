"""Stock: set aside, give back, take for good."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import activity

from orders.messages import OrderRef, ReserveAnswer
from orders.ports import Inventory


@dataclass(frozen=True)
class InventoryActivities:
    """Conversations with our stock. Database only, short, one transaction each."""

    inventory: Inventory

    @activity.defn
    async def reserve_inventory(self, order: OrderRef) -> ReserveAnswer:
        """Set all lines of the order aside, or none."""
        return await self.inventory.reserve(order.order_id)

    @activity.defn
    async def release_inventory(self, order: OrderRef) -> None:
        """Undo of ``reserve_inventory``, also when it never happened: it cannot happen later."""
        await self.inventory.release(order.order_id)

    @activity.defn
    async def update_inventory(self, order: OrderRef) -> None:
        """Take what the order set aside off the shelves for good: it is fulfilled."""
        await self.inventory.commit(order.order_id)
