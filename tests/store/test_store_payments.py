"""Columns of a charge that no port returns."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from durable_orders.domain.ports import CardCharge, ChargeState
from tests.store.shop import NOTHING, NOW, Shop
from tests.support.charges import record


async def test_how_long_a_hold_lasts_is_kept_also_when_it_is_over(shop: Shop) -> None:
    order = await shop.opened()
    until = NOW + timedelta(days=7)
    held = CardCharge(
        f"pi_{order.id}", ChargeState.HELD, order.total, NOTHING, NOTHING, capture_before=until
    )
    longer = replace(held, capture_before=until + timedelta(days=1))
    lapsed = replace(held, state=ChargeState.CANCELLED, capture_before=None)
    for word, kept in (
        (replace(held, capture_before=None), None),
        (held, until),
        (longer, longer.capture_before),
        (held, longer.capture_before),
        (lapsed, longer.capture_before),
    ):
        await record(shop.ledger, order.id, word)
        [row] = await shop.sql("SELECT * FROM payments WHERE order_id = :id", id=order.id)
        assert row["capture_before"] == kept
    [row] = await shop.sql("SELECT state FROM payments WHERE order_id = :id", id=order.id)
    assert row["state"] == "cancelled"
