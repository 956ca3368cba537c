"""Whatever is done to the stock of several orders, in any sequence, no piece appears or is lost."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.messages import OutOfStock, ReservationClosed, Reserved
from orders.ports import IllegalStatusError
from store.database import connect
from tests.store.shop import Shop

Step = tuple[Literal["reserve", "release", "commit"], int]

STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "release", "commit"]), st.integers(0, 2)), max_size=12
)
QUANTITIES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def url(database_url: str) -> str:
    return database_url


# One event loop an example: hypothesis calls plain functions.
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(on_hand=st.integers(0, 6), quantities=QUANTITIES, steps=STEPS)
def test_no_piece_appears_or_is_lost(
    url: str, on_hand: int, quantities: list[tuple[int, int]], steps: list[Step]
) -> None:
    asyncio.run(_play(url, on_hand, quantities, steps))


async def _play(
    url: str, on_hand: int, quantities: list[tuple[int, int]], steps: list[Step]
) -> None:
    database = connect(url, pool_size=1)
    shop = Shop(database)
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
    await database.close()


async def _do(shop: Shop, order_id: str, step: str, state: str) -> str:
    """Take the step; what the order's stock must be afterwards."""
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
