"""Answers of the warehouse that were lost: what they had said is asked for again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import (
    RefundParcel,
    Resolve,
    RetryNow,
    SkipStep,
)
from tests.support.eventually import eventually
from tests.workflows.conftest import HOURS_OF_SILENCE, PRICE, TOTAL, Shop, events
from tests.workflows.test_cancel import by_signal, by_temporal
from tests.workflows.test_delivery import flagged, parcel_of, tell
from tests.workflows.test_operator import give, silent, troubled
from tests.workflows.test_waiting import reached
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

ONE_MUG = (("MUG", 1),)


async def place_short(shop: Shop, *parcels: str) -> str:
    """An order of two mugs, of which the warehouse has one."""
    order_id = await shop.place()
    shop.warehouse.run_short(order_id, ONE_MUG)
    if parcels:
        shop.warehouse.pack(order_id, *parcels)
    return order_id


async def left_unheard(shop: Shop, order_id: str) -> Handle:
    """The warehouse has accepted the order and sent it, and then says nothing: the next try is
    hours away.
    """
    shop.warehouse.lose_answer_next("fulfill")
    silent(shop.warehouse, "fulfill", tries=5)
    handle = await shop.start(order_id, waits=True)
    await troubled(handle)

    async def tried_patiently() -> bool:
        return shop.warehouse.calls.count("fulfill") == 7

    await eventually(tried_patiently)
    shop.warehouse.dispatch(order_id)
    return handle


async def given_back(shop: Shop, order_id: str, amount: int) -> None:
    async def there() -> bool:
        return shop.cards.given_back(order_id) == amount

    await eventually(there)


async def stands_as_if_answered(shop: Shop, outcome: Outcome) -> None:
    """The order has ended as it would have with the answer that was lost."""
    order_id = outcome.order_id
    assert (outcome.status, outcome.stop, outcome.taken) == (Status.COMPLETED, None, TOTAL)
    assert outcome.parcel_ids == shop.warehouse.parcels[order_id]
    assert shop.warehouse.cancelled == set()
    await given_back(shop, order_id, PRICE.amount)
    [confirmation] = [mail.mail for mail in shop.mailer.sent if "confirmation" in mail.key]
    assert "1 x Mug cannot be sent" in confirmation.text
    view = await shop.book.view(order_id)
    assert (view.order.status, view.stock) == (Status.COMPLETED, "committed")
    assert tuple(parcel.parcel_id for parcel in view.parcels) == outcome.parcel_ids


async def by_skip_step(handle: Handle) -> None:
    await give(handle, SkipStep("the warehouse is flooded", "ops-7"))


@pytest.mark.parametrize("stop", [by_signal, by_temporal, by_skip_step])
async def test_what_was_short_is_refunded_though_the_answer_was_lost(
    shop: Shop, stop: Callable[[Handle], Coroutine[Any, Any, None]]
) -> None:
    handle = await left_unheard(shop, await place_short(shop))
    await stop(handle)
    await stands_as_if_answered(shop, await handle.result())


async def test_what_was_short_is_refunded_after_four_hours_of_silence(shop: Shop) -> None:
    order_id = await place_short(shop)
    shop.warehouse.lose_answer_next("fulfill")
    shop.warehouse.fail_until_healed("fulfill", HOURS_OF_SILENCE)
    gate = shop.warehouse.hold("cancel")
    handle = await shop.start(order_id)
    await gate.entered()
    shop.warehouse.dispatch(order_id)
    gate.release()
    await stands_as_if_answered(shop, await handle.result())


async def test_what_was_short_is_refunded_when_a_cancel_cut_the_answer_off(shop: Shop) -> None:
    """The worker has the answer, and is told to stop before it could pass it on."""
    order_id = await place_short(shop)
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.start(order_id)
    await gate.entered()
    shop.warehouse.dispatch(order_id)
    await handle.signal(OrderWorkflow.cancel_order)
    await stands_as_if_answered(shop, await handle.result())


async def test_what_was_short_is_refunded_of_an_order_that_is_kept(shop: Shop) -> None:
    """Our database has it fulfilled, but the run does not know what the warehouse had answered:
    Temporal was put back to an earlier state.
    """
    order_id = await place_short(shop)
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.start(order_id)
    await gate.entered()
    await shop.inventory.commit(order_id)
    await handle.signal(OrderWorkflow.cancel_order)
    await stands_as_if_answered(shop, await handle.result())


async def test_a_cancel_is_answered_while_the_warehouse_cannot_be_asked_again(shop: Shop) -> None:
    silent(shop.warehouse, "read", tries=6)
    handle = await left_unheard(shop, await place_short(shop))
    await handle.signal(OrderWorkflow.cancel_order)
    order_id = handle.id.removeprefix("order-")
    await reached(shop, handle, Status.FULFILLED)

    async def read_in_vain() -> bool:
        return shop.warehouse.calls.count("read") == 7

    await eventually(read_in_vain)
    attention = await troubled(handle)
    assert (attention.step, attention.problem) == ("read_fulfillment", "nobody answers")
    assert attention.can == ("retry_now", "resolve")
    # Nothing is said to the customer that may not be true.
    assert shop.mailer.sent == []
    assert shop.cards.given_back(order_id) == 0
    await give(handle, RetryNow("ops-7"))
    await stands_as_if_answered(shop, await handle.result())


@pytest.mark.parametrize("left", [True, False], ids=["left", "kept"])
async def test_a_person_is_told_when_the_warehouse_does_not_say_what_it_packed(
    shop: Shop, *, left: bool
) -> None:
    order_id = await place_short(shop, "par_a", "par_b")
    shop.warehouse.tell_nothing_of(order_id)
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.start(order_id, waits=True)
    await gate.entered()
    if left:
        shop.warehouse.dispatch(order_id)
    else:
        await shop.inventory.commit(order_id)
    await handle.signal(OrderWorkflow.cancel_order)

    attention = await troubled(handle)

    assert attention.step == "read_fulfillment"
    assert "it is not known what is in the order's parcels" in attention.problem
    assert "refund by line" in attention.problem
    assert shop.mailer.sent == []
    await give(handle, Resolve("refunded a mug as r1", "ops-7"))
    outcome = await handle.result()
    assert (outcome.status, outcome.parcel_ids) == (Status.COMPLETED, ("par_a", "par_b"))


async def test_a_person_who_knows_what_was_packed_ends_the_asking(shop: Shop) -> None:
    silent(shop.warehouse, "read", tries=6)
    order_id = await place_short(shop, "par_c")
    handle = await left_unheard(shop, order_id)
    await handle.signal(OrderWorkflow.cancel_order)

    async def read_in_vain() -> bool:
        return shop.warehouse.calls.count("read") == 7

    await eventually(read_in_vain)
    await give(handle, Resolve("asked by telephone, refunded a mug as r1", "ops-7"))
    outcome = await handle.result()
    # What the recall had named is the order's.
    assert (outcome.status, outcome.parcel_ids) == (Status.COMPLETED, ("par_c",))
    assert shop.cards.given_back(order_id) == 0


async def test_an_order_whose_answer_came_does_not_ask_again(shop: Shop) -> None:
    handle = await shop.order()
    await shop.check(await handle.result())
    assert "read" not in shop.warehouse.calls
    names = events(await handle.fetch_history())
    assert names.count("ACTIVITY_TASK_SCHEDULED") == 2  # the charge and the handing over


class TestHeldMoney:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    async def test_it_is_captured_before_the_missing_piece_is_refunded(self, shop: Shop) -> None:
        silent(shop.warehouse, "read", tries=6)
        handle = await left_unheard(shop, await place_short(shop))
        await handle.signal(OrderWorkflow.cancel_order)
        await reached(shop, handle, Status.FULFILLED)
        # The bank does not hold the money for as long as the warehouse may be silent.
        assert shop.cards.taken(handle.id.removeprefix("order-")) == TOTAL.amount

        async def read_in_vain() -> bool:
            return shop.warehouse.calls.count("read") == 7

        await eventually(read_in_vain)
        await give(handle, RetryNow("ops-7"))
        await stands_as_if_answered(shop, await handle.result())

    async def test_a_cancel_between_acceptance_and_capture_changes_nothing(
        self, shop: Shop
    ) -> None:
        gate = shop.cards.hold("capture")
        order_id = await place_short(shop)
        handle = await shop.start(order_id, waits=True)
        await gate.entered()
        shop.warehouse.dispatch(order_id)
        await handle.signal(OrderWorkflow.cancel_order)
        await stands_as_if_answered(shop, await handle.result())
        assert "read" not in shop.warehouse.calls


class TestParcels:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(delivery_deadline=timedelta(days=30))

    async def test_what_a_parcel_holds_is_known_for_its_refund(self, shop: Shop) -> None:
        order_id = await place_short(shop)
        handle = await left_unheard(shop, order_id)
        lost = parcel_of(shop, handle)
        # Told before the order even knows that it has this parcel.
        await tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
        await handle.signal(OrderWorkflow.cancel_order)
        await given_back(shop, order_id, PRICE.amount)
        await eventually(lambda: flagged(handle))

        await handle.execute_update(OrderWorkflow.refund_parcel, RefundParcel(lost))

        assert (await handle.result()).status is Status.COMPLETED
        await given_back(shop, order_id, TOTAL.amount)
        confirmation = next(mail.mail for mail in shop.mailer.sent if "confirmation" in mail.key)
        assert "1 x Mug cannot be sent" in confirmation.text
