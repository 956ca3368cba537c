"""Contract of `Warehouse` and docs/warehouse-api.md, for every warehouse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
import pytest_asyncio

from durable_orders.domain import ids
from durable_orders.domain.activity_messages import (
    AlreadyLeft,
    ContentsUnknown,
    Fulfilled,
    FulfillmentCancelled,
    Resent,
)
from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import (
    LockedOutError,
    NoAnswerError,
    RefusedError,
    ShippingRefused,
    ShippingRequest,
    Warehouse,
)
from durable_orders.providers.warehouse.client import HttpWarehouse
from sandbox.books_client import BooksClient
from tests.contracts.conftest import SandboxControl
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.keys import INSTALLATION, fulfillment_key, resend_key

ENDPOINTS = {
    "fulfill": "warehouse.fulfillments.create",
    "resend": "warehouse.parcels.resend",
    "cancel": "warehouse.fulfillments.cancel",
    "read": "warehouse.fulfillments.retrieve",
}
ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon")


class WarehouseOnTrial(Protocol):
    """A warehouse, with controls outside of the port."""

    @property
    def warehouse(self) -> Warehouse: ...
    async def break_next(self, method: str, failure: str, order_id: str) -> None: ...
    async def refuse(self, order_id: str, message: str) -> None:
        """Refuse to ship the order, and to resend its parcels."""
        ...

    async def run_short(self, order_id: str, sku: str, pieces: int) -> None:
        """Lack these pieces, which are all that the order has of ``sku``."""
        ...

    async def dispatch(self, order_id: str) -> None: ...
    async def parcels(self, order_id: str) -> tuple[str, ...]:
        """Parcels that have left or will leave, from the warehouse's own records; a resent one
        appears under its new id.
        """
        ...


class FakeOnTrial:
    def __init__(self) -> None:
        self.warehouse = InMemoryWarehouse()

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        if failure == "hang_up_after":
            self.warehouse.lose_answer_next(method)
        else:
            wait = timedelta(seconds=7) if failure == "rate_limit" else None
            self.warehouse.fail_next(method, NoAnswerError(failure, retry_after=wait))

    async def refuse(self, order_id: str, message: str) -> None:
        self.warehouse.refuse(order_id, message)

    async def run_short(self, order_id: str, sku: str, pieces: int) -> None:
        self.warehouse.run_short(order_id, ((sku, pieces),))

    async def dispatch(self, order_id: str) -> None:
        self.warehouse.dispatch(order_id)

    async def parcels(self, order_id: str) -> tuple[str, ...]:
        return self.warehouse.parcels.get(order_id, ())


class SandboxOnTrial:
    def __init__(self, warehouse: Warehouse, control: SandboxControl) -> None:
        self.warehouse = warehouse
        self._control = control

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        await self._control.turn(ENDPOINTS[method], failure, order_id, seconds=7)

    async def refuse(self, order_id: str, message: str) -> None:
        for endpoint in (ENDPOINTS["fulfill"], ENDPOINTS["resend"]):
            await self._control.turn(endpoint, "refuse", order_id, reason=message, times=None)

    async def run_short(self, order_id: str, sku: str, pieces: int) -> None:
        await self._control.turn("warehouse.fulfillments.create", "short", order_id, sku=sku)

    async def dispatch(self, order_id: str) -> None:
        await self._control.dispatch(order_id)

    async def parcels(self, order_id: str) -> tuple[str, ...]:
        parcels = (await BooksClient(self._control.url).order(order_id)).parcels
        return tuple(parcel.id for parcel in parcels)


@pytest_asyncio.fixture(params=["in memory", "HTTP on the sandbox"])
async def trial(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[WarehouseOnTrial]:
    if request.param == "in memory":
        yield FakeOnTrial()
    else:
        async with HttpWarehouse(f"{control.url}/warehouse", "key") as warehouse:
            yield SandboxOnTrial(warehouse, control)


def shipping(order_id: str, installation: str = INSTALLATION) -> ShippingRequest:
    return ShippingRequest(order_id, ADA, (("MUG", 2), ("TEA", 1)), installation)


async def test_an_accepted_order_has_parcels(trial: WarehouseOnTrial, order_id: str) -> None:
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    assert answer.fulfillment_id
    assert answer.parcel_ids == await trial.parcels(order_id)
    [parcel_id] = answer.parcel_ids
    assert answer.contents == {parcel_id: (("MUG", 2), ("TEA", 1))}


@pytest.mark.parametrize("second_key", ["the same", "another"])
async def test_an_order_is_accepted_once_whatever_the_key(
    trial: WarehouseOnTrial, order_id: str, second_key: str
) -> None:
    key = fulfillment_key(order_id)
    first = await trial.warehouse.fulfill(shipping(order_id), key=key)
    again = await trial.warehouse.fulfill(
        shipping(order_id), key=key if second_key == "the same" else f"{key}:2"
    )
    assert first == again
    assert len(await trial.parcels(order_id)) == 1


async def test_a_key_is_refused_for_another_request(trial: WarehouseOnTrial, order_id: str) -> None:
    key = fulfillment_key(order_id)
    await trial.warehouse.fulfill(shipping(order_id), key=key)
    other = replace(shipping(order_id), quantities=(("MUG", 3),))
    with pytest.raises(RefusedError):
        await trial.warehouse.fulfill(other, key=key)


async def test_a_warehouse_that_will_not_ship_says_why(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    await trial.refuse(order_id, "nobody can lift it")
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert answer == ShippingRefused("cannot_fulfill", "nobody can lift it")
    assert await trial.parcels(order_id) == ()


async def test_a_warehouse_that_can_ship_only_a_part_says_what_is_short(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    await trial.run_short(order_id, "MUG", 2)
    key = fulfillment_key(order_id)
    answer = await trial.warehouse.fulfill(shipping(order_id), key=key)
    assert isinstance(answer, Fulfilled)
    assert answer.short == (("MUG", 2),)
    assert list(answer.contents.values()) == [(("TEA", 1),)]
    assert answer.parcel_ids == await trial.parcels(order_id)
    # The answer stands, although the pieces may be in stock again.
    assert await trial.warehouse.fulfill(shipping(order_id), key=key) == answer
    assert await trial.warehouse.fulfill(shipping(order_id), key=f"{key}:2") == answer


async def test_an_accepted_order_can_be_taken_back(trial: WarehouseOnTrial, order_id: str) -> None:
    await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert (
        await trial.warehouse.cancel(order_id, installation=INSTALLATION) == FulfillmentCancelled()
    )
    assert (
        await trial.warehouse.cancel(order_id, installation=INSTALLATION) == FulfillmentCancelled()
    )
    assert await trial.parcels(order_id) == ()


async def test_a_request_that_comes_after_its_cancellation_ships_nothing(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    assert (
        await trial.warehouse.cancel(order_id, installation=INSTALLATION) == FulfillmentCancelled()
    )
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, ShippingRefused)
    assert answer.code == "fulfillment_cancelled"
    assert await trial.parcels(order_id) == ()


async def test_the_same_order_of_another_installation_is_another_order(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    key = ids.fulfillment_key("othershop", order_id)
    ours = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    theirs = await trial.warehouse.fulfill(shipping(order_id, "othershop"), key=key)
    assert isinstance(ours, Fulfilled)
    assert isinstance(theirs, Fulfilled)
    assert set(ours.parcel_ids).isdisjoint(theirs.parcel_ids)

    recalled = await trial.warehouse.cancel(order_id, installation="othershop")
    assert recalled == FulfillmentCancelled()
    again = await trial.warehouse.fulfill(shipping(order_id), key=f"{order_id}:again")
    assert again == ours
    refused = await trial.warehouse.fulfill(shipping(order_id, "othershop"), key=f"{key}:again")
    assert isinstance(refused, ShippingRefused)
    await trial.dispatch(order_id)
    left = await trial.warehouse.cancel(order_id, installation=INSTALLATION)
    assert left == AlreadyLeft(ours.fulfillment_id, ours.parcel_ids)


async def test_what_has_left_cannot_be_taken_back(trial: WarehouseOnTrial, order_id: str) -> None:
    accepted = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    await trial.dispatch(order_id)
    assert isinstance(accepted, Fulfilled)
    left = AlreadyLeft(accepted.fulfillment_id, accepted.parcel_ids)
    assert await trial.warehouse.cancel(order_id, installation=INSTALLATION) == left
    assert await trial.parcels(order_id) == accepted.parcel_ids


@pytest.mark.parametrize("failure", ["hang_up", "hang_up_after", "error", "rate_limit"])
@pytest.mark.parametrize("method", ["fulfill", "cancel"])
async def test_asking_again_after_no_answer_has_the_effect_of_once(
    trial: WarehouseOnTrial, order_id: str, method: str, failure: str
) -> None:
    key = fulfillment_key(order_id)

    async def ask() -> object:
        if method == "cancel":
            return await trial.warehouse.cancel(order_id, installation=INSTALLATION)
        return await trial.warehouse.fulfill(shipping(order_id), key=key)

    if method == "cancel":
        await trial.warehouse.fulfill(shipping(order_id), key=key)
    await trial.break_next(method, failure, order_id)
    with pytest.raises(NoAnswerError) as caught:
        await ask()
    assert caught.value.retry_after == (timedelta(seconds=7) if failure == "rate_limit" else None)
    assert await ask() == await ask()
    assert len(await trial.parcels(order_id)) == (1 if method == "fulfill" else 0)


async def test_asking_at_the_same_time_ships_once(trial: WarehouseOnTrial, order_id: str) -> None:
    ask = [
        trial.warehouse.fulfill(shipping(order_id), key=f"{order_id}:{number}")
        for number in (1, 1, 1, 2, 2)
    ]
    answers = await asyncio.gather(*ask, return_exceptions=True)
    first, *others = [answer for answer in answers if not isinstance(answer, NoAnswerError)]
    assert all(answer == first for answer in others)
    assert isinstance(first, Fulfilled)
    assert len(await trial.parcels(order_id)) == 1


# -- an answer that was lost -------------------------------------------------------------------


@pytest.mark.parametrize("short", [False, True], ids=["whole", "short"])
@pytest.mark.parametrize("left", [False, True], ids=["packed", "left"])
async def test_what_an_answer_said_can_be_read_again(
    trial: WarehouseOnTrial, order_id: str, *, short: bool, left: bool
) -> None:
    if short:
        await trial.run_short(order_id, "MUG", 2)
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    if left:
        await trial.dispatch(order_id)
        recalled = await trial.warehouse.cancel(order_id, installation=INSTALLATION)
        assert isinstance(recalled, AlreadyLeft)
    assert await trial.warehouse.read(shipping(order_id)) == answer
    assert await trial.parcels(order_id) == answer.parcel_ids


async def test_what_an_answer_said_can_be_read_though_it_was_lost(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    await trial.run_short(order_id, "MUG", 2)
    await trial.break_next("fulfill", "hang_up_after", order_id)
    with pytest.raises(NoAnswerError):
        await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    answer = await trial.warehouse.read(shipping(order_id))
    assert isinstance(answer, Fulfilled)
    assert answer.short == (("MUG", 2),)
    assert list(answer.contents.values()) == [(("TEA", 1),)]
    assert answer.parcel_ids == await trial.parcels(order_id)


async def test_a_parcel_sent_again_changes_nothing_of_what_the_answer_said(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    await trial.dispatch(order_id)
    [lost] = answer.parcel_ids
    key = resend_key(order_id, lost)
    await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key)
    assert await trial.warehouse.read(shipping(order_id)) == answer


async def test_of_what_will_not_leave_nothing_can_be_read(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    assert isinstance(await trial.warehouse.read(shipping(order_id)), ContentsUnknown)
    assert await trial.parcels(order_id) == ()  # reading accepts nothing
    await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    other = await trial.warehouse.read(shipping(order_id, "othershop"))
    assert isinstance(other, ContentsUnknown)
    await trial.warehouse.cancel(order_id, installation=INSTALLATION)
    assert isinstance(await trial.warehouse.read(shipping(order_id)), ContentsUnknown)


@pytest.mark.parametrize("failure", ["hang_up", "hang_up_after", "error", "rate_limit"])
async def test_reading_again_after_no_answer_is_harmless(
    trial: WarehouseOnTrial, order_id: str, failure: str
) -> None:
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    await trial.break_next("read", failure, order_id)
    with pytest.raises(NoAnswerError):
        await trial.warehouse.read(shipping(order_id))
    assert await trial.warehouse.read(shipping(order_id)) == answer


# -- a parcel that was lost ------------------------------------------------------------------------


async def sent(trial: WarehouseOnTrial, order_id: str) -> str:
    """The one parcel of an order, which has left."""
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    await trial.dispatch(order_id)
    [parcel_id] = answer.parcel_ids
    return parcel_id


async def test_a_parcel_is_sent_again_once_whatever_the_key(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    lost = await sent(trial, order_id)
    key = resend_key(order_id, lost)
    first = await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key)
    assert isinstance(first, Resent)
    assert first.parcel_id != lost
    assert await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key) == first
    assert (
        await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=f"{key}:2")
        == first
    )
    assert await trial.parcels(order_id) == (first.parcel_id,)


async def test_what_was_sent_again_can_be_lost_and_sent_again_in_its_turn(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    parcel_ids = [await sent(trial, order_id)]
    for _ in range(2):
        lost = parcel_ids[-1]
        key = resend_key(order_id, lost)
        answer = await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key)
        assert isinstance(answer, Resent)
        parcel_ids.append(answer.parcel_id)
    assert len(set(parcel_ids)) == 3
    assert await trial.parcels(order_id) == (parcel_ids[-1],)


@pytest.mark.parametrize("failure", ["hang_up", "hang_up_after", "error", "rate_limit"])
async def test_a_parcel_is_sent_again_once_though_the_answer_was_lost(
    trial: WarehouseOnTrial, order_id: str, failure: str
) -> None:
    lost = await sent(trial, order_id)
    key = resend_key(order_id, lost)
    await trial.break_next("resend", failure, order_id)
    with pytest.raises(NoAnswerError):
        await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key)
    answer = await trial.warehouse.resend(order_id, lost, installation=INSTALLATION, key=key)
    assert isinstance(answer, Resent)
    assert await trial.parcels(order_id) == (answer.parcel_id,)


async def test_a_warehouse_that_does_not_send_again_says_why(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    lost = await sent(trial, order_id)
    await trial.refuse(order_id, "no mug left")
    answer = await trial.warehouse.resend(
        order_id, lost, installation=INSTALLATION, key=resend_key(order_id, lost)
    )
    assert answer == ShippingRefused("cannot_fulfill", "no mug left")
    assert await trial.parcels(order_id) == (lost,)


async def test_a_recalled_parcel_is_not_sent_again(trial: WarehouseOnTrial, order_id: str) -> None:
    accepted = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(accepted, Fulfilled)
    await trial.warehouse.cancel(order_id, installation=INSTALLATION)
    [parcel_id] = accepted.parcel_ids
    answer = await trial.warehouse.resend(
        order_id, parcel_id, installation=INSTALLATION, key=resend_key(order_id, parcel_id)
    )
    assert isinstance(answer, ShippingRefused)
    assert await trial.parcels(order_id) == ()


async def test_an_unknown_parcel_is_not_sent_again(trial: WarehouseOnTrial, order_id: str) -> None:
    with pytest.raises(RefusedError):
        await trial.warehouse.resend(
            order_id, "par_none", installation=INSTALLATION, key="k-unknown"
        )
    parcel_id = await sent(trial, order_id)
    with pytest.raises(RefusedError):
        await trial.warehouse.resend(
            order_id, "par_none", installation=INSTALLATION, key=resend_key(order_id, "par_none")
        )
    assert await trial.parcels(order_id) == (parcel_id,)


# -- only over HTTP --------------------------------------------------------------------------------


async def test_a_key_in_use_is_no_answer(control: SandboxControl, order_id: str) -> None:
    key = fulfillment_key(order_id)
    dial = await control.turn("warehouse.fulfillments.create", "delay", order_id)
    async with HttpWarehouse(f"{control.url}/warehouse", "key") as warehouse:
        first = asyncio.create_task(warehouse.fulfill(shipping(order_id), key=key))
        await control.wait_for_hit(dial)
        with pytest.raises(NoAnswerError, match="idempotency_key_in_use"):
            await warehouse.fulfill(shipping(order_id), key=key)
        await control.remove(dial)
        assert isinstance(await first, Fulfilled)


async def test_a_key_that_the_warehouse_refuses_locks_us_out(
    control: SandboxControl, order_id: str
) -> None:
    async with HttpWarehouse(f"{control.url}/warehouse", "wrong") as warehouse:
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.cancel(order_id, installation=INSTALLATION)
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.resend(
                order_id, "par_1", installation=INSTALLATION, key=resend_key(order_id, "par_1")
            )


async def test_an_order_may_go_out_in_several_parcels(
    control: SandboxControl, order_id: str
) -> None:
    await control.turn("warehouse.fulfillments.create", "split", order_id, parcels=3)
    async with HttpWarehouse(f"{control.url}/warehouse", "key") as warehouse:
        answer = await warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
        assert await warehouse.read(shipping(order_id)) == answer
    assert isinstance(answer, Fulfilled)
    assert len(set(answer.parcel_ids)) == 3
    assert sorted(answer.contents.values()) == [(("MUG", 1),), (("MUG", 1),), (("TEA", 1),)]


async def test_a_warehouse_that_has_nothing_of_an_order_refuses_it(
    control: SandboxControl, order_id: str
) -> None:
    await control.turn("warehouse.fulfillments.create", "short", order_id, sku="MUG")
    mugs = replace(shipping(order_id), quantities=(("MUG", 2),))
    async with HttpWarehouse(f"{control.url}/warehouse", "key") as warehouse:
        answer = await warehouse.fulfill(mugs, key=fulfillment_key(order_id))
    assert isinstance(answer, ShippingRefused)
