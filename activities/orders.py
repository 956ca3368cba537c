"""Order activities: read an order, record its status, its parcels and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from durable_orders.domain.activity_messages import (
    Note,
    OrderParcel,
    OrderRef,
    OrderWithTerms,
    StatusChange,
    UndoAnswer,
    UndoRequest,
)
from durable_orders.domain.ports import OrderRepository
from durable_orders.domain.terms import ShopTerms


@dataclass(frozen=True)
class OrderBookActivities:
    """Conversations with the order's row and its history. Database only, short."""

    orders: OrderRepository
    shop: ShopTerms = ShopTerms()  # noqa: RUF009 - frozen

    @activity.defn
    async def read_order(self, order: OrderRef) -> OrderWithTerms:
        """Read what the workflow needs to know of the order; not found is not retried."""
        found = await self.orders.summary(order.order_id)
        terms = self.shop.of(found.total, flagged=found.flagged, off_session=found.off_session)
        return OrderWithTerms(found, terms)

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
