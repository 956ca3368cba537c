"""What `orders.ports.Warehouse` and docs/warehouse-api.md promise, asked of every warehouse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
import pytest_asyncio

from orders.ids import fulfillment_key
from orders.messages import AlreadyLeft, CannotFulfill, Fulfilled, Recalled
from orders.order import Recipient
from orders.ports import (
    LockedOutError,
    NoAnswerError,
    RefusedError,
    ShippingRequest,
    Warehouse,
)
from providers.fulfillment import HttpWarehouse
from tests.contracts.conftest import Desk
from tests.fakes.warehouse import InMemoryWarehouse

ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon")


class WarehouseOnTrial(Protocol):
    """A warehouse, and its back door."""

    @property
    def warehouse(self) -> Warehouse: ...
    async def break_next(self, method: str, failure: str, order_id: str) -> None: ...
    async def refuse(self, order_id: str, message: str) -> None: ...
    async def run_short(self, order_id: str, sku: str, pieces: int) -> None:
        """These pieces, all the order has of ``sku``, are not on the shelves."""
        ...

    async def dispatch(self, order_id: str) -> None: ...
    async def parcels(self, order_id: str) -> tuple[str, ...]:
        """Parcels that have left or will leave, by the warehouse's own books."""
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
    def __init__(self, warehouse: Warehouse, desk: Desk) -> None:
        self.warehouse = warehouse
        self._desk = desk

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        endpoint = {"fulfill": "create", "cancel": "cancel"}[method]
        await self._desk.turn(f"warehouse.fulfillments.{endpoint}", failure, order_id, seconds=7)

    async def refuse(self, order_id: str, message: str) -> None:
        endpoint = "warehouse.fulfillments.create"
        await self._desk.turn(endpoint, "refuse", order_id, reason=message, times=None)

    async def run_short(self, order_id: str, sku: str, pieces: int) -> None:
        await self._desk.turn("warehouse.fulfillments.create", "short", order_id, sku=sku)

    async def dispatch(self, order_id: str) -> None:
        await self._desk.dispatch(order_id)

    async def parcels(self, order_id: str) -> tuple[str, ...]:
        return tuple(
            parcel["id"]
            for fulfillment in (await self._desk.page(order_id))["fulfillments"]
            for parcel in fulfillment["parcels"]
            if parcel["status"] != "recalled"
        )


@pytest_asyncio.fixture(params=["in memory", "HTTP on the sandbox"])
async def trial(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[WarehouseOnTrial]:
    if request.param == "in memory":
        yield FakeOnTrial()
    else:
        async with HttpWarehouse(f"{desk.url}/warehouse", "key") as warehouse:
            yield SandboxOnTrial(warehouse, desk)


def shipping(order_id: str) -> ShippingRequest:
    return ShippingRequest(order_id, ADA, (("MUG", 2), ("TEA", 1)))


async def test_an_accepted_order_has_parcels(trial: WarehouseOnTrial, order_id: str) -> None:
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    assert answer.fulfillment_id
    assert answer.parcel_ids == await trial.parcels(order_id)


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
    assert answer == CannotFulfill("nobody can lift it")
    assert await trial.parcels(order_id) == ()


async def test_a_warehouse_that_can_ship_only_a_part_says_what_is_short(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    await trial.run_short(order_id, "MUG", 2)
    key = fulfillment_key(order_id)
    answer = await trial.warehouse.fulfill(shipping(order_id), key=key)
    assert isinstance(answer, Fulfilled)
    assert answer.short == (("MUG", 2),)
    assert answer.parcel_ids == await trial.parcels(order_id)
    # The shelves may be full again by then: what was answered stands.
    assert await trial.warehouse.fulfill(shipping(order_id), key=key) == answer
    assert await trial.warehouse.fulfill(shipping(order_id), key=f"{key}:2") == answer


async def test_an_accepted_order_can_be_taken_back(trial: WarehouseOnTrial, order_id: str) -> None:
    await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert await trial.warehouse.cancel(order_id) == Recalled()
    assert await trial.warehouse.cancel(order_id) == Recalled()
    assert await trial.parcels(order_id) == ()


async def test_a_request_that_comes_after_its_cancellation_ships_nothing(
    trial: WarehouseOnTrial, order_id: str
) -> None:
    assert await trial.warehouse.cancel(order_id) == Recalled()
    answer = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, CannotFulfill)
    assert "cancelled" in answer.message
    assert await trial.parcels(order_id) == ()


async def test_what_has_left_cannot_be_taken_back(trial: WarehouseOnTrial, order_id: str) -> None:
    accepted = await trial.warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    await trial.dispatch(order_id)
    assert isinstance(accepted, Fulfilled)
    left = AlreadyLeft(accepted.fulfillment_id, accepted.parcel_ids)
    assert await trial.warehouse.cancel(order_id) == left
    assert await trial.parcels(order_id) == accepted.parcel_ids


@pytest.mark.parametrize("failure", ["hang_up", "hang_up_after", "error", "rate_limit"])
@pytest.mark.parametrize("method", ["fulfill", "cancel"])
async def test_asking_again_after_no_answer_has_the_effect_of_once(
    trial: WarehouseOnTrial, order_id: str, method: str, failure: str
) -> None:
    key = fulfillment_key(order_id)

    async def ask() -> object:
        if method == "cancel":
            return await trial.warehouse.cancel(order_id)
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


# -- only over HTTP --------------------------------------------------------------------------------


async def test_a_key_in_use_is_no_answer(desk: Desk, order_id: str) -> None:
    key = fulfillment_key(order_id)
    dial = await desk.turn("warehouse.fulfillments.create", "delay", order_id)
    async with HttpWarehouse(f"{desk.url}/warehouse", "key") as warehouse:
        first = asyncio.create_task(warehouse.fulfill(shipping(order_id), key=key))
        await desk.wait_for_hit(dial)
        with pytest.raises(NoAnswerError, match="idempotency_key_in_use"):
            await warehouse.fulfill(shipping(order_id), key=key)
        await desk.remove(dial)
        assert isinstance(await first, Fulfilled)


async def test_a_key_that_the_warehouse_refuses_locks_us_out(desk: Desk, order_id: str) -> None:
    async with HttpWarehouse(f"{desk.url}/warehouse", "wrong") as warehouse:
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.cancel(order_id)


async def test_an_order_may_go_out_in_several_parcels(desk: Desk, order_id: str) -> None:
    await desk.turn("warehouse.fulfillments.create", "split", order_id, parcels=3)
    async with HttpWarehouse(f"{desk.url}/warehouse", "key") as warehouse:
        answer = await warehouse.fulfill(shipping(order_id), key=fulfillment_key(order_id))
    assert isinstance(answer, Fulfilled)
    assert len(set(answer.parcel_ids)) == 3


async def test_a_warehouse_that_has_nothing_of_an_order_refuses_it(
    desk: Desk, order_id: str
) -> None:
    await desk.turn("warehouse.fulfillments.create", "short", order_id, sku="MUG")
    mugs = replace(shipping(order_id), quantities=(("MUG", 2),))
    async with HttpWarehouse(f"{desk.url}/warehouse", "key") as warehouse:
        answer = await warehouse.fulfill(mugs, key=fulfillment_key(order_id))
    assert isinstance(answer, CannotFulfill)
