"""Order activities: read an order and begin it, record its status, parcels and history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from temporalio import activity

from activities.handover import ChargePace
from durable_orders.domain.activity_messages import (
    Note,
    OrderBegun,
    OrderParcel,
    OrderRef,
    OrderSummary,
    OrderWithTerms,
    Reservation,
    StatusChange,
    UndoAnswer,
    UndoRequest,
)
from durable_orders.domain.ports import Inventory, OrderRepository
from durable_orders.domain.terms import ShopTerms


@dataclass(frozen=True)
class OrderBookActivities:
    """Conversations with the order's row and its history. Database only, short."""

    orders: OrderRepository
    inventory: Inventory
    shop: ShopTerms = ShopTerms()  # noqa: RUF009 - frozen
    #: Of this worker's charges: whether one is likely to end within a workflow task.
    pace: ChargePace = field(default_factory=ChargePace)

    @activity.defn
    async def read_order(self, order: OrderRef) -> OrderWithTerms:
        """Read what the workflow needs to know of the order; not found is not retried."""
        return self._with_terms(await self.orders.summary(order.order_id))

    @activity.defn
    async def begin_order(self, order: Reservation) -> OrderBegun:
        """Read the order and reserve its stock, unless another run has carried it; again gives the
        same answer. Not found is not retried.
        """
        found, stock = await self.inventory.begin(order.order_id, order.run_id)
        return OrderBegun(self._with_terms(found), stock, charge_locally=self.pace.is_quick)

    @activity.defn
    async def begin_undo(self, undo: UndoRequest) -> UndoAnswer:
        """Decide that the order is undone, before anybody is asked to undo anything; again gives
        the same answer.
        """
        return await self.orders.begin_undo(undo, datetime.now(UTC))

    @activity.defn
    async def record_status(self, change: StatusChange) -> None:
        """Write the status into the order's row; again is a no-op."""
        now = datetime.now(UTC)
        for parcel in change.parcels:
            await self.orders.move_parcel(change.order_id, parcel, now)
        await self.orders.move(change.order_id, change.status, change.stop, now)

    @activity.defn
    async def record_parcel(self, news: OrderParcel) -> None:
        """Record where a parcel is; old news is a no-op."""
        await self.orders.move_parcel(news.order_id, news.parcel, datetime.now(UTC))

    @activity.defn
    async def record_note(self, note: Note) -> None:
        """Add a line to the order's history; the same line again is a no-op."""
        await self.orders.note(note.order_id, note.event, datetime.now(UTC), **note.detail)

    def _with_terms(self, found: OrderSummary) -> OrderWithTerms:
        terms = self.shop.of(found.total, flagged=found.flagged, off_session=found.off_session)
        return OrderWithTerms(found, terms)
