"""What the audit reads of the orders and writes of its findings, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orders.audits import Noted
from orders.charging import BookedCharge
from orders.discrepancies import Discrepancy, Entry, Kind, Remedy
from orders.lifecycle import Reason, Status, Stop
from orders.ports import CardRefund, ChargeState
from store.audit import PostgresAuditBook
from store.database import Database
from store.findings import PostgresFindings
from tests.store.shop import NOTHING, NOW, PRICE, Shop

DAY = timedelta(days=1)
STOP = Stop(Reason.CANCELLED, "cancelled")
HELD = Discrepancy(Kind.LIVE_CHARGE, "1001", "held for nothing", Remedy.RELEASE, "pi_1")


@pytest.fixture
def book(database: Database) -> PostgresAuditBook:
    return PostgresAuditBook(database)


@pytest.fixture
async def findings(database: Database, shop: Shop) -> PostgresFindings:
    await shop.sql("DELETE FROM findings")
    return PostgresFindings(database)


async def test_orders_under_way_or_changed_lately_are_paged_through_each_once(
    shop: Shop, book: PostgresAuditBook
) -> None:
    under_way = [await shop.placed() for _ in range(5)]
    ended_lately, ended_long_ago = await shop.placed(), await shop.placed()
    await shop.orders.move(ended_lately.id, Status.CANCELLED, STOP, NOW)
    await shop.orders.move(ended_long_ago.id, Status.CANCELLED, STOP, NOW - 3 * DAY)

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await book.page(NOW - 2 * DAY, cursor, 2)
        assert len(page.items) <= 2
        seen += [order.order_id for order in page.items]
        if (cursor := page.cursor) is None:
            break

    assert len(seen) == len(set(seen))
    assert {order.id for order in (*under_way, ended_lately)} <= set(seen)
    assert ended_long_ago.id not in seen


async def test_an_order_stands_as_our_books_have_it(shop: Shop, book: PostgresAuditBook) -> None:
    order = await shop.charged()

    standing = await book.standing([order.id, "nobody"])

    assert set(standing) == {order.id}
    known = standing[order.id]
    assert (known.status, known.total) == (Status.PLACED, order.total)
    assert known.placed_at == known.changed_at == NOW
    charge = BookedCharge(ChargeState.CAPTURED, order.total, NOTHING)
    assert known.entries == (Entry(1, f"pi_{order.id}", charge),)
    assert await book.standing([]) == {}


async def test_refunds_are_known_by_their_ids(shop: Shop, book: PostgresAuditBook) -> None:
    order = await shop.charged()
    await shop.ledger.record_refund(order.id, 1, CardRefund("re_known", PRICE))
    assert await book.known_refunds(["re_known", "re_other"]) == {"re_known"}
    assert await book.known_refunds([]) == frozenset()


async def test_a_finding_is_written_once_and_keeps_when_it_was_first_seen(
    findings: PostgresFindings,
) -> None:
    assert await findings.note(HELD, NOW) == Noted()
    again = replace(HELD, detail="still held", remedy=Remedy.FLAG)
    assert await findings.note(again, NOW + DAY) == Noted(NOW)

    [known] = await findings.listed(everything=False, limit=10)
    assert (known.detail, known.remedy) == ("still held", Remedy.FLAG)
    assert (known.first_seen, known.last_seen) == (NOW, NOW + DAY)
    assert known.discrepancy == again


async def test_a_finding_that_is_settled_and_comes_back_is_new(findings: PostgresFindings) -> None:
    await findings.note(HELD, NOW)
    await findings.resolve(HELD, "settled", NOW + DAY)
    await findings.resolve(HELD, "repaired", NOW + 2 * DAY)  # too late: the first word stays
    assert await findings.listed(everything=False, limit=10) == []
    [known] = await findings.listed(everything=True, limit=10)
    assert (known.resolution, known.resolved_at) == ("settled", NOW + DAY)

    assert await findings.note(HELD, NOW + 3 * DAY) == Noted()
    [back] = await findings.listed(everything=False, limit=10)
    assert (back.first_seen, back.resolved_at) == (NOW + 3 * DAY, None)


async def test_the_same_finding_from_many_audits_at_once_is_new_to_one(
    findings: PostgresFindings,
) -> None:
    seen = await asyncio.gather(*(findings.note(HELD, NOW) for _ in range(8)))
    assert seen.count(Noted()) == 1


async def test_findings_are_paged_through_while_they_are_being_settled(
    findings: PostgresFindings,
) -> None:
    many = [replace(HELD, order_id=f"{n}", payment_id=f"pi_{n}") for n in range(5)]
    for one in many:
        await findings.note(one, datetime.now(UTC))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await findings.unresolved(cursor, 2)
        for found in page.items:
            seen.append(found.order_id)
            await findings.resolve(found.discrepancy, "settled", datetime.now(UTC))
        if (cursor := page.cursor) is None:
            break
    assert seen == ["0", "1", "2", "3", "4"]
