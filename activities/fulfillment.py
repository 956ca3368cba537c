"""Fulfilment activities: have the warehouse ship an order, cancel that, resend a parcel.

What the warehouse says in its own words goes to the order's history in our database, and nowhere
else: answers and errors, which Temporal keeps, hold its codes and sentences of ours.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from durable_orders.domain.activity_messages import (
    AlreadyLeft,
    CannotFulfill,
    Fulfilled,
    FulfillOrderAnswer,
    OrderRef,
    OrderUndone,
    ParcelRef,
    ReadFulfillmentAnswer,
    ResendAnswer,
    WarehouseCancelAnswer,
)
from durable_orders.domain.ids import fulfillment_key, resend_key
from durable_orders.domain.order import Order
from durable_orders.domain.ports import (
    OrderRepository,
    ProviderError,
    RefusedError,
    ShippingRefused,
    ShippingRequest,
    Warehouse,
)

log = logging.getLogger(__name__)

#: The warehouse's code for an order that was recalled before it asked.
CANCELLED_BEFORE: Final = "fulfillment_cancelled"


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
        key = fulfillment_key(found.key_prefix, found.id)
        async with self._noting_words(found.id, "fulfil"):
            answer = await self.warehouse.fulfill(_shipping_request(found), key=key)
        if isinstance(answer, ShippingRefused):
            return await self._refused(found.id, "fulfil", answer)
        await self.orders.record_parcels(found.id, answer.fulfillment_id, answer.parcel_ids)
        return answer

    @activity.defn
    async def read_fulfillment(self, order: OrderRef) -> ReadFulfillmentAnswer:
        """Read in the warehouse's record what a lost answer of ``fulfill_order`` had said, and
        record the parcels it names.
        """
        found = await self.orders.get(order.order_id)
        async with self._noting_words(found.id, "read"):
            answer = await self.warehouse.read(_shipping_request(found))
        if isinstance(answer, Fulfilled):
            await self.orders.record_parcels(found.id, answer.fulfillment_id, answer.parcel_ids)
        return answer

    @activity.defn
    async def resend_parcel(self, lost: ParcelRef) -> ResendAnswer:
        """Have the contents of a parcel sent again, and record the new parcel.

        Whatever the warehouse refuses is an answer: only of silence it is not known what it did.
        """
        prefix = (await self.orders.summary(lost.order_id)).key_prefix
        key = resend_key(prefix, lost.order_id, lost.parcel_id)
        about = f"resend {lost.parcel_id}"
        try:
            async with self._noting_words(lost.order_id, about):
                answer = await self.warehouse.resend(
                    lost.order_id, lost.parcel_id, installation=prefix, key=key
                )
        except RefusedError as error:
            return CannotFulfill(str(error))
        if isinstance(answer, ShippingRefused):
            return await self._refused(lost.order_id, about, answer)
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
        async with self._noting_words(order.order_id, "cancel"):
            answer = await self.warehouse.cancel(order.order_id, installation=found.key_prefix)
        if isinstance(answer, AlreadyLeft):
            await self.orders.record_parcels(
                order.order_id, answer.fulfillment_id, answer.parcel_ids
            )
            await self.orders.keep(order.order_id, datetime.now(UTC))
        return answer

    async def _refused(self, order_id: str, about: str, refused: ShippingRefused) -> CannotFulfill:
        """The answer for a refusal to ship; the warehouse's words are noted."""
        if refused.said:
            now = datetime.now(UTC)
            await self.orders.note_words(order_id, f"{about}, refused", refused.said, now)
        if refused.code == CANCELLED_BEFORE:
            return CannotFulfill(f"order {order_id} was cancelled before")
        more = ": the order's history has its words" if refused.said else ""
        return CannotFulfill(f"the warehouse does not ship it ({refused.code}){more}")

    @asynccontextmanager
    async def _noting_words(self, order_id: str, about: str) -> AsyncIterator[None]:
        """Note what the warehouse says in its own words when the block fails because of it."""
        try:
            yield
        except ProviderError as error:
            if error.said:
                kind = "refused" if isinstance(error, RefusedError) else "no answer"
                try:
                    now = datetime.now(UTC)
                    await self.orders.note_words(order_id, f"{about}, {kind}", error.said, now)
                except ProviderError as lost:
                    # What happened is told by the error; it is tried again, so this is too.
                    log.warning("what the warehouse said is not noted: %s", lost)
            raise


def _shipping_request(order: Order) -> ShippingRequest:
    return ShippingRequest(
        order_id=order.id,
        recipient=order.recipient,
        quantities=tuple((line.sku, line.quantity) for line in order.lines),
        installation=order.key_prefix,
    )
