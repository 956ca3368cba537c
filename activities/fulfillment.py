"""Fulfilment activities: have the warehouse ship an order, cancel that, resend a parcel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from durable_orders.domain.activity_messages import (
    AlreadyLeft,
    Fulfilled,
    FulfillOrderAnswer,
    OrderRef,
    OrderUndone,
    ParcelRef,
    ResendAnswer,
    Resent,
    WarehouseCancelAnswer,
)
from durable_orders.domain.ids import fulfillment_key, resend_key
from durable_orders.domain.ports import OrderRepository, ShippingRequest, Warehouse


@dataclass(frozen=True)
class FulfillmentActivities:
    """Conversations with the warehouse."""

    warehouse: Warehouse
    orders: OrderRepository

    @activity.defn
    async def fulfill_order(self, order: OrderRef) -> FulfillOrderAnswer:
        """Have the warehouse accept the order, and record the parcels it names.

        Not one that is being undone. If that is decided after this look, the warehouse refuses it:
        it was recalled.
        """
        found = await self.orders.get(order.order_id)
        if found.undone is not None:
            return OrderUndone(found.undone)
        request = ShippingRequest(
            order_id=found.id,
            recipient=found.recipient,
            quantities=tuple((line.sku, line.quantity) for line in found.lines),
            installation=found.key_prefix,
        )
        key = fulfillment_key(found.key_prefix, found.id)
        answer = await self.warehouse.fulfill(request, key=key)
        if isinstance(answer, Fulfilled):
            await self.orders.record_parcels(found.id, answer.fulfillment_id, answer.parcel_ids)
        return answer

    @activity.defn
    async def resend_parcel(self, lost: ParcelRef) -> ResendAnswer:
        """Have the contents of a parcel sent again, and record the new parcel."""
        prefix = (await self.orders.summary(lost.order_id)).key_prefix
        key = resend_key(prefix, lost.order_id, lost.parcel_id)
        answer = await self.warehouse.resend(
            lost.order_id, lost.parcel_id, installation=prefix, key=key
        )
        if isinstance(answer, Resent):
            parcel_ids = (answer.parcel_id,)
            await self.orders.record_parcels(lost.order_id, answer.fulfillment_id, parcel_ids)
        return answer

    @activity.defn
    async def cancel_fulfillment(self, order: OrderRef) -> WarehouseCancelAnswer:
        """Compensation of ``fulfill_order``, also when its answer was lost or it is late.

        Asked only once it is decided that the order is undone. It can be too late all the same:
        after ``AlreadyLeft`` the order stands, and its row says so from then on.
        """
        found = await self.orders.summary(order.order_id)
        answer = await self.warehouse.cancel(order.order_id, installation=found.key_prefix)
        if isinstance(answer, AlreadyLeft):
            await self.orders.record_parcels(
                order.order_id, answer.fulfillment_id, answer.parcel_ids
            )
            await self.orders.keep(order.order_id, datetime.now(UTC))
        return answer
