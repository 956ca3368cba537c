"""In-memory fake of the warehouse, with the three rules of docs/warehouse-api.md."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from durable_orders.domain.activity_messages import (
    AlreadyLeft,
    ContentsUnknown,
    Fulfilled,
    FulfillmentCancelled,
    ReadFulfillmentAnswer,
    Resent,
    WarehouseCancelAnswer,
)
from durable_orders.domain.ids import warehouse_reference
from durable_orders.domain.ports import RefusedError, ShippingRefused, ShippingRequest
from tests.fakes.script import Scripted
from tests.support.keys import INSTALLATION


class InMemoryWarehouse(Scripted):
    """``Warehouse`` in memory.

    Its data are public: ``accepted`` (recalled orders too), ``cancelled`` and ``left`` (order ids),
    ``parcels``. An order of another installation than the tests' has its reference for an id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.accepted: dict[str, Fulfilled] = {}
        self.requests: dict[str, ShippingRequest] = {}
        self.cancelled: set[str] = set()
        self.left: set[str] = set()
        self._packing: dict[str, tuple[str, ...]] = {}
        self._refusals: dict[str, str] = {}
        self._short: dict[str, tuple[tuple[str, int], ...]] = {}
        self._first: dict[str, tuple[ShippingRequest, Fulfilled | ShippingRefused]] = {}
        self._resend_keys: dict[str, tuple[str, str]] = {}
        self._answers: dict[str, Fulfilled] = {}
        self._forgets: set[str] = set()
        self._resent: dict[tuple[str, str], Resent] = {}
        self._numbers = count(1)

    # -- for tests ---------------------------------------------------------------------------------

    @property
    def parcels(self) -> dict[str, tuple[str, ...]]:
        """Order id → parcels that have left or will leave. A recalled order has none."""
        return {
            order_id: fulfilled.parcel_ids
            for order_id, fulfilled in self.accepted.items()
            if order_id not in self.cancelled
        }

    def refuse(self, order_id: str, message: str) -> None:
        """Refuse to ship this order, and to resend its parcels."""
        self._refusals[order_id] = message

    def pack(self, order_id: str, *parcel_ids: str) -> None:
        """Ship the order in these parcels."""
        self._packing[order_id] = parcel_ids

    def run_short(self, order_id: str, short: tuple[tuple[str, int], ...]) -> None:
        """Lack these pieces of the order, as (sku, pieces); never all of them."""
        self._short[order_id] = short

    def tell_nothing_of(self, order_id: str) -> None:
        """Keep no record of what is in the order's parcels."""
        self._forgets.add(order_id)

    def dispatch(self, order_id: str) -> None:
        """The order's parcels leave: too late for a recall."""
        if order_id not in self.parcels:
            raise ValueError(f"the warehouse has nothing to send for order {order_id}")
        self.left.add(order_id)

    # -- Warehouse -----------------------------------------------------------------------------

    async def fulfill(self, request: ShippingRequest, *, key: str) -> Fulfilled | ShippingRefused:
        request = replace(request, order_id=_named(request.order_id, request.installation))
        return await self._play("fulfill", lambda: self._fulfill(request, key))

    async def read(self, request: ShippingRequest) -> ReadFulfillmentAnswer:
        order_id = _named(request.order_id, request.installation)
        return await self._play("read", lambda: self._read(order_id))

    async def cancel(self, order_id: str, *, installation: str) -> WarehouseCancelAnswer:
        return await self._play("cancel", lambda: self._cancel(_named(order_id, installation)))

    async def resend(
        self, order_id: str, parcel_id: str, *, installation: str, key: str
    ) -> Resent | ShippingRefused:
        order_id = _named(order_id, installation)
        return await self._play("resend", lambda: self._resend(order_id, parcel_id, key))

    # -- implementation ----------------------------------------------------------------------------

    def _fulfill(self, request: ShippingRequest, key: str) -> Fulfilled | ShippingRefused:
        asked, answer = self._first.get(key, (request, None))
        if asked != request:
            raise RefusedError(f"key {key} was used before, for another request")
        if answer is None:
            answer = self._decide(request)
            self._first[key] = (request, answer)
        return answer

    def _decide(self, request: ShippingRequest) -> Fulfilled | ShippingRefused:
        order_id = request.order_id
        if order_id in self.cancelled:
            return ShippingRefused("fulfillment_cancelled", "it was cancelled before")
        if order_id in self._refusals:
            return ShippingRefused("cannot_fulfill", self._refusals[order_id])
        if order_id not in self.accepted:
            number = next(self._numbers)
            parcels = self._packing.get(order_id, (f"par_{number}",))
            short = self._short.get(order_id, ())
            missing = dict(short)
            sent = tuple((sku, n - missing.get(sku, 0)) for sku, n in request.quantities)
            # All pieces are in the first parcel: no test looks into the others.
            contents = {parcels[0]: tuple((sku, n) for sku, n in sent if n)}
            self.accepted[order_id] = Fulfilled(f"ful_{number}", parcels, short, contents)
            self.requests[order_id] = request
            self._answers[order_id] = self.accepted[order_id]
        return self.accepted[order_id]

    def _read(self, order_id: str) -> ReadFulfillmentAnswer:
        answer = self._answers.get(order_id)
        if answer is None:
            return ContentsUnknown("the warehouse has no record of the order")
        if order_id in self.cancelled:
            message = "the warehouse's record says that nothing of the order will leave"
            return ContentsUnknown(message)
        if order_id in self._forgets:
            message = "the warehouse's record does not say what of the order is short"
            return ContentsUnknown(message, answer.parcel_ids)
        return answer

    def _resend(self, order_id: str, parcel_id: str, key: str) -> Resent | ShippingRefused:
        lost = (order_id, parcel_id)
        if self._resend_keys.setdefault(key, lost) != lost:
            raise RefusedError(f"key {key} was used before, for another parcel")
        if lost in self._resent:
            return self._resent[lost]
        accepted = self.accepted.get(order_id)
        if accepted is None or parcel_id not in accepted.parcel_ids:
            raise RefusedError(f"order {order_id} has no parcel {parcel_id}")
        if order_id in self.cancelled:
            return ShippingRefused("fulfillment_cancelled", "it was cancelled before")
        if order_id in self._refusals:
            return ShippingRefused("cannot_fulfill", self._refusals[order_id])
        new = f"par_{next(self._numbers)}"
        contents = {**accepted.contents, new: accepted.contents.get(parcel_id, ())}
        parcel_ids = (*(id_ for id_ in accepted.parcel_ids if id_ != parcel_id), new)
        self.accepted[order_id] = replace(accepted, parcel_ids=parcel_ids, contents=contents)
        self._resent[lost] = Resent(accepted.fulfillment_id, new)
        return self._resent[lost]

    def _cancel(self, order_id: str) -> WarehouseCancelAnswer:
        if order_id in self.left:
            return AlreadyLeft(*self._known(order_id))
        self.cancelled.add(order_id)
        return FulfillmentCancelled()

    def _known(self, order_id: str) -> tuple[str, tuple[str, ...]]:
        accepted = self.accepted[order_id]
        return accepted.fulfillment_id, accepted.parcel_ids


def _named(order_id: str, installation: str) -> str:
    return order_id if installation == INSTALLATION else warehouse_reference(installation, order_id)
