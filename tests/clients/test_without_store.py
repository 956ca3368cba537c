"""The clients of a service that has no database: orders and refunds by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from durable_orders.clients.checkout import CheckedOut, StartedOrder
from durable_orders.clients.errors import (
    AlreadyCarriedError,
    NoRunError,
    NotOperableError,
    NoWorkerError,
    OrderEndedError,
    RefundEndedError,
    RefundRefusedError,
    StoreNeededError,
    StrandedError,
    TooLateError,
    UnknownRefundError,
)
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.contracts.search_attributes import CUSTOMER_ID, ORDER_TOTAL
from durable_orders.domain.activity_messages import Cancelled, CancelUnderWay
from durable_orders.domain.ids import InvalidOrderIdError, refund_workflow_id, workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.listing import OrderFilter
from durable_orders.domain.money import Money
from durable_orders.domain.payment_status import (
    PaymentDeclined,
    PaymentPending,
    PaymentProgress,
    PaymentStopped,
    PaymentTaken,
)
from durable_orders.domain.ports import NoSuchOrderError, RefusedError
from durable_orders.domain.refunds.messages import RefundOutcome
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.support.eventually import eventually
from tests.support.shop import Shop, basket

LONG, SHORT = timedelta(seconds=20), timedelta(seconds=0.3)
TOTAL = Money(29_00, "EUR")
DECLINED = "pm_card_visa_chargeDeclined"


def client_of(shop: Shop) -> OrderClient:
    return OrderClient(shop.temporal)


class TestStarting:
    async def test_an_order_is_started_once_and_carried_to_its_end(self, shop: Shop) -> None:
        orders, order_id = client_of(shop), await shop.place()

        first = await orders.start(order_id)
        outcome = await orders.result(order_id)
        again = await orders.start(order_id)

        assert (outcome.status, outcome.taken) == (Status.COMPLETED, TOTAL)
        assert again == StartedOrder(first.workflow_id, first.run_id, already_started=True)
        assert shop.cards.taken(order_id) == TOTAL.amount

    async def test_the_run_publishes_what_its_client_does_not_know(self, shop: Shop) -> None:
        order_id = await shop.place()
        await client_of(shop).start(order_id)
        await client_of(shop).result(order_id)

        run = await shop.temporal.get_workflow_handle(workflow_id(order_id)).describe()

        assert run.typed_search_attributes[CUSTOMER_ID] == "cus_1"
        assert run.typed_search_attributes[ORDER_TOTAL] == TOTAL.amount
        assert await run.static_summary() == f"Order {order_id}"

    async def test_an_order_nobody_placed_fails_in_its_run_and_is_told_as_unknown(
        self, shop: Shop
    ) -> None:
        orders = client_of(shop)
        await orders.start("too-early")

        for ask in (orders.result, orders.status, orders.cancel):
            with pytest.raises(NoSuchOrderError, match="there is no order too-early"):
                await ask("too-early")
        with pytest.raises(NoSuchOrderError):
            await orders.checkout("too-early", LONG)

    @pytest.mark.parametrize("knows_store", [False, True])
    async def test_an_order_that_was_started_too_early_is_started_again_once_it_is_placed(
        self, shop: Shop, *, knows_store: bool
    ) -> None:
        order_id = f"too-early-{knows_store}"
        await client_of(shop).start(order_id)
        with pytest.raises(NoSuchOrderError):
            await client_of(shop).result(order_id)
        await shop.orders.place(basket(order_id))
        orders = shop.orders if knows_store else client_of(shop)

        assert not (await orders.start(order_id)).already_started
        assert (await orders.result(order_id)).status is Status.COMPLETED
        assert (await orders.start(order_id)).already_started

    async def test_an_order_whose_run_temporal_forgot_is_not_carried_twice(
        self, shop: Shop
    ) -> None:
        order_id = await shop.place()
        await shop.book.move(order_id, Status.CANCELLED, Stop(StopReason.CANCELLED, ""), shop.now())
        orders = client_of(shop)
        await orders.start(order_id)

        for ask in (orders.result, orders.status):
            with pytest.raises(AlreadyCarriedError, match="was carried before"):
                await ask(order_id)
        assert shop.cards.charges_of(order_id) == []

    async def test_what_cannot_be_an_order_id_is_refused(self, closed_shop: Shop) -> None:
        for ask in (client_of(closed_shop).start, client_of(closed_shop).status):
            with pytest.raises(InvalidOrderIdError):
                await ask("../1' OR 1=1")


class TestCheckingOut:
    @pytest.mark.parametrize(
        ("what", "payment"),
        [
            ({}, PaymentTaken(TOTAL)),
            ({"card": DECLINED}, PaymentDeclined("generic_decline")),
            ({"sku": "CALENDAR"}, PaymentStopped(StopReason.OUT_OF_STOCK)),
        ],
    )
    async def test_the_answer_says_what_became_of_the_payment(
        self, shop: Shop, what: dict[str, str], payment: PaymentProgress
    ) -> None:
        order_id = await shop.place(**what)  # type: ignore[arg-type]
        told = await client_of(shop).checkout(order_id, LONG)
        assert told.workflow_id == workflow_id(order_id)
        assert type(told.payment) is type(payment)

    async def test_after_the_end_it_is_told_from_the_runs_result(self, shop: Shop) -> None:
        orders = client_of(shop)
        bought, rejected = await shop.start(), await shop.start(sku="CALENDAR")
        declined = await shop.start(card=DECLINED)
        for order_id in (bought, rejected, declined):
            await orders.result(order_id)

        told = [(await orders.checkout(one, LONG)).payment for one in (bought, rejected, declined)]

        assert told == [
            PaymentTaken(TOTAL),
            PaymentStopped(StopReason.OUT_OF_STOCK),
            PaymentDeclined(""),
        ]

    async def test_without_a_worker_the_order_is_started_and_nothing_is_known(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.place()
        told = await client_of(closed_shop).checkout(order_id, SHORT)
        assert told == CheckedOut(workflow_id(order_id), PaymentPending())
        assert await closed_shop.was_started(order_id)


class TestFollowing:
    async def test_the_status_is_the_runs_then_its_results(self, shop: Shop) -> None:
        orders, order_id = client_of(shop), await shop.start(flagged=True)
        await shop.reaches(order_id, "waiting for approval")
        assert (await orders.status(order_id)).status is Status.AWAITING_APPROVAL

        await OrderOperations(shop.temporal).reject(order_id, "ops-7", "stolen card")
        await orders.result(order_id)

        ended = await orders.status(order_id)
        assert (ended.status, ended.doing) == (Status.REJECTED, "ended")
        assert ended.stop
        assert ended.stop.reason is StopReason.NOT_APPROVED

    @pytest.mark.usefixtures("brief_queries")
    async def test_without_a_worker_the_status_is_what_the_run_has_published(
        self, closed_shop: Shop
    ) -> None:
        async with closed_shop.worker():
            order_id = await closed_shop.start(flagged=True)
            await closed_shop.reaches(order_id, "waiting for approval")
        told = await client_of(closed_shop).status(order_id)
        assert (told.status, told.doing) == (Status.AWAITING_APPROVAL, "unknown: no worker answers")

    async def test_an_order_without_a_run_is_said_to_be_unknown_to_temporal(
        self, closed_shop: Shop
    ) -> None:
        orders, order_id = client_of(closed_shop), await closed_shop.place()
        for ask in (orders.status, orders.result, orders.cancel, orders.request_cancel):
            with pytest.raises(NoRunError, match="Temporal knows no run of order"):
                await ask(order_id)
        with pytest.raises(NoRunError):
            await anext(orders.watch(order_id))

    async def test_an_order_whose_run_was_terminated_asks_for_a_person(
        self, closed_shop: Shop
    ) -> None:
        orders, order_id = client_of(closed_shop), await closed_shop.start()
        await closed_shop.temporal.get_workflow_handle(workflow_id(order_id)).terminate()

        assert "run is over" in (await orders.status(order_id)).doing
        for ask in (orders.result, orders.start):
            with pytest.raises(StrandedError, match="its run is terminated"):
                await ask(order_id)

    async def test_an_order_is_watched_by_what_its_run_says(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        orders, order_id = client_of(shop), await shop.start()
        seen = []

        async for progress in orders.watch(order_id):
            seen.append(progress)
            if progress.doing == "handing over to the warehouse":
                gate.release()

        assert (seen[-1].status, seen[-1].doing) == (Status.COMPLETED, "ended")
        assert "handing over to the warehouse" in [progress.doing for progress in seen]
        assert all(one != following for one, following in pairwise(seen))
        assert [progress async for progress in orders.watch(order_id)] == seen[-1:]

    async def test_a_store_lets_an_order_be_watched_the_same_way(self, shop: Shop) -> None:
        order_id = await shop.start()
        seen = [progress async for progress in shop.orders.watch(order_id)]
        assert (seen[-1].status, seen[-1].doing) == (Status.COMPLETED, "ended")


class TestTellingIt:
    async def test_an_order_is_cancelled(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        orders, order_id = client_of(shop), await shop.start()
        await gate.entered()

        cancelling = asyncio.create_task(orders.cancel(order_id, wait=LONG))

        async def asked() -> bool:
            return (await orders.status(order_id)).cancel_requested

        await eventually(asked)
        gate.release()
        assert await cancelling == Cancelled(Status.REFUNDED, given_back=TOTAL)

    async def test_a_cancellation_is_left_until_a_worker_is_there(self, closed_shop: Shop) -> None:
        orders, order_id = client_of(closed_shop), await closed_shop.start()
        await orders.request_cancel(order_id)
        await orders.payment_updated(order_id)
        with pytest.raises(NoWorkerError):
            await orders.cancel(order_id, wait=SHORT)
        async with closed_shop.worker():
            assert (await orders.result(order_id)).status is Status.CANCELLED
            with pytest.raises(OrderEndedError, match="it is cancelled"):
                await orders.request_cancel(order_id)

    async def test_an_operator_decides(self, shop: Shop) -> None:
        operations, order_id = OrderOperations(shop.temporal), await shop.start(flagged=True)
        await shop.reaches(order_id, "waiting for approval")
        with pytest.raises(NotOperableError):
            await operations.retry_now(order_id)
        await operations.approve(order_id, "ops-7")
        assert (await client_of(shop).result(order_id)).status is Status.COMPLETED
        with pytest.raises(OrderEndedError):
            await operations.approve(order_id, "ops-7")


class TestRefunds:
    async def test_a_refund_is_requested_and_followed(self, shop: Shop) -> None:
        refunds, order_id = RefundClient(shop.temporal), await shop.start()
        await shop.orders.result(order_id)

        told = await refunds.request(RefundRequest(order_id, "r1", lines=(("MUG", 1),)))
        outcome = await refunds.result(order_id, "r1")
        ended = await refunds.status(order_id, "r1")

        assert told.amount == Money(14_50, "EUR")
        assert isinstance(outcome, RefundOutcome)
        assert (ended.state, ended.amount) == (RefundState.SUCCEEDED, told.amount)
        with pytest.raises(RefundEndedError, match="is succeeded, and nothing runs"):
            await refunds.cancel(order_id, "r1")

    async def test_a_refund_that_was_refused_says_why_again(self, shop: Shop) -> None:
        refunds, order_id = RefundClient(shop.temporal), await shop.place()
        with pytest.raises(RefundRefusedError, match="cancel the order instead"):
            await refunds.request(RefundRequest(order_id, "r1"))
        with pytest.raises(RefundRefusedError, match="cancel the order instead"):
            await refunds.status(order_id, "r1")

    async def test_a_running_refund_answers_or_is_said_not_to(self, closed_shop: Shop) -> None:
        shop, refunds = closed_shop, RefundClient(closed_shop.temporal)
        async with shop.worker():
            order_id = await shop.start()
            await shop.orders.result(order_id)
            shop.cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
            await refunds.request(RefundRequest(order_id, "r1"))

            async def stuck() -> bool:
                return (await refunds.status(order_id, "r1")).attention is not None

            await eventually(stuck)
            with pytest.raises(TooLateError):
                await refunds.cancel(order_id, "r1")
        with pytest.raises(NoWorkerError):
            await refunds.status(order_id, "r1")
        run = shop.temporal.get_workflow_handle(refund_workflow_id(order_id, "r1"))
        await run.terminate()
        for ask in (refunds.status, refunds.retry_now):
            with pytest.raises(RefundEndedError, match="terminated, and nothing runs"):
                await ask(order_id, "r1")
        shop.cards.heal("refund")

    async def test_a_refund_that_nobody_asked_for_is_unknown(self, closed_shop: Shop) -> None:
        refunds = RefundClient(closed_shop.temporal)
        for ask in (refunds.status, refunds.result, refunds.retry_now):
            with pytest.raises(UnknownRefundError):
                await ask("nowhere", "r1")


async def test_what_needs_the_store_says_so(closed_shop: Shop) -> None:
    orders, refunds = client_of(closed_shop), RefundClient(closed_shop.temporal)
    with pytest.raises(StoreNeededError) as refusal:
        await orders.place(basket("1001"))
    assert str(refusal.value) == (
        "placing orders needs the order store: OrderClient(temporal, orders=…)"
    )
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: orders.view("1001"),
        lambda: orders.page(OrderFilter()),
        lambda: orders.payment_to_finish("1001"),
        lambda: anext(orders.watch_view("1001")),
        lambda: refunds.refunds_of("1001"),
        refunds.waiting,
        lambda: refunds.look_again("1001", "r1"),
    ]
    for call in calls:
        with pytest.raises(StoreNeededError, match=r"needs the (order|refund) store"):
            await call()


async def test_an_answer_that_takes_long_is_not_waited_for(shop: Shop) -> None:
    gate, undoing = shop.warehouse.hold("fulfill"), shop.cards.hold("refund")
    orders, order_id = client_of(shop), await shop.start()
    await gate.entered()
    assert await orders.cancel(order_id, wait=timedelta(seconds=1)) == CancelUnderWay()
    gate.release()
    undoing.release()
    assert (await orders.result(order_id)).status is Status.REFUNDED
