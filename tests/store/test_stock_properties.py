"""Property: no sequence of stock operations creates or loses a piece."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_orders.domain.activity_messages import OutOfStock, ReservationClosed, Reserved
from durable_orders.domain.ports import IllegalStatusError
from durable_orders.store.database import connect
from tests.store.shop import Shop

Step = tuple[Literal["reserve", "release", "commit"], int]

STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "release", "commit"]), st.integers(0, 2)), max_size=12
)
QUANTITIES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Event loop for all examples: hypothesis calls plain functions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def stocked(loop: asyncio.Runner, database_url: str) -> Iterator[Shop]:
    """The shop, whose connections belong to that loop."""
    database = connect(database_url, pool_size=1)
    yield Shop(database)
    loop.run(database.close())


@settings(max_examples=40, deadline=None)
@given(on_hand=st.integers(0, 6), quantities=QUANTITIES, steps=STEPS)
def test_no_piece_appears_or_is_lost(
    loop: asyncio.Runner,
    stocked: Shop,
    on_hand: int,
    quantities: list[tuple[int, int]],
    steps: list[Step],
) -> None:
    loop.run(_play(stocked, on_hand, quantities, steps))


async def _play(
    shop: Shop, on_hand: int, quantities: list[tuple[int, int]], steps: list[Step]
) -> None:
    first, second = await shop.stocked(on_hand), await shop.stocked(on_hand)
    orders = [await shop.paid((first, one), (second, two)) for one, two in quantities]
    model = ["none"] * len(orders)
    for step, number in steps:
        model[number] = await _do(shop, orders[number].id, step, model[number])
        for sku, column in ((first, 0), (second, 1)):
            stock = await shop.stock_of(sku)
            pieces = [quantity[column] for quantity in quantities]
            committed = sum(
                p for p, state in zip(pieces, model, strict=True) if state == "committed"
            )
            reserved = sum(p for p, state in zip(pieces, model, strict=True) if state == "reserved")
            assert stock.on_hand + committed == on_hand
            assert stock.reserved == reserved <= stock.on_hand


async def _do(shop: Shop, order_id: str, step: str, state: str) -> str:
    """Run the step; return the expected stock state of the order."""
    match step, state:
        case "reserve", ("committed" | "released") as closed:
            assert await shop.inventory.reserve(order_id) == ReservationClosed(closed)
        case "reserve", _:
            answer = await shop.inventory.reserve(order_id)
            assert isinstance(answer, Reserved) or (
                isinstance(answer, OutOfStock) and state == "none"
            )
            return "reserved" if isinstance(answer, Reserved) else "none"
        case "release", _:
            await shop.inventory.release(order_id)
            return "committed" if state == "committed" else "released"
        case "commit", "reserved" | "committed":
            await shop.inventory.commit(order_id)
            return "committed"
        case _:
            with pytest.raises(IllegalStatusError):
                await shop.inventory.commit(order_id)
    return state
