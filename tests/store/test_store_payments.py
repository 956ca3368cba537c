"""Columns of a charge that no port returns."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.store.consistency_check import find_inconsistencies
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


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE orders SET status = 'rejected' WHERE id = :id", "its charge {pi} is declined"),
        ("UPDATE payment_tries SET state = 'captured' WHERE order_id = :id", "try 1 of order {id}"),
        ("UPDATE payment_tries SET number = 2 WHERE order_id = :id", "has 1 tries"),
        (
            "WITH o AS (UPDATE orders SET status = 'completed' WHERE id = :id)"
            " UPDATE payment_tries SET state = 'open' WHERE order_id = :id",
            "is completed, but its try 1 is open",
        ),
        (
            "UPDATE payment_tries SET payment_id = 'pi_{other}' WHERE order_id = :id",
            "try 1 of order {id} is declined, but pi_{other} is open",
        ),
    ],
    ids=["ended", "captured", "numbers", "open", "another order's"],
)
async def test_tries_that_cannot_be_are_named(shop: Shop, change: str, fault: str) -> None:
    order, other = await shop.opened(), await shop.opened()
    declined = CardCharge(f"pi_{order.id}", ChargeState.DECLINED, order.total, NOTHING, NOTHING)
    await record(shop.ledger, order.id, declined, answers=1)
    before = await find_inconsistencies(shop.database)
    assert not any(f" {order.id} " in one for one in before)

    await shop.sql(change.format(other=other.id), id=order.id)

    found = set(await find_inconsistencies(shop.database)) - set(before)
    expected = fault.format(pi=f"pi_{order.id}", id=order.id, other=other.id)
    assert any(expected in one for one in found), found


@pytest.mark.parametrize(
    ("status", "decision"), [("completed", "undo"), ("fulfilled", "undo"), ("refunded", "keep")]
)
async def test_an_order_that_ended_against_what_was_decided_is_named(
    shop: Shop, status: str, decision: str
) -> None:
    order = await shop.placed()
    changed = "UPDATE orders SET status = :status, decision = :decision WHERE id = :id"
    await shop.sql(changed, status=status, decision=decision, id=order.id)
    expected = f"order {order.id} is {status}, but it was decided to {decision} it"
    assert expected in await find_inconsistencies(shop.database)


async def test_an_order_that_is_kept_stays_so_when_money_is_given_back_by_hand(shop: Shop) -> None:
    order = await shop.paid()
    await shop.inventory.reserve(order.id)
    await shop.inventory.commit(order.id)
    said = ManualRefund(order.id, order.total, "ops-7", "by transfer")
    await shop.ledger.record_manual_refund(said)
    undone = "it was decided to undo it"
    assert not any(
        order.id in one and undone in one for one in await find_inconsistencies(shop.database)
    )
