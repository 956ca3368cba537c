"""The client against the real Temporal server: it tells the truth and starts nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from durable_orders.clients.checkout import StartedOrder
from durable_orders.clients.errors import (
    NotStartedError,
    NoWorkerError,
    OrderEndedError,
    StrandedError,
    TooLateError,
    UnreachableError,
)
from durable_orders.clients.orders import OrderClient
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.domain.activity_messages import Cancelled, CancelUnderWay
from durable_orders.domain.ids import InvalidOrderIdError, workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import InvalidOrderError
from durable_orders.domain.ports import NoAnswerError, NoSuchOrderError
from durable_orders.domain.views import ListedOrder, OrderSnapshotView
from sandbox.ports import free_port
from sandbox.temporal_server import TemporalServer
from tests.support.eventually import eventually
from tests.support.shop import Shop, basket

TOTAL = Money(29_00, "EUR")
SOON = timedelta(milliseconds=10)


class TestPlacing:
    async def test_what_no_card_is_charged_is_refused_and_nothing_is_kept(self, shop: Shop) -> None:
        shop.database.add_product("CLIP", "Paper clip", Money(10, "EUR"), 1_000)
        shop.database.add_product("DATES", "Dates", Money(1233, "KWD"), 1_000)
        for sku, sentence in (
            ("CLIP", "0.20 EUR is too little for a card"),
            ("DATES", "2.466 KWD cannot be moved on a card"),
        ):
            with pytest.raises(InvalidOrderError, match=sentence):
                await shop.orders.place(basket(f"odd-{sku}", sku=sku))
            with pytest.raises(NoSuchOrderError):
                await shop.orders.view(f"odd-{sku}")


class TestStarting:
    async def test_fifty_starts_side_by_side_are_one_run(self, shop: Shop) -> None:
        order_id = await shop.place()

        started = await asyncio.gather(*(shop.orders.start(order_id) for _ in range(50)))

        assert len({start.run_id for start in started}) == 1
        assert sum(not start.already_started for start in started) == 1
        assert (await shop.orders.result(order_id)).status is Status.COMPLETED
        assert shop.cards.taken(order_id) == TOTAL.amount

    async def test_starting_after_the_end_is_the_same_run(self, shop: Shop) -> None:
        order_id = await shop.place()
        first = await shop.orders.start(order_id)
        await shop.orders.result(order_id)

        again = await shop.orders.start(order_id)

        assert again == StartedOrder(f"order-{order_id}", first.run_id, already_started=True)

    async def test_an_order_that_ended_is_not_started_again_when_temporal_forgot_its_run(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.place()
        await closed_shop.book.move(
            order_id, Status.CANCELLED, Stop(StopReason.CANCELLED, "cancelled"), closed_shop.now()
        )

        with pytest.raises(OrderEndedError, match="it is cancelled") as refusal:
            await closed_shop.orders.start(order_id)

        assert refusal.value.status is Status.CANCELLED
        with pytest.raises(OrderEndedError):
            await closed_shop.orders.result(order_id)

    async def test_an_order_half_way_without_a_run_asks_for_a_person(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.place()
        await closed_shop.book.move(order_id, Status.PAID, None, closed_shop.now())

        with pytest.raises(StrandedError, match="is paid and nothing carries it on"):
            await closed_shop.orders.start(order_id)

    @pytest.mark.parametrize("status", [Status.PLACED, Status.PAID])
    async def test_an_order_whose_run_was_terminated_is_stranded_not_started_before(
        self, closed_shop: Shop, status: Status
    ) -> None:
        order_id = await closed_shop.start()
        run = closed_shop.temporal.get_workflow_handle(workflow_id(order_id))
        await run.terminate()
        if status is not Status.PLACED:
            await closed_shop.book.move(order_id, status, None, closed_shop.now())

        with pytest.raises(StrandedError, match="its run is terminated") as refusal:
            await closed_shop.orders.start(order_id)

        reset = f"temporal workflow reset --workflow-id order-{order_id} --type LastWorkflowTask"
        assert reset in str(refusal.value)
        assert (await closed_shop.book.get(order_id)).status is status
        described = await run.describe()
        assert described.status is WorkflowExecutionStatus.TERMINATED  # and no other was started

    async def test_an_order_that_waits_was_started_before(self, shop: Shop) -> None:
        order_id = await shop.start(flagged=True)
        await shop.reaches(order_id, "waiting for approval")
        assert (await shop.orders.start(order_id)).already_started

    async def test_an_unknown_order_starts_nothing(self, closed_shop: Shop) -> None:
        with pytest.raises(NoSuchOrderError, match="there is no order nobody"):
            await closed_shop.orders.start("nobody")

        assert not await closed_shop.was_started("nobody")

    async def test_what_cannot_be_an_order_id_is_refused(self, closed_shop: Shop) -> None:
        with pytest.raises(InvalidOrderIdError, match="is not an order id"):
            await closed_shop.orders.start("../1' OR 1=1")

    async def test_placing_the_same_basket_twice_is_one_order(self, closed_shop: Shop) -> None:
        first = await closed_shop.orders.place(basket("twice"))

        assert await closed_shop.orders.place(basket("twice")) == first
        assert first.total == TOTAL

    async def test_a_run_says_in_the_web_ui_what_it_is_and_nothing_personal(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.start()

        handle = closed_shop.temporal.get_workflow_handle(workflow_id(order_id))
        run = await handle.describe()

        assert await run.static_summary() == f"Order {order_id}"
        assert await run.static_details() == "29.00 EUR, customer cus_1"
        assert b"Ada" not in (await handle.fetch_history()).to_json().encode()


class TestStatus:
    async def test_a_running_order_tells_where_it_stands(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        order_id = await shop.start()
        await gate.entered()

        progress = await shop.reaches(order_id, "handing over")

        assert progress.status is Status.PAID
        gate.release()
        await shop.orders.result(order_id)

    async def test_an_order_that_is_not_started_says_so(self, closed_shop: Shop) -> None:
        order_id = await closed_shop.place()

        progress = await closed_shop.orders.status(order_id)

        assert (progress.status, progress.doing) == (Status.PLACED, "not started yet")

    @pytest.mark.usefixtures("brief_queries")
    async def test_without_a_worker_the_book_answers(self, closed_shop: Shop) -> None:
        order_id = await closed_shop.start()

        progress = await closed_shop.orders.status(order_id)

        assert progress.status is Status.PLACED
        assert progress.doing == "unknown: no worker answers"

    async def test_the_end_of_an_order_is_told_without_a_worker(self, closed_shop: Shop) -> None:
        async with closed_shop.worker():
            order_id = await closed_shop.start(card="pm_card_visa_chargeDeclined")
            await closed_shop.orders.result(order_id)

        progress = await closed_shop.orders.status(order_id)

        assert (progress.status, progress.doing) == (Status.REJECTED, "ended")
        assert progress.stop
        assert progress.stop.reason is StopReason.CARD_DECLINED

    async def test_an_unknown_order_has_no_status(self, closed_shop: Shop) -> None:
        with pytest.raises(NoSuchOrderError):
            await closed_shop.orders.status("nobody")


class TestCancelling:
    async def test_a_paid_order_is_refunded_and_the_answer_says_so(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        order_id = await shop.start()
        await gate.entered()

        cancelling = asyncio.create_task(shop.orders.cancel(order_id))
        await eventually(lambda: _cancel_requested(shop, order_id))
        gate.release()

        assert await cancelling == Cancelled(Status.REFUNDED, given_back=TOTAL)
        assert shop.cards.given_back(order_id) == TOTAL.amount

    async def test_cancelling_again_gives_the_same_answer_also_after_the_end(
        self, shop: Shop
    ) -> None:
        gate = shop.cards.hold("create")
        order_id = await shop.start()
        await gate.entered()
        cancelling = asyncio.create_task(shop.orders.cancel(order_id))
        await eventually(lambda: _cancel_requested(shop, order_id))
        gate.release()
        first = await cancelling
        await shop.orders.result(order_id)

        assert await shop.orders.cancel(order_id) == first

    async def test_an_undo_that_takes_long_is_under_way(self, shop: Shop) -> None:
        gate, undoing = shop.warehouse.hold("fulfill"), shop.cards.hold("refund")
        order_id = await shop.start()
        await gate.entered()

        answer = await shop.orders.cancel(order_id, wait=timedelta(seconds=1))

        assert answer == CancelUnderWay()
        gate.release()
        undoing.release()
        assert (await shop.orders.result(order_id)).status is Status.REFUNDED

    @pytest.mark.usefixtures("brief_mails")
    async def test_it_is_too_late_once_the_warehouse_has_it(self, shop: Shop) -> None:
        gate = shop.mailer.hold("send")
        order_id = await shop.start()
        await gate.entered()

        with pytest.raises(TooLateError, match="too late to cancel"):
            await shop.orders.cancel(order_id)

        gate.release()
        assert (await shop.orders.result(order_id)).status is Status.COMPLETED

    async def test_an_order_that_ended_is_left_alone(self, shop: Shop) -> None:
        order_id = await shop.start()
        await shop.orders.result(order_id)

        for cancel in (shop.orders.cancel, shop.orders.request_cancel):
            with pytest.raises(OrderEndedError, match="has ended, it is completed"):
                await cancel(order_id)

    async def test_an_unknown_order_cannot_be_cancelled(self, closed_shop: Shop) -> None:
        with pytest.raises(NoSuchOrderError):
            await closed_shop.orders.cancel("nobody")

    async def test_without_a_worker_the_caller_is_told_that_nothing_is_known(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.start()

        with pytest.raises(NoWorkerError, match="no worker answered"):
            await closed_shop.orders.cancel(order_id, wait=timedelta(seconds=0.5))

    async def test_a_request_without_waiting_is_kept_until_a_worker_is_there(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.start()
        await closed_shop.orders.request_cancel(order_id)

        async with closed_shop.worker():
            outcome = await closed_shop.orders.result(order_id)

        assert outcome.status is Status.CANCELLED
        assert closed_shop.cards.charges_of(order_id) == []

    async def test_a_caller_who_gives_up_waiting_is_let_go(self, closed_shop: Shop) -> None:
        order_id = await closed_shop.start()
        cancelling = asyncio.create_task(closed_shop.orders.cancel(order_id))
        await asyncio.wait([cancelling], timeout=0.2)

        cancelling.cancel()

        with pytest.raises(asyncio.CancelledError):
            await cancelling


class TestResult:
    async def test_a_completed_order_names_its_parcels(self, shop: Shop) -> None:
        order_id = await shop.start()

        outcome = await shop.orders.result(order_id)

        assert (outcome.status, outcome.taken) == (Status.COMPLETED, TOTAL)
        assert outcome.parcel_ids == shop.warehouse.parcels[order_id]

    async def test_an_order_undone_after_an_outage_has_an_outcome_too(self, shop: Shop) -> None:
        shop.cards.fail_next(
            "create", NoAnswerError("the bank is on fire", retry_after=SOON), times=3
        )
        order_id = await shop.start()

        outcome = await shop.orders.result(order_id)

        assert outcome.status is Status.REJECTED
        assert outcome.stop == Stop(StopReason.NO_ANSWER, "the bank is on fire")

    async def test_an_order_whose_run_was_terminated_asks_for_a_person(
        self, closed_shop: Shop
    ) -> None:
        order_id = await closed_shop.start()
        await closed_shop.temporal.get_workflow_handle(workflow_id(order_id)).terminate()

        with pytest.raises(StrandedError, match="its run is terminated"):
            await closed_shop.orders.result(order_id)
        with pytest.raises(StrandedError):
            await closed_shop.orders.cancel(order_id)
        assert "run is over" in (await closed_shop.orders.status(order_id)).doing

    async def test_an_order_that_was_not_started_has_none(self, closed_shop: Shop) -> None:
        with pytest.raises(NotStartedError):
            await closed_shop.orders.result(await closed_shop.place())


class TestListing:
    async def test_orders_are_listed_by_status(self, shop: Shop) -> None:
        completed = await shop.start()
        rejected = await shop.start(sku="CALENDAR")
        for order_id in (completed, rejected):
            await shop.orders.result(order_id)

        async def listed() -> bool:
            # Temporal's list follows each order in its own time: neither waits for the other.
            found = await _list(shop)
            return all(
                order_id in found and found[order_id].run == "completed"
                for order_id in (completed, rejected)
            )

        await eventually(listed)
        found = await _list(shop, Status.REJECTED)
        assert completed not in found
        assert found[rejected].customer_id == "cus_1"

    async def test_no_more_are_listed_than_asked_for(self, shop: Shop) -> None:
        started = await asyncio.gather(*(shop.start() for _ in range(3)))

        async def listed() -> bool:
            return set(started) <= set(await _list(shop))

        await eventually(listed)
        assert len([row async for row in shop.orders.list(limit=2)]) == 2


class TestWatching:
    async def test_every_change_is_seen_until_the_end(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        order_id = await shop.start()
        seen: list[OrderSnapshotView] = []

        async for sighting in shop.orders.watch_view(order_id):
            seen.append(sighting)
            if sighting.doing == "handing over to the warehouse":
                gate.release()

        assert [s.view.order.status for s in seen][-1] is Status.COMPLETED
        assert "handing over to the warehouse" in [s.doing for s in seen]
        assert Status.PAID in [s.view.order.status for s in seen]
        assert seen[-1].doing == "ended"
        assert seen[-1].view.parcels

    async def test_an_order_is_watched_while_no_worker_is_there(self, closed_shop: Shop) -> None:
        order_id = await closed_shop.start()
        watching = closed_shop.orders.watch_view(order_id)

        first = await anext(watching)

        assert (first.view.order.status, first.doing) == (Status.PLACED, "starting")
        async with closed_shop.worker():
            last = [sighting async for sighting in watching][-1]
        assert last.view.order.status is Status.COMPLETED

    async def test_an_order_that_ended_is_seen_once(self, shop: Shop) -> None:
        order_id = await shop.start()
        await shop.orders.result(order_id)

        seen = [sighting async for sighting in shop.orders.watch_view(order_id)]

        assert [sighting.doing for sighting in seen] == ["ended"]

    async def test_an_order_that_was_not_started_cannot_be_watched(self, closed_shop: Shop) -> None:
        with pytest.raises(NotStartedError):
            await anext(closed_shop.orders.watch_view(await closed_shop.place()))


class TestOutages:
    async def test_a_temporal_that_is_away_is_named_in_one_sentence(
        self, closed_shop: Shop
    ) -> None:
        nowhere = await Client.connect("127.0.0.1:1", lazy=True)
        orders = OrderClient(nowhere, closed_shop.book)
        order_id = await closed_shop.place()

        for ask in (orders.start, orders.status, orders.cancel, orders.request_cancel):
            with pytest.raises(UnreachableError, match=r"does not answer at 127\.0\.0\.1:1 \("):
                await ask(order_id)
        with pytest.raises(UnreachableError):
            await anext(orders.list())

    async def test_a_namespace_that_is_not_there_is_named(self, closed_shop: Shop) -> None:
        address = closed_shop.temporal.service_client.config.target_host
        elsewhere = await Client.connect(address, namespace="elsewhere")
        order_id = await closed_shop.place()

        with pytest.raises(UnreachableError, match="elsewhere is not found"):
            await OrderClient(elsewhere, closed_shop.book).start(order_id)

    async def test_watching_and_waiting_survive_a_restart_of_temporal(self, tmp_path: Path) -> None:
        # A port of its own: the server must come back where it was.
        server = TemporalServer(tmp_path, port=free_port(), ui_port=free_port())
        async with server:
            shop = Shop(await Client.connect(server.address, data_converter=DATA_CONVERTER))
            order_id = await shop.start()
            watching = shop.orders.watch_view(order_id)
            await anext(watching)
            ended = asyncio.create_task(shop.orders.result(order_id))
            rest = asyncio.create_task(_all(watching))
            await asyncio.wait([ended, rest], timeout=0.5)

            await server.stop()
            await server.start()

            async with shop.worker():
                assert (await ended).status is Status.COMPLETED
                assert (await rest)[-1].view.order.status is Status.COMPLETED


async def _all(sightings: AsyncIterator[OrderSnapshotView]) -> list[OrderSnapshotView]:
    return [sighting async for sighting in sightings]


async def _cancel_requested(shop: Shop, order_id: str) -> bool:
    return (await shop.orders.status(order_id)).cancel_requested


async def _list(shop: Shop, status: Status | None = None) -> dict[str, ListedOrder]:
    return {row.order_id: row async for row in shop.orders.list(status, limit=1000)}
