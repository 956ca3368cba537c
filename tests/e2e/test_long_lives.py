"""kill -9 of the worker of orders that wait: for a person, a customer, a bank, a parcel; and of one
that gives money back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.refunds.messages import RefundOutcome
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.e2e.moments import Asking, Committing, Moment
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

CONFIRM, CAPTURE = "stripe.payment_intents.confirm", "stripe.payment_intents.capture"
READ, REFUND = "stripe.payment_intents.retrieve", "stripe.refunds.create"
SHIP = "warehouse.fulfillments.create"

THREE_D_SECURE = "pm_card_authenticationRequired"
DECLINED = "pm_card_visa_chargeDeclined"

#: A worker may have to start first.
PATIENTLY = timedelta(seconds=40)


@dataclass(frozen=True)
class Shift:
    """Who is at work: one worker, under the terms of one test."""

    environment: DemoEnvironment

    async def begins(self, **settings: str) -> WorkerProcess:
        """A worker with these settings takes over, and nobody else is left."""
        await self.ends()
        worker = await self.environment.start_worker(**settings)
        await worker.ready()
        return worker

    async def ends(self) -> None:
        """kill -9 of everybody."""
        for worker in self.environment.running_workers:
            await worker.kill()


@pytest.fixture
async def shift(environment: DemoEnvironment) -> AsyncIterator[Shift]:
    """Nobody with unusual settings is left for other tests."""
    at_work = Shift(environment)
    yield at_work
    await at_work.ends()


def lost(endpoint: str) -> list[Asking]:
    """The ways in which a worker that dies never hears the answer."""
    return [
        Asking(endpoint, "delay"),
        Asking(endpoint, "delay_after"),
        Asking(endpoint, "hang_up_after"),
    ]


async def test_people_are_waited_for_while_nobody_works(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    """For one who approves or rejects, for a customer at the bank, for one with another card."""
    await shift.begins(APPROVAL_ABOVE="EUR=20.00", NEW_CARD_WINDOW_MINUTES="60")
    approved, rejected = [await trials.start(quantity=2) for _ in range(2)]
    at_bank, declined = await trials.start(card=THREE_D_SECURE), await trials.start(card=DECLINED)
    await asyncio.gather(*map(environment.wait_until_waiting, trials.order_ids))
    await shift.ends()
    pages = {order_id: await environment.books.order(order_id) for order_id in trials.order_ids}
    assert (pages[approved].payments, pages[rejected].payments) == ((), ())
    [payment] = pages[at_bank].payments
    await environment.confirm_at_bank(payment.id)
    await environment.orders.payment_updated(at_bank)

    # The terms are those that an order began under, whatever the settings say by now.
    await shift.begins()
    await environment.operations.approve(approved, "ops-7", wait=PATIENTLY)
    await environment.operations.reject(rejected, "ops-7", "stolen card", wait=PATIENTLY)
    assert (await environment.orders.submit_payment_method(declined, "pm_card_visa")).number == 2
    outcomes = {outcome.order_id: outcome for outcome in await trials.outcomes()}

    stop = outcomes.pop(rejected).stop
    assert stop
    assert stop.reason is StopReason.NOT_APPROVED
    assert {outcome.status for outcome in outcomes.values()} == {Status.COMPLETED}
    assert [p.id for p in (await environment.books.order(at_bank)).payments] == [payment.id]
    assert len((await environment.books.order(declined)).live_payments) == 1


async def test_another_card_is_charged_once_whenever_the_worker_dies(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(NEW_CARD_WINDOW_MINUTES="60")
    moments: list[Moment] = [
        Asking(READ, "delay"),
        Committing("payment_open"),
        *lost(CONFIRM),
        Committing("payment_captured"),
    ]
    for at, moment in enumerate(moments):
        order_id = await trials.start(card=DECLINED, sku=await trials.product(str(at)))
        await environment.wait_until_waiting(order_id)
        await trials.hold(moment, order_id)
        await environment.orders.submit_payment_method(order_id, "pm_card_visa")
    await trials.reached()

    await shift.ends()
    await trials.let_go()
    await shift.begins()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    for order_id in trials.order_ids:
        [payment] = (await environment.books.order(order_id)).payments
        assert [charge.status for charge in payment.charges] == ["failed", "succeeded"]


async def test_what_is_held_is_taken_once_whenever_the_worker_dies_and_never_when_it_lapsed(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(CAPTURE="at_fulfillment")
    lapsed = await trials.start_and_hold(Asking(SHIP, "delay_after"))
    for moment in [Asking(SHIP, "delay"), *lost(CAPTURE)]:
        await trials.start_and_hold(moment)
    for event in ("order_held", "payment_captured", "order_paid"):
        await trials.start_and_hold(Committing(event), sku=await trials.product(event))
    await trials.reached()

    await shift.ends()
    [payment] = (await environment.books.order(lapsed)).payments
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url) as http:
        (await http.post(f"/sandbox/payment_intents/{payment.id}/lapse")).raise_for_status()
    await trials.let_go()
    await shift.begins()
    undone, *taken = await trials.outcomes()

    assert {outcome.status for outcome in taken} == {Status.COMPLETED}
    assert undone.stop
    assert (undone.status, undone.stop.reason) == (Status.REJECTED, StopReason.HOLD_LAPSED)
    assert not undone.taken


async def test_two_parcels_are_followed_to_the_door_by_two_workers(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(DELIVERY_DEADLINE_DAYS="30")
    order_id = await trials.place(quantity=2)
    await environment.faults.inject(SHIP, "split", order_id=order_id, parcels=2)
    await environment.orders.start(order_id)
    await environment.wait_until_waiting(order_id)
    first, second = (parcel.id for parcel in (await environment.books.order(order_id)).parcels)
    await environment.orders.parcel_updated(order_id, first, ParcelStatus.SHIPPED, "TRK-1")
    await shift.ends()
    # Told twice, out of order, and while nobody works.
    await environment.orders.parcel_updated(order_id, first, ParcelStatus.DELIVERED)
    await environment.orders.parcel_updated(order_id, first, ParcelStatus.SHIPPED)
    await environment.orders.parcel_updated(order_id, second, ParcelStatus.SHIPPED, "TRK-2")

    await shift.begins()

    async def shipped() -> bool:
        return (await environment.orders.view(order_id)).order.status is Status.SHIPPED

    await eventually(shipped, within=30)
    await environment.orders.parcel_updated(order_id, second, ParcelStatus.DELIVERED)
    [outcome] = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    assert set(outcome.parcel_ids) == {first, second}
    told = {
        (p.parcel_id, p.status, p.tracking)
        for p in (await environment.orders.view(order_id)).parcels
    }
    assert told == {(first, "delivered", "TRK-1"), (second, "delivered", "TRK-2")}


async def test_a_part_is_given_back_once_whenever_the_worker_dies(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins()
    bought = [await trials.start(quantity=2) for _ in range(3)]
    await asyncio.gather(*map(trials.outcome, bought))
    requests = [RefundRequest(id_, "r1", (("MUG", 1),), restock=True) for id_ in bought]
    for request, moment in zip(requests, lost(REFUND), strict=True):
        await trials.hold(moment, request.order_id)
        await environment.refunds.request(request)
    # What the warehouse is short of is given back by itself, once the order is its.
    short = await trials.place(quantity=2)
    await environment.faults.inject(SHIP, "short", order_id=short)
    await trials.hold_at(Asking(REFUND, "delay_after"), short)
    await trials.reached()

    await shift.ends()
    await trials.let_go()
    await shift.begins()
    for request in requests:
        await environment.refunds.request(request, wait=PATIENTLY)  # again: it is the same refund
    refunds = [(request.order_id, "r1") for request in requests]
    answers = [await environment.refunds.result(*ids) for ids in [*refunds, (short, "short")]]
    outcomes = await trials.outcomes()

    for answer in answers:
        assert isinstance(answer, RefundOutcome)
        assert (answer.state, str(answer.amount)) == (RefundState.SUCCEEDED, "14.50 EUR")
    for outcome in outcomes:
        assert outcome.status is Status.COMPLETED
        page = await environment.books.order(outcome.order_id)
        assert (page.captured, page.refunded, len(page.refunds)) == (29_00, 14_50, 1)
