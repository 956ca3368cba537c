"""Parcels: shipped, delivered, lost or late, told of in any order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import (
    ParcelUpdate,
    RefundParcel,
    ResendParcel,
    SettleParcel,
)
from tests.support.eventually import eventually
from tests.workflows.conftest import PRICE, TOTAL, Shop
from tests.workflows.test_waiting import reached, refused
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(delivery_deadline=timedelta(days=30))


async def tell(handle: Handle, parcel_id: str, *statuses: ParcelStatus) -> None:
    for status in statuses:
        news = ParcelUpdate(parcel_id, status, f"T-{parcel_id}")
        await handle.signal(OrderWorkflow.parcel_updated, news)


async def fulfilled(shop: Shop, *parcels: str) -> Handle:
    """An order at the warehouse, in one parcel or as many as named."""
    order_id = await shop.place()
    if parcels:
        shop.warehouse.pack(order_id, *parcels)
    handle = await shop.start(order_id, waits=True)
    await reached(shop, handle, Status.FULFILLED)
    return handle


def parcel_of(shop: Shop, handle: Handle) -> str:
    [parcel_id] = shop.warehouse.parcels[handle.id.removeprefix("order-")]
    return parcel_id


async def test_an_order_is_completed_when_its_parcel_is_delivered(shop: Shop) -> None:
    handle = await fulfilled(shop)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.SHIPPED)
    await reached(shop, handle, Status.SHIPPED)
    await tell(handle, parcel_id, ParcelStatus.DELIVERED)
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    view = await shop.book.view(outcome.order_id)
    assert [(p.status, p.tracking) for p in view.parcels] == [("delivered", f"T-{parcel_id}")]
    [mail] = [mail.mail for mail in shop.mailer.sent if "shipped" in mail.key]
    assert f"T-{parcel_id}" in mail.text


async def test_news_that_come_twice_late_and_in_the_wrong_order_change_nothing(
    shop: Shop,
) -> None:
    handle = await fulfilled(shop, "par_a", "par_b")
    await tell(handle, "par_of_somebody_else", ParcelStatus.DELIVERED)
    delivered, shipped = ParcelStatus.DELIVERED, ParcelStatus.SHIPPED
    await tell(handle, "par_a", delivered, shipped, delivered, shipped)
    await tell(handle, "par_b", delivered)
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    view = await shop.book.view(outcome.order_id)
    assert [line.event for line in view.history].count("parcel_delivered") == 2


async def test_news_that_come_before_the_warehouse_has_answered_are_kept(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await gate.entered()
    await tell(handle, parcel_of(shop, handle), ParcelStatus.DELIVERED)
    gate.release()
    assert (await handle.result()).status is Status.COMPLETED


async def test_an_order_in_three_parcels_waits_for_the_last(shop: Shop) -> None:
    handle = await fulfilled(shop, "par_a", "par_b", "par_c")
    await tell(handle, "par_a", ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    await tell(handle, "par_b", ParcelStatus.SHIPPED)
    order_id = handle.id.removeprefix("order-")
    assert (await shop.book.get(order_id)).status is Status.FULFILLED
    await tell(handle, "par_c", ParcelStatus.SHIPPED)
    await reached(shop, handle, Status.SHIPPED)
    await tell(handle, "par_b", ParcelStatus.DELIVERED)
    await tell(handle, "par_c", ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED
    mails = sorted(
        mail.key.rpartition(":")[2] for mail in shop.mailer.sent if "shipped" in mail.key
    )
    assert set(mails) <= {"shipped-par_a", "shipped-par_b", "shipped-par_c"}
    assert len(mails) == len(set(mails))


async def flagged(handle: Handle) -> bool:
    described = await handle.describe()
    return bool(described.typed_search_attributes.get(NEEDS_ATTENTION))


async def test_a_lost_parcel_asks_for_a_person_and_is_settled(shop: Shop) -> None:
    handle = await fulfilled(shop)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    progress = await handle.query(OrderWorkflow.status)
    assert progress.attention is not None
    assert f"parcel {parcel_id} is lost" in progress.attention.problem
    decision = SettleParcel(parcel_id, "refunded as r1", by="ops-7")
    await handle.execute_update(OrderWorkflow.settle_parcel, decision)
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    view = await shop.book.view(outcome.order_id)
    [line] = [line for line in view.history if line.event == "parcel_settled"]
    assert line.detail["outcome"] == "refunded as r1"
    assert not await flagged(handle)


async def test_a_lost_parcel_that_turns_up_needs_nobody_any_more(shop: Shop) -> None:
    handle = await fulfilled(shop)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    await tell(handle, parcel_id, ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED
    assert not await flagged(handle)


async def test_a_parcel_that_is_late_asks_for_a_person_after_thirty_days(shop: Shop) -> None:
    handle = await shop.order()  # time is skipped
    await eventually(lambda: flagged(handle))
    progress = await handle.query(OrderWorkflow.status)
    assert progress.attention is not None
    assert "is late" in progress.attention.problem
    await tell(handle, parcel_of(shop, handle), ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED


async def test_a_parcel_that_nobody_waits_for_cannot_be_settled(shop: Shop) -> None:
    handle = await fulfilled(shop)
    decision = SettleParcel("par_of_somebody_else", "resent")
    refusal = await refused(handle.execute_update(OrderWorkflow.settle_parcel, decision))
    assert refusal.type == NOT_WAITING
    await tell(handle, parcel_of(shop, handle), ParcelStatus.DELIVERED)
    await handle.result()


async def test_a_cancel_of_a_shipped_order_is_too_late(shop: Shop) -> None:
    handle = await fulfilled(shop)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.SHIPPED)
    await reached(shop, handle, Status.SHIPPED)
    await handle.cancel()
    await tell(handle, parcel_id, ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED


async def test_what_the_warehouse_is_short_of_is_refunded_and_the_rest_ships(shop: Shop) -> None:
    order_id = await shop.place()
    shop.warehouse.run_short(order_id, (("MUG", 1),))
    handle = await shop.start(order_id, waits=True)
    await reached(shop, handle, Status.FULFILLED)

    async def refunded() -> bool:
        return shop.cards.given_back(order_id) == PRICE.amount

    await eventually(refunded)
    await tell(handle, parcel_of(shop, handle), ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED
    confirmation = next(mail.mail for mail in shop.mailer.sent if "confirmation" in mail.key)
    assert "1 x Mug cannot be sent" in confirmation.text


async def test_a_lost_parcel_is_sent_again_and_the_new_one_waited_for(shop: Shop) -> None:
    handle = await fulfilled(shop)
    lost = parcel_of(shop, handle)
    await tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    shop.warehouse.lose_answer_next("resend")
    resent = await handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel(lost))
    assert resent.parcel_id == parcel_of(shop, handle)
    assert resent.parcel_id != lost
    await tell(handle, resent.parcel_id, ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    assert outcome.parcel_ids == (lost, resent.parcel_id)


async def test_a_lost_parcel_is_refunded_and_no_longer_waited_for(shop: Shop) -> None:
    handle = await fulfilled(shop)
    lost = parcel_of(shop, handle)
    await tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    await handle.execute_update(OrderWorkflow.refund_parcel, RefundParcel(lost))
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED

    async def refunded() -> bool:
        return shop.cards.given_back(outcome.order_id) == TOTAL.amount

    await eventually(refunded)


async def test_a_parcel_of_unknown_contents_cannot_be_refunded_as_such(shop: Shop) -> None:
    handle = await fulfilled(shop, "par_a", "par_b")
    await tell(handle, "par_b", ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    refusal = await refused(
        handle.execute_update(OrderWorkflow.refund_parcel, RefundParcel("par_b"))
    )
    assert "refund by line" in refusal.message
    decision = SettleParcel("par_b", "refunded as r1")
    await handle.execute_update(OrderWorkflow.settle_parcel, decision)
    await tell(handle, "par_a", ParcelStatus.DELIVERED)
    await handle.result()


async def test_a_parcel_is_not_resent_and_refunded_both(shop: Shop) -> None:
    handle = await fulfilled(shop)
    lost = parcel_of(shop, handle)
    await tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    gate = shop.warehouse.hold("resend")
    resending = asyncio.create_task(
        handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel(lost))
    )
    await gate.entered()
    refusal = await refused(handle.execute_update(OrderWorkflow.refund_parcel, RefundParcel(lost)))
    assert "being resent or refunded already" in refusal.message
    gate.release()
    resent = await resending
    await tell(handle, resent.parcel_id, ParcelStatus.DELIVERED)
    await handle.result()
    assert shop.cards.refunds == {}


async def test_a_warehouse_that_refuses_to_resend_leaves_the_decision_open(shop: Shop) -> None:
    handle = await fulfilled(shop)
    lost = parcel_of(shop, handle)
    await tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    shop.warehouse.fail_next("resend", RefusedError("never heard of it"))
    refusal = await refused(handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel(lost)))
    assert "never heard of it" in refusal.message
    await handle.execute_update(OrderWorkflow.settle_parcel, SettleParcel(lost, "forgiven"))
    assert (await handle.result()).status is Status.COMPLETED
