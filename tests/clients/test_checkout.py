"""Checking out: one run an order, and what is told of its payment as soon as it is known."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from durable_orders.clients.checkout import CheckedOut
from durable_orders.domain.activity_messages import Cancelled
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.payment_status import (
    ApprovalRequired,
    CustomerActionRequired,
    PaymentDeclined,
    PaymentHeld,
    PaymentPending,
    PaymentStopped,
    PaymentTaken,
)
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from tests.support.eventually import eventually
from tests.support.shop import Shop

TOTAL = Money(29_00, "EUR")
LONG = timedelta(seconds=15)
SHORT = timedelta(milliseconds=300)


async def runs_of(shop: Shop, order_id: str) -> list[str]:
    query = f"WorkflowId = '{workflow_id(order_id)}'"
    return [run.run_id async for run in shop.temporal.list_workflows(query)]


async def test_a_payment_is_told_as_soon_as_it_is_taken(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    order_id = await shop.place()

    told = await shop.orders.checkout(order_id, LONG)

    assert told == CheckedOut(workflow_id(order_id), PaymentTaken(TOTAL))
    gate.release()
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED


async def test_fifty_side_by_side_are_one_run_and_hear_the_same(shop: Shop) -> None:
    order_id = await shop.place()

    told = await asyncio.gather(*(shop.orders.checkout(order_id, LONG) for _ in range(50)))

    assert set(told) == {CheckedOut(workflow_id(order_id), PaymentTaken(TOTAL))}
    assert len(shop.cards.charges_of(order_id)) == 1
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED

    async def is_listed() -> bool:
        return len(await runs_of(shop, order_id)) == 1

    await eventually(is_listed)


async def test_a_run_started_here_is_like_any_other(shop: Shop) -> None:
    order_id, other = await shop.place(), await shop.place()
    await shop.orders.checkout(order_id, LONG, request_id="req-1")
    await shop.orders.start(other, request_id="req-1")
    for each in (order_id, other):
        await shop.orders.result(each)

    descriptions = [
        await shop.temporal.get_workflow_handle(workflow_id(each)).describe()
        for each in (order_id, other)
    ]

    one, two = [
        (
            await run.memo(),
            await run.static_details(),
            run.typed_search_attributes,
            (await run.static_summary() or "").replace(each, "ID"),
        )
        for run, each in zip(descriptions, (order_id, other), strict=True)
    ]
    assert one == two


async def test_after_the_end_it_is_told_from_the_book_and_nothing_runs_again(shop: Shop) -> None:
    order_id = await shop.place()
    first = await shop.orders.checkout(order_id, LONG)
    await shop.orders.result(order_id)
    run = shop.temporal.get_workflow_handle(workflow_id(order_id))
    before = (await run.describe()).run_id

    assert await shop.orders.checkout(order_id, LONG) == first
    assert (await run.describe()).run_id == before
    assert len(shop.cards.charges_of(order_id)) == 1


async def test_a_declined_card_ends_the_order_and_is_told_before_and_after(shop: Shop) -> None:
    order_id = await shop.place(card="pm_card_visa_chargeDeclinedInsufficientFunds")

    told = await shop.orders.checkout(order_id, LONG)
    await shop.orders.result(order_id)
    again = await shop.orders.checkout(order_id, LONG)

    assert told.payment == again.payment == PaymentDeclined("insufficient_funds")


async def test_another_card_is_asked_for_and_then_heard_of(closed_shop: Shop) -> None:
    closed_shop.terms = ShopTerms(new_card_window=timedelta(hours=2))
    order_id = await closed_shop.place(card="pm_card_visa_chargeDeclined")
    async with closed_shop.worker():
        declined = await closed_shop.orders.checkout(order_id, LONG)
        await closed_shop.orders.submit_payment_method(order_id, "pm_card_visa")
        paid = await closed_shop.orders.checkout(order_id, LONG)
        await closed_shop.orders.result(order_id)

    assert declined.payment == PaymentDeclined("generic_decline", another_card=True)
    assert paid.payment == PaymentTaken(TOTAL)


async def test_a_customer_who_has_to_confirm_is_told_which_payment(shop: Shop) -> None:
    order_id = await shop.place(card="pm_card_authenticationRequired")

    told = await shop.orders.checkout(order_id, LONG)
    [charge] = shop.cards.charges_of(order_id)
    again = await shop.orders.checkout(order_id, LONG)
    shop.cards.authenticate(charge.payment_id)
    await shop.orders.payment_updated(order_id)
    await shop.orders.result(order_id)

    assert told.payment == again.payment == CustomerActionRequired(charge.payment_id)
    assert (await shop.orders.checkout(order_id, LONG)).payment == PaymentTaken(TOTAL)


async def test_an_order_that_waits_for_approval_says_so_and_then_what_came_of_it(
    shop: Shop,
) -> None:
    order_id = await shop.place(flagged=True)

    first = await shop.orders.checkout(order_id, LONG)
    await shop.operations.approve(order_id, "ops-7")
    then = await shop.orders.checkout(order_id, LONG)

    assert (first.payment, then.payment) == (ApprovalRequired(), PaymentTaken(TOTAL))
    await shop.orders.result(order_id)


async def test_an_order_that_stops_says_why(shop: Shop) -> None:
    order_id = await shop.place(sku="CALENDAR")
    told = await shop.orders.checkout(order_id, LONG)
    assert told.payment == PaymentStopped(StopReason.OUT_OF_STOCK)


async def test_money_that_is_only_held_is_told_as_that(closed_shop: Shop) -> None:
    closed_shop.terms = ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)
    gate = closed_shop.warehouse.hold("fulfill")
    order_id = await closed_shop.place()
    async with closed_shop.worker():
        told = await closed_shop.orders.checkout(order_id, LONG)
        gate.release()
        await closed_shop.orders.result(order_id)

    assert told.payment == PaymentHeld(TOTAL)


@pytest.mark.parametrize("started", [False, True])
async def test_without_a_worker_the_order_is_started_and_nothing_is_known(
    closed_shop: Shop, *, started: bool
) -> None:
    order_id = await (closed_shop.start() if started else closed_shop.place())

    told = await closed_shop.orders.checkout(order_id, SHORT)

    assert told == CheckedOut(workflow_id(order_id), PaymentPending())
    run = await closed_shop.temporal.get_workflow_handle(workflow_id(order_id)).describe()
    assert run.status is WorkflowExecutionStatus.RUNNING
    async with closed_shop.worker():
        assert (await closed_shop.orders.checkout(order_id, LONG)).payment == PaymentTaken(TOTAL)
        await closed_shop.orders.result(order_id)


async def test_many_who_wait_leave_room_for_a_cancellation(shop: Shop) -> None:
    gate = shop.cards.hold("confirm")
    order_id = await shop.place()
    waiting = [asyncio.create_task(shop.orders.checkout(order_id, LONG)) for _ in range(30)]
    await gate.entered()
    for _ in range(2):  # those who gave up waiting still count, until there is something to tell
        assert (await shop.orders.checkout(order_id, SHORT)).payment == PaymentPending()

    cancelling = asyncio.create_task(shop.orders.cancel(order_id))

    async def asked() -> bool:
        return (await shop.orders.status(order_id)).cancel_requested

    await eventually(asked)
    gate.release()
    assert isinstance(await cancelling, Cancelled)
    assert {told.payment for told in await asyncio.gather(*waiting)} == {
        PaymentStopped(StopReason.CANCELLED)
    }
