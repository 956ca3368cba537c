"""Concurrent refunds of the same charge, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import CardRefund, CardRefundState
from durable_orders.domain.refunds.refund import (
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
)
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.refunds import PostgresRefundBook
from tests.store.shop import NOW, Shop, Stock, captured
from tests.support.charges import announce, record

EURO = Money(1_00, "EUR")


async def paid(shop: Shop, sku: str, quantity: int = 1) -> Order:
    """A completed order of ``quantity`` pieces at 5 euros each."""
    order = await shop.placed((sku, quantity))
    await shop.inventory.reserve(order.id)
    await announce(shop.ledger, order)
    await record(shop.ledger, order.id, captured(order), answers=1)
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    await shop.orders.record_parcels(order.id, f"ful_{order.id}", (f"par_{order.id}",))
    await shop.inventory.commit(order.id)
    await shop.orders.move(order.id, Status.COMPLETED, None, NOW)
    return order


@pytest.mark.parametrize("many", [2, 20])
async def test_the_last_euro_goes_to_one_of_many_refunds(shop: Shop, many: int) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)
    await book.reserve(RefundRequest(order.id, "before", amount=Money(4_00, "EUR")), NOW)
    answers = await asyncio.gather(
        *(book.reserve(RefundRequest(order.id, f"r{n}", amount=EURO), NOW) for n in range(many))
    )
    assert sum(isinstance(answer, RefundEntry) for answer in answers) == 1
    assert sum(isinstance(answer, RefundRefused) for answer in answers) == many - 1
    assert await find_inconsistencies(shop.database) == []


async def test_refunds_carried_out_at_once_never_give_back_more_than_was_taken(
    shop: Shop,
) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)

    async def process(number: int) -> None:
        id_ = f"r{number}"
        entry = await book.reserve(RefundRequest(order.id, id_, amount=EURO), NOW)
        if isinstance(entry, RefundRefused):
            return
        await book.begin(order.id, id_, 1, NOW)
        for state in (CardRefundState.PENDING, CardRefundState.SUCCEEDED):
            card = CardRefund(f"re_{order.id}_{id_}", EURO, state)
            await book.tell(order.id, id_, 1, card, NOW)

    await asyncio.gather(*(process(number) for number in range(20)))
    [charge] = (await shop.orders.view(order.id)).payments
    assert charge.refunded == order.total
    assert len(await book.refunds_of(order.id)) == 5
    assert await find_inconsistencies(shop.database) == []


async def test_the_same_request_many_times_at_once_is_one_refund(shop: Shop) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)
    request = RefundRequest(order.id, "r1", amount=Money(3_00, "EUR"))
    answers = await asyncio.gather(*(book.reserve(request, NOW) for _ in range(20)))
    assert len(set(answers)) == 1
    assert len(await book.refunds_of(order.id)) == 1


async def test_restocking_beside_sales_loses_no_piece_and_does_not_deadlock(shop: Shop) -> None:
    book = PostgresRefundBook(shop.database)
    skus = [await shop.stocked(100) for _ in range(2)]
    returned = [await paid(shop, skus[n % 2], 2) for n in range(10)]
    for order in returned:
        await book.reserve(RefundRequest(order.id, "r1", restock=True), NOW)
        await book.begin(order.id, "r1", 1, NOW)
    lines = tuple((sku, 1) for sku in skus)
    sold = [await shop.placed(*(lines if n % 2 else lines[::-1])) for n in range(10)]
    await asyncio.gather(
        *(book.restock(order.id, "r1", NOW) for order in returned for _ in range(2)),
        *(shop.inventory.reserve(order.id) for order in sold),
    )
    for sku in skus:
        assert await shop.stock_of(sku) == Stock(on_hand=100, reserved=10)


async def test_the_check_sees_money_that_nobody_asked_for(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    await shop.ledger.record_refund(order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", EURO))
    [fault] = await find_inconsistencies(shop.database)
    assert fault == f"order {order.id} is completed, but 400 of it was kept, not 500"
    await shop.sql("DELETE FROM refunds WHERE order_id = :id", id=order.id)
    await shop.sql("UPDATE payments SET refunded = 0 WHERE order_id = :id", id=order.id)
    assert await find_inconsistencies(shop.database) == []


async def test_the_check_sees_more_set_aside_than_there_is(shop: Shop) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)
    await book.reserve(RefundRequest(order.id, "r1"), NOW)
    change = "UPDATE refund_requests SET amount = 501 WHERE order_id = :id"
    await shop.sql(change, id=order.id)
    [fault] = await find_inconsistencies(shop.database)
    assert fault == f"order {order.id} paid 500, its refunds come to 501"
    await shop.sql("UPDATE refund_requests SET amount = 1 WHERE order_id = :id", id=order.id)
    await shop.sql("UPDATE refund_lines SET quantity = 2 WHERE order_id = :id", id=order.id)
    [fault] = await find_inconsistencies(shop.database)
    assert "2 of" in fault
    assert "were returned, 1 ordered" in fault
    await shop.sql("UPDATE refund_lines SET quantity = 1 WHERE order_id = :id", id=order.id)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("refund_requests SET amount = 0", "refund_requests_amount_positive"),
        ("refund_requests SET attempt = 0", "refund_requests_attempt_positive"),
        ("refund_requests SET state = 'lost'", "refund_requests_state_known"),
        ("refund_requests SET charge_attempt = 2", "refund_requests_order_id_fkey"),
        ("refund_lines SET quantity = 0", "refund_lines_quantity_positive"),
        ("refund_lines SET sku = 'NOPE'", "refund_lines_sku_fkey"),
    ],
)
async def test_a_refund_is_one_that_can_be(shop: Shop, change: str, constraint: str) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)
    await book.reserve(RefundRequest(order.id, "r1"), NOW)
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE {change} WHERE order_id = :id", id=order.id)


async def test_a_refund_can_be_in_every_state_there_is(shop: Shop) -> None:
    order, book = await paid(shop, await shop.stocked(10)), PostgresRefundBook(shop.database)
    await book.reserve(RefundRequest(order.id, "r1"), NOW)
    for state in RefundState:
        change = "UPDATE refund_requests SET state = :state WHERE order_id = :id"
        await shop.sql(change, id=order.id, state=state)
        [entry] = await book.refunds_of(order.id)
        assert entry.state is state
    await shop.sql(
        "UPDATE refund_requests SET state = 'rejected' WHERE order_id = :id", id=order.id
    )
