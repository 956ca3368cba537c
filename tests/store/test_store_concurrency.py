"""Concurrent calls of the store, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    OrderUndone,
    OutOfStock,
    ReservationClosed,
    Reserved,
    StockCommitted,
    UndoBegun,
    UndoRequest,
)
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    ChargeEntry,
    ChargeState,
    OrderExistsError,
)
from durable_orders.store import decisions
from tests.store.shop import NOTHING, NOW, Shop, Stock, basket, captured
from tests.support.charges import announce, card_try, record

MANY = 50
CANCELLED = Stop(StopReason.CANCELLED, "cancelled by customer")


def undo(order: Order) -> UndoRequest:
    return UndoRequest(order.id, CANCELLED)


def declined(order: Order) -> CardCharge:
    return CardCharge(f"pi_{order.id}", ChargeState.DECLINED, order.total, NOTHING, NOTHING)


async def test_the_last_unit_goes_to_one_of_many_buyers(shop: Shop) -> None:
    last = await shop.stocked(1)
    orders = [await shop.placed((last, 1)) for _ in range(MANY)]
    answers = await asyncio.gather(*(shop.inventory.reserve(order.id) for order in orders))
    assert answers.count(Reserved()) == 1
    assert answers.count(OutOfStock(last, wanted=1, available=0)) == MANY - 1
    assert await shop.stock_of(last) == Stock(on_hand=1, reserved=1)


async def test_a_small_stock_is_sold_to_the_last_piece_and_never_beyond(shop: Shop) -> None:
    mug = await shop.stocked(20)
    orders = [await shop.placed((mug, 3)) for _ in range(MANY)]
    answers = await asyncio.gather(*(shop.inventory.reserve(order.id) for order in orders))
    assert answers.count(Reserved()) == 6
    assert await shop.stock_of(mug) == Stock(on_hand=20, reserved=18)


async def test_orders_over_the_same_products_in_opposite_order_do_not_deadlock(
    shop: Shop,
) -> None:
    skus = [await shop.stocked(1_000) for _ in range(4)]
    lines = tuple((sku, 1) for sku in skus)
    orders = [await shop.paid(*(lines if n % 2 else lines[::-1])) for n in range(MANY)]

    async def process(number: int, order_id: str) -> None:
        await shop.inventory.reserve(order_id)
        end = shop.inventory.commit if number % 3 else shop.inventory.release
        await end(order_id)

    await asyncio.gather(*(process(n, order.id) for n, order in enumerate(orders)))
    committed = sum(1 for n in range(MANY) if n % 3)
    for sku in skus:
        assert await shop.stock_of(sku) == Stock(on_hand=1_000 - committed, reserved=0)


async def test_repeating_a_stock_step_at_once_does_it_once(shop: Shop) -> None:
    mug = await shop.stocked(10)
    order = await shop.paid((mug, 2))
    answers = await asyncio.gather(*(shop.inventory.reserve(order.id) for _ in range(10)))
    assert set(answers) == {Reserved()}
    assert await shop.stock_of(mug) == Stock(on_hand=10, reserved=2)
    await asyncio.gather(*(shop.inventory.commit(order.id) for _ in range(10)))
    assert await shop.stock_of(mug) == Stock(on_hand=8, reserved=0)
    assert await shop.events_of(order) == [
        "order_placed",
        "order_paid",
        "stock_reserved",
        "order_fulfilled",
        "stock_committed",
    ]


async def test_a_release_racing_a_reservation_leaves_nothing_set_aside(shop: Shop) -> None:
    mug = await shop.stocked(MANY)
    orders = [await shop.placed((mug, 1)) for _ in range(MANY)]

    async def race(order_id: str) -> None:
        answer, _ = await asyncio.gather(
            shop.inventory.reserve(order_id), shop.inventory.release(order_id)
        )
        assert answer in {Reserved(), ReservationClosed("released")}

    await asyncio.gather(*(race(order.id) for order in orders))
    assert await shop.stock_of(mug) == Stock(on_hand=MANY, reserved=0)


async def test_placing_one_order_many_times_at_once_places_it_once(shop: Shop) -> None:
    wanted = basket((await shop.stocked(5), 1), (await shop.stocked(5), 2))
    placed = await asyncio.gather(*(shop.orders.place(wanted, NOW) for _ in range(20)))
    assert len(set(placed)) == 1
    assert await shop.events_of(placed[0]) == ["order_placed"]


async def test_of_two_baskets_racing_for_one_id_one_is_placed(shop: Shop) -> None:
    wanted = basket((await shop.stocked(5), 1))
    others = [replace(wanted, customer_id=f"customer-{n}") for n in range(10)]
    answers = await asyncio.gather(
        *(shop.orders.place(other, NOW) for other in others), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, OrderExistsError)]
    assert len(refused) == len(others) - 1


async def test_placing_an_order_does_not_wait_for_a_reservation_of_the_same_product(
    shop: Shop,
) -> None:
    mug, tee = await shop.stocked(5), await shop.stocked(5)
    order = await shop.placed((mug, 1), (tee, 1))
    async with shop.database.transaction() as blocker:
        lock = text("SELECT 1 FROM products WHERE sku = :sku FOR NO KEY UPDATE")
        await blocker.execute(lock, {"sku": tee})
        reserving = asyncio.create_task(shop.inventory.reserve(order.id))
        await _until_a_lock_is_waited_for(shop)  # the mug is locked, the shirt waited for
        async with asyncio.timeout(10):
            assert (await shop.placed((mug, 1))).status is Status.PLACED
    assert await reserving == Reserved()


async def test_undoing_waits_for_the_stocks_commit_and_finds_the_order_kept(shop: Shop) -> None:
    mug = await shop.stocked(5)
    order = await shop.paid((mug, 2))
    await shop.inventory.reserve(order.id)
    async with shop.database.transaction() as blocker:
        lock = text("SELECT 1 FROM products WHERE sku = :sku FOR NO KEY UPDATE")
        await blocker.execute(lock, {"sku": mug})
        committing = asyncio.create_task(shop.inventory.commit(order.id))
        await _until_a_lock_is_waited_for(shop)  # the order is locked, the mug waited for
        undoing = asyncio.create_task(shop.orders.begin_undo(undo(order), NOW))
        await _until_a_lock_is_waited_for(shop, waiting=2)
        assert not undoing.done()
    assert await committing == StockCommitted()
    assert await undoing == AlreadyFulfilled()


async def test_the_stocks_commit_waits_for_the_undoing_and_takes_nothing(shop: Shop) -> None:
    mug = await shop.stocked(5)
    order = await shop.paid((mug, 2))
    await shop.inventory.reserve(order.id)
    async with shop.database.transaction() as undoing:
        begun = await decisions.begin_undo(undoing, undo(order), NOW)
        committing = asyncio.create_task(shop.inventory.commit(order.id))
        await _until_a_lock_is_waited_for(shop)
        assert not committing.done()
    assert begun == UndoBegun(CANCELLED, handed_over=True)
    assert await committing == OrderUndone(CANCELLED)
    assert await shop.stock_of(mug) == Stock(on_hand=5, reserved=2)


async def test_an_order_is_undone_or_kept_and_never_both(shop: Shop) -> None:
    mug = await shop.stocked(MANY)

    async def race() -> bool:
        order = await shop.paid((mug, 1))
        await shop.inventory.reserve(order.id)
        undone, committed = await asyncio.gather(
            shop.orders.begin_undo(undo(order), NOW), shop.inventory.commit(order.id)
        )
        kept = isinstance(committed, StockCommitted)
        assert isinstance(undone, AlreadyFulfilled if kept else UndoBegun)
        return kept

    kept = sum(await asyncio.gather(*(race() for _ in range(MANY))))
    assert await shop.stock_of(mug) == Stock(on_hand=MANY - kept, reserved=MANY - kept)


async def test_no_try_slips_through_between_announcing_and_undoing(shop: Shop) -> None:
    async def race() -> None:
        order = await shop.placed()
        allowed, undone = await asyncio.gather(
            shop.ledger.announce(order.id, f"pi_{order.id}", order.total, card_try(order.id)),
            shop.orders.begin_undo(undo(order), NOW),
        )
        assert undone == UndoBegun(CANCELLED, charged=allowed is not None)

    await asyncio.gather(*(race() for _ in range(MANY)))


@pytest.mark.parametrize("number", [1, 2])
async def test_no_try_slips_through_between_announcing_and_closing(shop: Shop, number: int) -> None:
    async def race() -> None:
        order = await shop.placed()
        if number > 1:
            await announce(shop.ledger, order)
            await record(shop.ledger, order.id, declined(order), answers=1)
        allowed, entries = await asyncio.gather(
            shop.ledger.announce(
                order.id, f"pi_{order.id}", order.total, card_try(order.id, number)
            ),
            shop.ledger.close(order.id),
        )
        tries = [one.number for entry in entries for one in entry.tries]
        assert (number in tries) == (allowed is not None)
        assert await shop.ledger.close(order.id) == entries

    await asyncio.gather(*(race() for _ in range(MANY)))


async def test_closing_again_keeps_the_time_of_the_first(shop: Shop) -> None:
    order = await shop.placed()
    closed_at = "SELECT charging_closed_at FROM orders WHERE id = :id"
    await shop.ledger.close(order.id)
    first = await shop.sql(closed_at, id=order.id)
    await shop.ledger.close(order.id)
    assert await shop.sql(closed_at, id=order.id) == first


async def test_closing_sees_the_try_it_had_to_wait_for(shop: Shop) -> None:
    order = await shop.placed()
    async with shop.database.transaction() as opening:
        lock = text("SELECT 1 FROM orders WHERE id = :id FOR NO KEY UPDATE")
        await opening.execute(lock, {"id": order.id})
        closing = asyncio.create_task(shop.ledger.close(order.id))
        await _until_a_lock_is_waited_for(shop)
        store = text(
            "INSERT INTO payments (order_id, payment_id, amount, currency, state)"
            " VALUES (:id, 'pi_waited_for', 500, 'EUR', 'open')"
        )
        await opening.execute(store, {"id": order.id})
        store = text(
            "INSERT INTO payment_tries"
            " (order_id, number, payment_id, payment_method, charge_before, key, state)"
            " VALUES (:id, 1, 'pi_waited_for', 'pm_1', '', 'k', 'open')"
        )
        await opening.execute(store, {"id": order.id})
    [entry] = await closing
    assert (entry.payment_id, len(entry.tries)) == ("pi_waited_for", 1)


async def test_announcing_one_try_many_times_at_once_stores_it_once(shop: Shop) -> None:
    order = await shop.placed()
    answers = await asyncio.gather(*(announce(shop.ledger, order) for _ in range(10)))
    assert len(set(answers)) == 1
    assert await shop.events_of(order) == ["order_placed", "payment_open"]


@pytest.mark.parametrize("charge", ["one", "many"])
async def test_of_many_tries_at_once_one_is_announced(shop: Shop, charge: str) -> None:
    order = await shop.placed()
    answers = await asyncio.gather(
        *(
            announce(
                shop.ledger, order, n, payment_id=f"pi_{order.id}-{n if charge == 'many' else 1}"
            )
            for n in range(1, 11)
        ),
        return_exceptions=True,
    )
    assert len([answer for answer in answers if isinstance(answer, ChargeEntry)]) == 1
    [entry] = await shop.ledger.close(order.id)
    assert len(entry.tries) == 1


async def test_recording_and_refunding_at_once_counts_each_refund_once(shop: Shop) -> None:
    order = await shop.charged()
    refunds = [CardRefund(f"re_{order.id}_{n % 5}", Money(1_00, "EUR")) for n in range(20)]
    await asyncio.gather(
        *(shop.ledger.record_refund(order.id, f"pi_{order.id}", refund) for refund in refunds),
        *(record(shop.ledger, order.id, captured(order)) for _ in range(5)),
    )
    [payment] = (await shop.orders.view(order.id)).payments
    assert payment.refunded == Money(5_00, "EUR")


async def test_an_order_is_begun_or_cancelled_unstarted_never_both(shop: Shop) -> None:
    stop = Stop(StopReason.CANCELLED, "cancelled by customer")
    for _ in range(10):
        order = await shop.placed()
        reserved, cancelled = await asyncio.gather(
            shop.inventory.reserve(order.id, "run-1"),
            shop.orders.cancel_unstarted(order.id, stop, NOW),
        )
        assert reserved == (OrderUndone(stop) if cancelled else Reserved())
        view = await shop.orders.view(order.id)
        assert (view.order.status, view.stock) == (
            (Status.CANCELLED, "released") if cancelled else (Status.PLACED, "reserved")
        )
        await shop.inventory.release(order.id)


async def test_an_order_ends_in_one_way(shop: Shop) -> None:
    order = await shop.placed()
    ends = [Status.CANCELLED, Status.REJECTED, Status.REFUNDED] * 5
    await asyncio.gather(
        *(shop.orders.move(order.id, end, None, NOW) for end in ends), return_exceptions=True
    )
    status = (await shop.orders.summary(order.id)).status
    assert await shop.events_of(order) == ["order_placed", f"order_{status}"]


@pytest.mark.parametrize("parcels", [("a",), ("a", "b", "c")])
async def test_naming_parcels_many_times_at_once_notes_them_once(
    shop: Shop, parcels: tuple[str, ...]
) -> None:
    order = await shop.placed()
    named = tuple(f"{order.id}-{parcel}" for parcel in parcels)
    await asyncio.gather(*(shop.orders.record_parcels(order.id, "f-1", named) for _ in range(10)))
    assert tuple(p.parcel_id for p in (await shop.orders.view(order.id)).parcels) == named


async def _until_a_lock_is_waited_for(shop: Shop, waiting: int = 1) -> None:
    """Return once so many transactions in this database wait for a lock."""
    waiters = (
        "SELECT 1 FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10):
        while len(await shop.sql(waiters)) < waiting:
            pass
