"""What a cancellation does: every status, whoever asks, against the one table of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from activities.handover import ChargePace
from durable_orders.domain.activity_messages import CancelRequest, Outcome
from durable_orders.domain.lifecycle import ON_CANCEL, CancelEffect, Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import ParcelUpdate
from tests.fakes.script import BlockedCall
from tests.workflows.conftest import TOTAL, Shop, quick_pace
from tests.workflows.test_waiting import DECLINED, THREE_D_SECURE, reached
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

_TERMS = {
    Status.AWAITING_APPROVAL: ShopTerms(approval_above={"EUR": 0}),
    Status.HELD: ShopTerms(capture=CaptureMethod.AT_FULFILLMENT),
    Status.FULFILLED: ShopTerms(delivery_deadline=timedelta(days=30)),
    Status.SHIPPED: ShopTerms(delivery_deadline=timedelta(days=30)),
}


@pytest.fixture(params=[ChargePace, quick_pace], ids=["normal", "local"])
def pace(request: pytest.FixtureRequest) -> ChargePace:
    """The first charge is a normal activity, or made within the first workflow task."""
    made: ChargePace = request.param()
    return made


async def brought_to(status: Status, shop: Shop) -> tuple[Handle, BlockedCall | None]:
    """An order that has this status, and what holds it there if it would go on by itself."""
    gate: BlockedCall | None = None
    order_id = await shop.place(_CARDS.get(status, "pm_card_visa"))
    match status:
        case Status.PLACED:
            gate = shop.cards.hold("create")
        case Status.HELD | Status.PAID:
            gate = shop.warehouse.hold("fulfill")
        case Status.CANCELLED:
            gate = shop.cards.hold("create")
        case Status.REFUNDED:
            shop.warehouse.refuse(order_id, "the roof leaks")
    handle = await shop.start(order_id, waits=True)
    if gate is not None:
        await gate.entered()
    if status is Status.CANCELLED:
        await handle.signal(OrderWorkflow.cancel_order)
    if status is Status.SHIPPED:
        await reached(shop, handle, Status.FULFILLED)
        await tell(shop, handle, ParcelStatus.SHIPPED)
    if status.is_final:
        await handle.result()
    await reached(shop, handle, status)
    return handle, gate


_CARDS = {Status.AWAITING_PAYMENT: THREE_D_SECURE, Status.REJECTED: DECLINED}


async def tell(shop: Shop, handle: Handle, status: ParcelStatus) -> None:
    [parcel_id] = shop.warehouse.parcels[handle.id.removeprefix("order-")]
    await handle.signal(OrderWorkflow.parcel_updated, ParcelUpdate(parcel_id, status))


async def by_signal(handle: Handle) -> None:
    await handle.signal(OrderWorkflow.cancel_order)


async def by_update(handle: Handle) -> None:
    await handle.execute_update(OrderWorkflow.cancel, CancelRequest())


async def by_temporal(handle: Handle) -> None:
    await handle.cancel()


@pytest.fixture
def terms(status: Status) -> ShopTerms:
    return _TERMS.get(status, ShopTerms())


def test_the_table_knows_every_status() -> None:
    assert set(ON_CANCEL) == set(Status)


@pytest.mark.parametrize("cancel", [by_signal, by_update, by_temporal])
@pytest.mark.parametrize("status", Status)
async def test_a_cancel_does_what_the_table_says(
    shop: Shop, status: Status, cancel: Callable[[Handle], Awaitable[None]]
) -> None:
    handle, gate = await brought_to(status, shop)
    order_id = handle.id.removeprefix("order-")
    before = (shop.cards.taken(order_id), shop.cards.given_back(order_id))
    match ON_CANCEL[status]:
        case CancelEffect.ENDED:
            await refused_as_ended(handle, cancel)
            assert (shop.cards.taken(order_id), shop.cards.given_back(order_id)) == before
            assert (await shop.book.get(order_id)).status is status
            return
        case CancelEffect.TOO_LATE:
            if cancel is by_update:
                with pytest.raises(WorkflowUpdateFailedError):
                    await cancel(handle)
            else:
                await cancel(handle)
            await tell(shop, handle, ParcelStatus.DELIVERED)
            wanted, given_back = Status.COMPLETED, 0
        case CancelEffect.REFUNDED:
            await cancel(handle)
            wanted, given_back = Status.REFUNDED, TOTAL.amount
        case _:
            await cancel(handle)
            wanted, given_back = Status.CANCELLED, 0
    outcome = await shop.check(await handle.result()) if gate else await handle.result()
    assert outcome.status is wanted
    assert outcome.given_back.amount == given_back


async def refused_as_ended(handle: Handle, cancel: Callable[[Handle], Awaitable[None]]) -> None:
    try:
        await cancel(handle)
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND  # noqa: PT017 - some servers just ignore it
