"""Compiled statements are reused for the next order: compiling costs more than running them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import CacheStats

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Order
from durable_orders.domain.parcels import Parcel, ParcelStatus
from tests.store.shop import NOW, Shop, captured
from tests.support.charges import announce


async def _complete_order(shop: Shop, skus: list[str]) -> Order:
    """An order of one piece of each sku, taken through every store call of a completed order."""
    order = await shop.placed(*[(sku, 1) for sku in skus])
    await shop.orders.summary(order.id)
    await shop.inventory.reserve(order.id)
    assert await shop.ledger.find(order.id) is None
    entry = await announce(shop.ledger, order)
    await shop.ledger.record(entry, captured(order), answers=1)
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    await shop.orders.record_parcels(order.id, f"ful_{order.id}", (f"par_{order.id}",))
    await shop.inventory.commit(order.id)
    await shop.orders.note(order.id, "confirmation_mailed", NOW, mail=f"mail_{order.id}")
    await shop.orders.move_parcel(
        order.id, Parcel(f"par_{order.id}", ParcelStatus.SHIPPED, "track"), NOW
    )
    await shop.orders.move(order.id, Status.COMPLETED, None, NOW)
    return order


@pytest.fixture
def compiled_anew() -> Iterator[list[str]]:
    """Statements from now on that were not in the compiled cache."""
    anew: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: Any) -> None:
        if context.compiled is not None and context.cache_hit is not CacheStats.CACHE_HIT:
            anew.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield anew
    event.remove(Engine, "before_cursor_execute", note)


async def test_no_order_has_a_statement_compiled_that_those_before_had(
    shop: Shop, compiled_anew: list[str]
) -> None:
    skus = [await shop.stocked(10) for _ in range(5)]
    compiled_anew.clear()
    known = await _complete_order(shop, skus[:1])
    await _complete_order(shop, skus[:2])  # several lines are another statement than one
    assert any("INTO order_lines" in statement for statement in compiled_anew)

    compiled_anew.clear()
    orders = [await _complete_order(shop, skus[:lines]) for lines in (1, 3, 5)]
    assert compiled_anew == []
    for order in orders:
        assert await shop.events_of(order) == await shop.events_of(known)
