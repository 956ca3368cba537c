"""Parcels told of, sent again, refunded and settled: by the client and from the command line."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable_orders.cli import terminal
from durable_orders.clients.errors import (
    NotStartedError,
    NotWaitingError,
    NoWorkerError,
    OrderEndedError,
    RefundRefusedError,
    TooLateError,
    UndecidedError,
)
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.views import ListedOrder
from tests.cli.shell import Aside, Run, read, refused
from tests.fakes.cards import InMemoryCards
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.shop import Shop
from workflows import retry_policies

WAITING = "waiting for the parcels to arrive"
SHIPPED, LOST, DELIVERED = ParcelStatus.SHIPPED, ParcelStatus.LOST, ParcelStatus.DELIVERED


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(delivery_deadline=timedelta(days=30))


@pytest.fixture
def closed_shop(closed_shop: Shop, terms: ShopTerms) -> Shop:
    closed_shop.terms = terms
    return closed_shop


async def on_its_way(shop: Shop, *parcel_ids: str) -> str:
    """An order in these parcels, whose run waits for them."""
    order_id = await shop.place()
    shop.warehouse.pack(order_id, *parcel_ids)
    await shop.orders.start(order_id)
    await shop.reaches(order_id, WAITING)
    return order_id


async def test_an_order_is_completed_when_its_last_parcel_is_delivered(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_1", "par_2")
    for parcel_id in ("par_1", "par_2"):
        await shop.orders.parcel_updated(order_id, parcel_id, SHIPPED, f"T-{parcel_id}")
    await eventually(lambda: _is(shop, order_id, Status.SHIPPED))
    await shop.orders.parcel_updated(order_id, "par_1", DELIVERED)
    await shop.orders.parcel_updated(order_id, "par_of_somebody_else", DELIVERED)
    assert (await shop.orders.status(order_id)).status is Status.SHIPPED

    await shop.orders.parcel_updated(order_id, "par_2", DELIVERED)

    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    told = {parcel.parcel_id: parcel for parcel in (await shop.orders.view(order_id)).parcels}
    assert (told["par_2"].status, told["par_2"].tracking) == ("delivered", "T-par_2")
    with pytest.raises(OrderEndedError):
        await shop.orders.parcel_updated(order_id, "par_1", LOST)


async def test_an_order_is_one_order_in_however_many_runs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policies, "LONG_HISTORY", 8)
    order_id = await shop.place()
    shop.warehouse.pack(order_id, "par_a")
    first = await shop.orders.start(order_id, request_id="req-1")
    watching = shop.orders.watch_view(order_id)
    await anext(watching)
    ended = asyncio.create_task(shop.orders.result(order_id))

    async def handed_on() -> bool:
        return (await shop.orders.start(order_id)).run_id != first.run_id

    await eventually(handed_on)
    run = await shop.temporal.get_workflow_handle(first.workflow_id).describe()
    assert await run.memo_value("request_id") == "req-1"
    assert (await shop.orders.status(order_id)).status is Status.FULFILLED

    async def listed() -> bool:
        return [row.run for row in await _rows(shop, order_id)] == ["running"]

    await eventually(listed)
    with pytest.raises(TooLateError):
        await shop.orders.cancel(order_id)
    await shop.orders.parcel_updated(order_id, "par_a", DELIVERED)

    assert (await ended).status is Status.COMPLETED
    seen = [sighting async for sighting in watching]
    assert (seen[-1].view.order.status, seen[-1].doing) == (Status.COMPLETED, "ended")
    assert (await shop.orders.start(order_id)).already_started


async def _rows(shop: Shop, order_id: str) -> list[ListedOrder]:
    return [row async for row in shop.orders.list(limit=1000) if row.order_id == order_id]


async def test_a_lost_parcel_is_waited_for_until_somebody_settles_it(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_3")
    await shop.orders.parcel_updated(order_id, "par_3", SHIPPED)
    await shop.orders.parcel_updated(order_id, "par_3", LOST)

    async def flagged() -> bool:
        return (await shop.orders.status(order_id)).attention is not None

    await eventually(flagged)
    with pytest.raises(NotWaitingError, match="does not wait for a parcel par_33"):
        await shop.operations.settle_parcel(order_id, "par_33", "refunded as r1", "ops-7")

    await shop.operations.settle_parcel(order_id, "par_3", "refunded as r1", "ops-7")

    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    history = (await shop.orders.view(order_id)).history
    [settled] = [line.detail for line in history if line.event == "parcel_settled"]
    assert settled == {"parcel_id": "par_3", "by": "ops-7", "outcome": "refunded as r1"}
    with pytest.raises(OrderEndedError):
        await shop.operations.settle_parcel(order_id, "par_3", "resent as par_4", "ops-7")


async def test_a_lost_parcel_is_sent_again_and_the_new_one_waited_for(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_lost")
    for status in (SHIPPED, LOST):
        await shop.orders.parcel_updated(order_id, "par_lost", status)
    with pytest.raises(NotWaitingError, match="does not wait for a parcel par_none"):
        await shop.operations.resend_parcel(order_id, "par_none", "ops-7")

    resent = await shop.operations.resend_parcel(order_id, "par_lost", "ops-7")

    assert shop.warehouse.parcels[order_id] == (resent.parcel_id,)
    with pytest.raises(NotWaitingError, match="does not wait for a parcel par_lost"):
        await shop.operations.resend_parcel(order_id, "par_lost", "ops-7")
    await shop.orders.parcel_updated(order_id, resent.parcel_id, DELIVERED)
    outcome = await shop.orders.result(order_id)
    assert (outcome.status, outcome.parcel_ids) == (
        Status.COMPLETED,
        ("par_lost", resent.parcel_id),
    )
    history = (await shop.orders.view(order_id)).history
    [settled] = [line.detail for line in history if line.event == "parcel_settled"]
    assert (settled["by"], settled["outcome"]) == ("ops-7", f"resent as {resent.parcel_id}")


async def test_a_warehouse_that_does_not_send_again_is_told_of_and_the_parcel_waited_for(
    shop: Shop,
) -> None:
    order_id = await on_its_way(shop, "par_gone")
    shop.warehouse.refuse(order_id, "no mug left")

    with pytest.raises(NotWaitingError, match=r"does not resend par_gone: .* \(cannot_fulfill\)"):
        await shop.operations.resend_parcel(order_id, "par_gone", "ops-7")

    assert (await shop.orders.status(order_id)).doing == WAITING
    assert shop.warehouse.parcels[order_id] == ("par_gone",)


async def test_a_warehouse_that_is_slow_to_send_again_is_waited_for_by_the_order(
    shop: Shop,
) -> None:
    order_id = await on_its_way(shop, "par_slow")
    gate = shop.warehouse.hold("resend")
    wait = timedelta(seconds=2)
    with pytest.raises(UndecidedError, match="has taken on the resending of a parcel"):
        await shop.operations.resend_parcel(order_id, "par_slow", "ops-7", wait=wait)
    gate.release()

    async def settled() -> bool:
        history = (await shop.orders.view(order_id)).history
        return "parcel_settled" in {line.event for line in history}

    await eventually(settled)
    [resent] = shop.warehouse.parcels[order_id]
    await shop.orders.parcel_updated(order_id, resent, DELIVERED)
    assert (await shop.orders.result(order_id)).parcel_ids == ("par_slow", resent)


async def test_what_a_silent_warehouse_may_have_sent_again_is_not_refunded(
    shop: Shop,
) -> None:
    order_id = await on_its_way(shop, "par_unheard")
    silence = NoAnswerError("nobody answers", retry_after=timedelta(milliseconds=100))
    shop.warehouse.lose_answer_next("resend")
    shop.warehouse.fail_until_healed("resend", silence)
    for _ in range(2):
        with pytest.raises(UndecidedError, match=r"has no answer \(nobody answers\)"):
            await shop.operations.resend_parcel(order_id, "par_unheard", "ops-7")
    with pytest.raises(NotWaitingError, match="not known whether the warehouse sends parcel par_u"):
        await shop.operations.refund_parcel(order_id, "par_unheard", "ops-7")

    async def told() -> bool:
        attention = (await shop.orders.status(order_id)).attention
        return attention is not None and "settle the parcel" in attention.problem

    await eventually(told)
    shop.warehouse.heal("resend")

    async def followed() -> bool:
        history = (await shop.orders.view(order_id)).history
        return "parcel_settled" in {line.event for line in history}

    await eventually(followed)
    [new] = shop.warehouse.parcels[order_id]
    await shop.orders.parcel_updated(order_id, new, DELIVERED)
    assert (await shop.orders.result(order_id)).parcel_ids == ("par_unheard", new)
    assert shop.cards.given_back(order_id) == 0


async def test_a_lost_parcel_is_refunded_and_waited_for_no_more(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_held", "par_untold")
    # All of it is in the first: of the second the warehouse never said what it holds.
    with pytest.raises(NotWaitingError, match="refund by line, then settle it"):
        await shop.operations.refund_parcel(order_id, "par_untold", "ops-7")
    await shop.orders.parcel_updated(order_id, "par_untold", DELIVERED)

    await shop.operations.refund_parcel(order_id, "par_held", "ops-7")

    assert (await shop.orders.result(order_id)).status is Status.COMPLETED

    async def refunded() -> bool:
        return shop.cards.given_back(order_id) == 29_00

    await eventually(refunded)
    with pytest.raises(OrderEndedError):
        await shop.operations.refund_parcel(order_id, "par_held", "ops-7")


async def test_of_a_lost_parcel_what_is_left_is_refunded_and_the_rest_is_said(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_part")
    refunds = RefundClient(shop.temporal, InMemoryRefundBook(shop.database))
    await refunds.request(RefundRequest(order_id, "r1", amount=Money(5_00, "EUR")))
    await refunds.result(order_id, "r1")

    refunded = await shop.operations.refund_parcel(order_id, "par_part", "ops-7")

    assert (refunded.refund.refund_id, refunded.amount) == ("parcel.par_part", Money(24_00, "EUR"))
    assert "24.00 EUR is left of the 29.00 EUR that these pieces cost" in refunded.why
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED


async def test_a_lost_parcel_that_cannot_be_refunded_is_waited_for(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_paid")
    refunds = RefundClient(shop.temporal, InMemoryRefundBook(shop.database))
    await refunds.request(RefundRequest(order_id, "r1"))
    await refunds.result(order_id, "r1")
    with pytest.raises(RefundRefusedError, match="par_paid is not refunded, and still waited for"):
        await shop.operations.refund_parcel(order_id, "par_paid", "ops-7")
    assert (await shop.orders.status(order_id)).doing == WAITING
    await shop.operations.settle_parcel(order_id, "par_paid", "refunded as r1", "ops-7")
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED


async def test_an_order_that_is_not_at_the_warehouse_waits_for_no_parcel(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    order_id = await shop.start()
    await gate.entered()
    with pytest.raises(NotWaitingError, match="does not wait for a parcel"):
        await shop.operations.settle_parcel(order_id, "par_5", "resent as par_6")
    gate.release()


async def test_without_a_worker_news_is_kept_and_nothing_is_settled(closed_shop: Shop) -> None:
    orders = closed_shop.orders
    with pytest.raises(NotStartedError):
        await orders.parcel_updated(await closed_shop.place(), "par_7", SHIPPED)
    async with closed_shop.worker():
        order_id = await on_its_way(closed_shop, "par_7")
    wait = timedelta(seconds=0.3)
    with pytest.raises(NoWorkerError, match="the decision about a parcel may still take hold"):
        await closed_shop.operations.settle_parcel(order_id, "par_none", "resent", wait=wait)
    await orders.parcel_updated(order_id, "par_7", DELIVERED)
    async with closed_shop.worker():
        assert (await orders.result(order_id)).status is Status.COMPLETED


# -- the command line ------------------------------------------------------------------------------


async def ordered(aside: Aside, warehouse: InMemoryWarehouse, order_id: str) -> str:
    """The parcel of an order that waits for it."""
    await aside.place(order_id)
    await aside.reaches(order_id, WAITING)
    [parcel_id] = warehouse.parcels[order_id]
    return parcel_id


@pytest.mark.usefixtures("working")
async def test_a_parcel_is_told_of_from_the_command_line(
    run: Run, aside: Aside, warehouse: InMemoryWarehouse
) -> None:
    parcel_id = await ordered(aside, warehouse, "cli-p1")

    told = await run("parcel", "cli-p1", parcel_id, "shipped", "--tracking", "TRK-42")
    assert told.stdout.startswith(f"Order cli-p1 hears that {parcel_id} is shipped. Watch it: ")
    assert read(await run("parcel", "cli-p1", parcel_id, "delivered", "--json")) == {
        "order_id": "cli-p1",
        "accepted": True,
    }

    assert read(await run("result", "cli-p1", "--json"))["status"] == "completed"
    assert "TRK-42" in (await run("watch", "cli-p1")).stdout
    again = await run("parcel", "cli-p1", parcel_id, "delivered")
    refused(again, "has ended, it is completed", terminal.REFUSED)
    nonsense = await run("parcel", "cli-p1", parcel_id, "eaten")
    assert nonsense.exit_code == terminal.USED_WRONGLY
    assert "'eaten' is not one of" in nonsense.stderr


@pytest.mark.usefixtures("working")
async def test_a_lost_parcel_is_settled_from_the_command_line(
    run: Run, aside: Aside, warehouse: InMemoryWarehouse
) -> None:
    parcel_id = await ordered(aside, warehouse, "cli-p2")
    outcome = ("--outcome", "refunded as r1")

    wrong = await run("settle-parcel", "cli-p2", "par_nobody", *outcome)
    refused(wrong, "does not wait for a parcel par_nobody", terminal.REFUSED)
    settled = await run("settle-parcel", "cli-p2", parcel_id, *outcome, "--by", "ops-7")

    assert f"Order cli-p2 waits no more for {parcel_id}." in settled.stdout
    assert read(await run("result", "cli-p2", "--json"))["status"] == "completed"


@pytest.mark.usefixtures("working")
async def test_a_lost_parcel_is_sent_again_or_refunded_from_the_command_line(
    run: Run, aside: Aside, warehouse: InMemoryWarehouse, cards: InMemoryCards
) -> None:
    lost = await ordered(aside, warehouse, "cli-p3")
    wrong = await run("resend-parcel", "cli-p3", "par_nobody")
    refused(wrong, "does not wait for a parcel par_nobody", terminal.REFUSED)

    told = read(await run("resend-parcel", "cli-p3", lost, "--by", "ops-7", "--json"))
    [second] = warehouse.parcels["cli-p3"]
    assert told == {
        "order_id": "cli-p3",
        "fulfillment_id": warehouse.accepted["cli-p3"].fulfillment_id,
        "parcel_id": second,
        "kind": "resent",
    }
    said = (await run("resend-parcel", "cli-p3", second)).stdout
    [third] = warehouse.parcels["cli-p3"]
    assert said.startswith(f"Order cli-p3 waits for {third} instead of {second}. Watch it: ")

    wrong = await run("refund-parcel", "cli-p3", second)
    refused(wrong, f"does not wait for a parcel {second}", terminal.REFUSED)
    refund = await run("refund-parcel", "cli-p3", third, "--by", "ops-7")
    refunding = f"Order cli-p3 has {third} refunded, as parcel.{third}: 29.00 EUR is set aside."
    assert refund.stdout.startswith(refunding)
    assert read(await run("result", "cli-p3", "--json"))["status"] == "completed"

    async def refunded() -> bool:
        return cards.given_back("cli-p3") == 29_00

    await eventually(refunded)


async def _is(shop: Shop, order_id: str, status: Status) -> bool:
    return (await shop.orders.status(order_id)).status is status
