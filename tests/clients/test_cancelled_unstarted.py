"""A placed order that is cancelled before it was started never is, whoever asks in which order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable_orders.clients.errors import NoRunError, OrderEndedError
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import Cancelled, EndedOtherwise, OrderInput
from durable_orders.domain.ids import TASK_QUEUE, workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.payment_status import PaymentStopped
from durable_orders.domain.ports import NoAnswerError
from tests.support.eventually import eventually
from tests.support.shop import Shop, basket
from workflows.order import OrderWorkflow

NOTHING = Cancelled(status=Status.CANCELLED, given_back=Money(0, "EUR"))
WHY = Stop(StopReason.CANCELLED, "cancelled by customer")


async def is_withdrawn(shop: Shop, order_id: str) -> None:
    """Nothing was done for it, its customer was told once, and all that know of it say why."""
    outcome = await shop.orders.result(order_id)
    view = await shop.book.view(order_id)
    assert (outcome.status, outcome.stop, outcome.taken.amount) == (Status.CANCELLED, WHY, 0)
    assert (view.order.status, view.order.reason) == (Status.CANCELLED, StopReason.CANCELLED)
    assert shop.cards.charges_of(order_id) == []
    assert order_id not in shop.warehouse.parcels
    assert [mail.key.rpartition(":")[2] for mail in shop.mailer.sent if order_id in mail.key] == [
        "closing"
    ]
    product = shop.database.products["MUG"]
    assert (product.on_hand, product.reserved) == (1_000, 0)


async def test_it_is_cancelled_and_its_customer_told(shop: Shop) -> None:
    order_id = await shop.place()
    assert await shop.orders.cancel(order_id) == NOTHING
    await is_withdrawn(shop, order_id)


async def test_a_request_without_waiting_does_the_same(shop: Shop) -> None:
    order_id = await shop.place()
    await shop.orders.request_cancel(order_id)
    await is_withdrawn(shop, order_id)


async def test_it_needs_no_worker(closed_shop: Shop) -> None:
    order_id = await closed_shop.place()
    assert await closed_shop.orders.cancel(order_id) == NOTHING
    assert (await closed_shop.book.get(order_id)).status is Status.CANCELLED
    async with closed_shop.worker():
        await is_withdrawn(closed_shop, order_id)


async def test_starting_it_later_answers_what_became_of_it(shop: Shop) -> None:
    order_id = await shop.place()
    await shop.orders.cancel(order_id)
    await shop.orders.result(order_id)

    assert (await shop.orders.start(order_id)).already_started
    out = await shop.orders.checkout(order_id, timedelta(seconds=5))

    assert out.payment == PaymentStopped(StopReason.CANCELLED)
    await is_withdrawn(shop, order_id)


async def test_cancelling_it_again_is_answered_alike(closed_shop: Shop) -> None:
    shop = closed_shop
    order_id = await shop.place()
    await shop.orders.cancel(order_id)
    again = asyncio.create_task(shop.orders.cancel(order_id))
    async with shop.worker():
        assert await again == NOTHING
        await is_withdrawn(shop, order_id)


async def test_once_its_customer_is_told_it_has_ended(shop: Shop) -> None:
    order_id = await shop.place()
    await shop.orders.cancel(order_id)
    await shop.orders.result(order_id)
    for cancel in (shop.orders.cancel, shop.orders.request_cancel):
        with pytest.raises(OrderEndedError, match="it is cancelled"):
            await cancel(order_id)
    await is_withdrawn(shop, order_id)


async def test_a_run_that_begins_meanwhile_finds_it_cancelled(closed_shop: Shop) -> None:
    """It has read the order as placed; the cancellation asked before the run was there."""
    shop = closed_shop
    order_id = await shop.place()
    reserving = shop.inventory.hold("reserve")
    async with shop.worker():
        await shop.orders.start(order_id)
        await reserving.entered()
        assert await shop.book.cancel_unstarted(order_id, WHY, shop.now())
        reserving.release()
        await is_withdrawn(shop, order_id)


async def test_a_run_that_has_begun_is_cancelled_by_its_own(shop: Shop) -> None:
    order_id = await shop.start()
    accepting = shop.warehouse.hold("fulfill")
    await accepting.entered()
    assert not await shop.book.cancel_unstarted(order_id, WHY, shop.now())
    cancelling = asyncio.create_task(shop.orders.cancel(order_id))
    await eventually(lambda: cancel_requested(shop, order_id))
    accepting.release()
    answer = await cancelling
    assert isinstance(answer, Cancelled)
    assert answer.status is Status.REFUNDED


async def cancel_requested(shop: Shop, order_id: str) -> bool:
    return (await shop.orders.status(order_id)).cancel_requested


async def test_starts_and_cancellations_at_once_end_in_one_of_both(shop: Shop) -> None:
    for _ in range(8):
        order_id = await shop.place()
        starting, answer = await asyncio.gather(
            shop.orders.start(order_id), shop.orders.cancel(order_id), return_exceptions=True
        )
        outcome = await shop.orders.result(order_id)
        assert not isinstance(starting, BaseException)
        if outcome.status is Status.COMPLETED:
            assert isinstance(answer, EndedOtherwise | Exception)
        else:
            assert isinstance(answer, Cancelled)
            assert outcome.stop == WHY
            assert shop.cards.taken(order_id) == shop.cards.given_back(order_id)


async def test_it_is_cancelled_although_temporal_goes_away_before_its_mail(
    closed_shop: Shop,
) -> None:
    """The audit starts the run that tells the customer; so does a later cancellation."""
    shop = closed_shop
    order_id = await shop.place()
    assert await shop.book.cancel_unstarted(order_id, WHY, shop.now())
    assert (await shop.book.summary(order_id)).cancelled_unstarted
    assert not await shop.was_started(order_id)
    async with shop.worker():
        assert await shop.orders.cancel(order_id) == NOTHING
        await is_withdrawn(shop, order_id)
    assert not (await shop.book.summary(order_id)).cancelled_unstarted


async def test_a_run_that_was_there_too_early_is_in_nobodys_way(shop: Shop) -> None:
    order_id = "c-early"
    run = await shop.temporal.start_workflow(
        OrderWorkflow.run, OrderInput(order_id), id=workflow_id(order_id), task_queue=TASK_QUEUE
    )
    with pytest.raises(Exception, match="Workflow execution failed"):
        await run.result()
    await shop.orders.place(basket(order_id))
    assert await shop.orders.cancel(order_id) == NOTHING
    await is_withdrawn(shop, order_id)


async def test_without_the_store_an_unknown_run_stays_unknown(closed_shop: Shop) -> None:
    order_id = await closed_shop.place()
    orders = OrderClient(closed_shop.temporal)
    for cancel in (orders.cancel, orders.request_cancel):
        with pytest.raises(NoRunError):
            await cancel(order_id)
    assert (await closed_shop.book.get(order_id)).status is Status.PLACED


async def test_a_run_started_without_the_store_finds_it_cancelled(shop: Shop) -> None:
    order_id = await shop.place()
    assert await shop.book.cancel_unstarted(order_id, WHY, shop.now())
    await OrderClient(shop.temporal).start(order_id)
    await is_withdrawn(shop, order_id)


async def test_other_words_about_it_are_told_that_it_has_ended(shop: Shop) -> None:
    order_id = await shop.place()
    await shop.orders.cancel(order_id)
    await shop.orders.result(order_id)
    operations = OrderOperations(shop.temporal, shop.book)
    with pytest.raises(OrderEndedError, match="it is cancelled"):
        await operations.approve(order_id, "ops-7")
    with pytest.raises(OrderEndedError, match="it is cancelled"):
        await operations.retry_now(order_id)


async def test_a_database_that_is_away_cancels_nothing(shop: Shop) -> None:
    order_id = await shop.place()
    shop.book.fail_next("cancel_unstarted", NoAnswerError("the database is away"))
    with pytest.raises(NoAnswerError):
        await shop.orders.cancel(order_id)
    assert (await shop.book.get(order_id)).status is Status.PLACED
    assert await shop.orders.cancel(order_id) == NOTHING
