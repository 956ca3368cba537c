"""Disputes in PostgreSQL: what the check of the store makes of them, and what cannot be written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from durable_orders.domain.disputes.dispute import Dispute, DisputeStatus, PaymentRisks
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.refunds.refund import RefundEntry, RefundRefused, RefundRequest
from durable_orders.store.audit import PostgresAuditRepository
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.refunds import PostgresRefundBook
from tests.store.shop import NOTHING, NOW, PRICE, Shop
from tests.store.test_refund_concurrency import paid

HALF = Money(2_50, "EUR")


def chargeback(order: Order, name: str = "", withdrawn: Money = PRICE) -> Dispute:
    return Dispute(
        dispute_id=f"du_{order.id}{name}",
        payment_id=f"pi_{order.id}",
        amount=PRICE,
        withdrawn=withdrawn,
        fee=Money(15_00, "EUR"),
        reason="fraudulent",
        status=DisputeStatus.LOST,
        opened_at=NOW,
        due_by=NOW + timedelta(days=9),
    )


async def record(shop: Shop, order: Order, *disputes: Dispute) -> None:
    repository = PostgresDisputeRepository(shop.database)
    await repository.record(order.id, PaymentRisks(f"pi_{order.id}", disputes), NOW)


async def faults(shop: Shop, order: Order) -> list[str]:
    return [one for one in await find_inconsistencies(shop.database) if order.id in one]


async def test_a_completed_order_that_lost_its_dispute_is_consistent(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    await record(shop, order, chargeback(order))
    assert await faults(shop, order) == []
    book = PostgresRefundBook(shop.database)
    refused = await book.reserve(RefundRequest(order.id, "r1"), NOW)
    assert isinstance(refused, RefundRefused)
    assert f"5.00 EUR was taken by dispute du_{order.id}" in refused.message


async def test_what_a_partial_dispute_left_can_be_refunded(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    await record(shop, order, replace(chargeback(order, withdrawn=HALF), amount=HALF))
    book = PostgresRefundBook(shop.database)
    entry = await book.reserve(RefundRequest(order.id, "r1"), NOW)
    assert isinstance(entry, RefundEntry)
    assert entry.amount == PRICE - HALF
    assert await faults(shop, order) == []


async def undone(shop: Shop) -> Order:
    """An order that was undone while its payment was charged back: nothing was refunded."""
    order = await paid(shop, await shop.stocked(10))
    change = "UPDATE orders SET status = 'refunded', stock = 'released' WHERE id = :id"
    await shop.sql(change, id=order.id)
    await shop.sql("DELETE FROM parcels WHERE order_id = :id", id=order.id)
    return order


async def test_the_check_counts_what_disputes_took_of_an_order_that_was_undone(shop: Shop) -> None:
    order = await undone(shop)
    assert f"order {order.id} is refunded, but 500 of it was kept" in await faults(shop, order)
    await record(shop, order, chargeback(order))
    assert await faults(shop, order) == []
    won = replace(chargeback(order), status=DisputeStatus.WON, withdrawn=NOTHING)
    known = await PostgresDisputeRepository(shop.database).risks_of(order.id)
    assert known is not None
    report = PaymentRisks(f"pi_{order.id}", (won,), revision=known.revision)
    await PostgresDisputeRepository(shop.database).record(order.id, report, NOW)
    assert f"order {order.id} is refunded, but 500 of it was kept" in await faults(shop, order)
    # What was put back is the customer's, and can be refunded although the order was undone.
    book = PostgresRefundBook(shop.database)
    entry = await book.reserve(RefundRequest(order.id, "won.du"), NOW)
    assert isinstance(entry, RefundEntry)
    assert (entry.amount, entry.lines) == (PRICE, ())
    assert (await shop.orders.view(order.id)).order.status is Status.REFUNDED


async def test_a_dispute_may_take_more_than_was_paid_when_a_rate_has_changed(shop: Shop) -> None:
    more = PRICE + Money(12, "EUR")
    kept, given_up = await paid(shop, await shop.stocked(10)), await undone(shop)
    audit = PostgresAuditRepository(shop.database)
    for order in (kept, given_up):
        await record(shop, order, replace(chargeback(order, withdrawn=more), amount=more))
        assert await faults(shop, order) == []
        assert (await audit.standing([order.id]))[order.id].withdrawn == PRICE


async def test_an_order_that_was_undone_is_refunded_for_nothing_else(shop: Shop) -> None:
    order = await undone(shop)
    book = PostgresRefundBook(shop.database)
    refused = await book.reserve(RefundRequest(order.id, "r1"), NOW)
    assert isinstance(refused, RefundRefused)
    assert "only what is paid and handed to the warehouse" in refused.message


async def test_the_check_sees_more_disputed_than_was_paid(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    await record(shop, order, chargeback(order, "a"), chargeback(order, "b"))
    assert await faults(shop, order) == [f"order {order.id} paid 500, its disputes took 1000"]


async def test_many_reports_at_once_write_each_line_once(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    opened = replace(chargeback(order), status=DisputeStatus.NEEDS_RESPONSE)
    reports = [opened, chargeback(order), opened, chargeback(order)] * 3
    await asyncio.gather(*(record(shop, order, one) for one in reports))
    events = [line.event for line in (await shop.orders.view(order.id)).history]
    assert events.count("dispute_opened") == 1
    assert events.count("dispute_lost") == 1
    known = await PostgresDisputeRepository(shop.database).risks_of(order.id)
    assert known is not None
    assert known.disputes == (chargeback(order),)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("disputes SET amount = -1", "disputes_amount_not_negative"),
        ("disputes SET withdrawn = -1", "disputes_withdrawn_not_negative"),
        ("disputes SET currency = 'eur'", "disputes_currency_iso"),
        ("disputes SET status = 'settled'", "disputes_status_known"),
        ("disputes SET order_id = 'nobody'", "disputes_order_id_fkey"),
        ("disputes SET payment_id = 'pi_nobody'", "disputes_payment_id_fkey"),
    ],
)
async def test_a_dispute_is_one_that_can_be(shop: Shop, change: str, constraint: str) -> None:
    order = await paid(shop, await shop.stocked(10))
    await record(shop, order, chargeback(order))
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE {change} WHERE order_id = :id", id=order.id)


async def test_a_dispute_can_have_every_status_there_is(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    for number, status in enumerate(DisputeStatus):
        nothing = chargeback(order, str(number), NOTHING)
        await record(shop, order, replace(nothing, status=status))
    known = await PostgresDisputeRepository(shop.database).risks_of(order.id)
    assert known is not None
    assert {one.status for one in known.disputes} == set(DisputeStatus)
