"""Parcels told of and settled: through the client, and from the command line."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from commands import terminal
from orders.lifecycle import Status
from orders.parcels import ParcelStatus
from orders.refusals import NotStartedError, NotWaitingError, NoWorkerError, OrderEndedError
from orders.terms import ShopTerms
from tests.client.shell import Run, read, refused
from tests.eventually import eventually
from tests.fakes.warehouse import InMemoryWarehouse
from tests.shop import Shop

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


async def test_a_lost_parcel_is_waited_for_until_somebody_settles_it(shop: Shop) -> None:
    order_id = await on_its_way(shop, "par_3")
    await shop.orders.parcel_updated(order_id, "par_3", SHIPPED)
    await shop.orders.parcel_updated(order_id, "par_3", LOST)

    async def flagged() -> bool:
        return (await shop.orders.status(order_id)).attention is not None

    await eventually(flagged)
    with pytest.raises(NotWaitingError, match="does not wait for a parcel par_33"):
        await shop.orders.settle_parcel(order_id, "par_33", "refunded as r1", "ops-7")

    await shop.orders.settle_parcel(order_id, "par_3", "refunded as r1", "ops-7")

    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    history = (await shop.orders.view(order_id)).history
    [settled] = [line.detail for line in history if line.event == "parcel_settled"]
    assert settled == {"parcel_id": "par_3", "by": "ops-7", "outcome": "refunded as r1"}
    with pytest.raises(OrderEndedError):
        await shop.orders.settle_parcel(order_id, "par_3", "resent as par_4", "ops-7")


async def test_an_order_that_is_not_at_the_warehouse_waits_for_no_parcel(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    order_id = await shop.start()
    await gate.entered()
    with pytest.raises(NotWaitingError, match="does not wait for a parcel"):
        await shop.orders.settle_parcel(order_id, "par_5", "resent as par_6")
    gate.release()


async def test_without_a_worker_news_is_kept_and_nothing_is_settled(closed_shop: Shop) -> None:
    orders = closed_shop.orders
    with pytest.raises(NotStartedError):
        await orders.parcel_updated(await closed_shop.place(), "par_7", SHIPPED)
    async with closed_shop.worker():
        order_id = await on_its_way(closed_shop, "par_7")
    wait = timedelta(seconds=0.3)
    with pytest.raises(NoWorkerError, match="the decision about a parcel may still take hold"):
        await orders.settle_parcel(order_id, "par_none", "resent", wait=wait)
    await orders.parcel_updated(order_id, "par_7", DELIVERED)
    async with closed_shop.worker():
        assert (await orders.result(order_id)).status is Status.COMPLETED


# -- the command line ------------------------------------------------------------------------------


async def ordered(run: Run, warehouse: InMemoryWarehouse, order_id: str) -> str:
    """The parcel of an order that waits for it."""
    await run("place", "--order-id", order_id)

    async def waits() -> bool:
        return bool(re.match(WAITING, read(await run("status", order_id, "--json"))["doing"]))

    await eventually(waits)
    [parcel_id] = warehouse.parcels[order_id]
    return parcel_id


@pytest.mark.usefixtures("working")
async def test_a_parcel_is_told_of_from_the_command_line(
    run: Run, warehouse: InMemoryWarehouse
) -> None:
    parcel_id = await ordered(run, warehouse, "cli-p1")

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
    run: Run, warehouse: InMemoryWarehouse
) -> None:
    parcel_id = await ordered(run, warehouse, "cli-p2")
    outcome = ("--outcome", "refunded as r1")

    wrong = await run("settle-parcel", "cli-p2", "par_nobody", *outcome)
    refused(wrong, "does not wait for a parcel par_nobody", terminal.REFUSED)
    settled = await run("settle-parcel", "cli-p2", parcel_id, *outcome, "--by", "ops-7")

    assert f"Order cli-p2 waits no more for {parcel_id}." in settled.stdout
    assert read(await run("result", "cli-p2", "--json"))["status"] == "completed"


async def _is(shop: Shop, order_id: str, status: Status) -> bool:
    return (await shop.orders.status(order_id)).status is status
