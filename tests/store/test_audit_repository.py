"""Orders as the audit reads them, and its findings, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.audit.messages import (
    Acknowledgement,
    NothingToAcknowledgeError,
    PriorFinding,
)
from durable_orders.domain.audit.model import (
    BookedOrder,
    Discrepancy,
    DiscrepancyKind,
    LedgerEntry,
    RecordedManualRefund,
    Remedy,
)
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import CardCharge, CardRefund, ChargeState, NoSuchOrderError
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.store.audit import PostgresAuditRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.database import Database, connect
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.refunds import PostgresRefundBook
from tests.store.shop import NOTHING, NOW, PRICE, Shop
from tests.store.test_disputes import chargeback
from tests.support.charges import record
from tests.support.servers import Postgres

DAY = timedelta(days=1)
EURO = Money(1_00, "EUR")
STOP = Stop(StopReason.CANCELLED, "cancelled")
HELD = Discrepancy(DiscrepancyKind.LIVE_CHARGE, "1001", "held for nothing", Remedy.RELEASE, "pi_1")


@pytest.fixture
def book(database: Database) -> PostgresAuditRepository:
    return PostgresAuditRepository(database)


@pytest.fixture
async def findings(database: Database, shop: Shop) -> PostgresFindingRepository:
    await shop.sql("DELETE FROM findings")
    return PostgresFindingRepository(database)


async def test_orders_under_way_or_changed_lately_are_paged_through_each_once(
    shop: Shop, book: PostgresAuditRepository
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


async def long_ended(shop: Shop) -> Order:
    """An order that was charged and completed longer ago than the audit's window."""
    order = await shop.charged()
    for status in (Status.PAID, Status.FULFILLED, Status.COMPLETED):
        await shop.orders.move(order.id, status, None, NOW - 3 * DAY)
    return order


@pytest.mark.parametrize("state", ChargeState)
async def test_an_order_whose_charge_may_take_money_is_read_whatever_its_age(
    shop: Shop, book: PostgresAuditRepository, state: ChargeState
) -> None:
    order = await long_ended(shop)
    change = "UPDATE payments SET state = :state WHERE order_id = :id"
    await shop.sql(change, state=state.value, id=order.id)
    page = await book.page(NOW - 2 * DAY, None, 1000)
    is_over = state in {ChargeState.CAPTURED, ChargeState.CANCELLED}
    assert (order.id in {one.order_id for one in page.items}) is not is_over


@pytest.mark.parametrize("what", ["refund", "dispute"])
async def test_an_order_whose_money_moved_lately_in_our_books_is_read_whatever_its_age(
    shop: Shop, book: PostgresAuditRepository, what: str
) -> None:
    order = await long_ended(shop)
    if what == "refund":
        refunds = PostgresRefundBook(shop.database)
        await refunds.reserve(RefundRequest(order.id, "r1", amount=EURO), NOW)
        await refunds.begin(order.id, "r1", 1, NOW)
        await refunds.tell(order.id, "r1", 1, CardRefund(f"re_{order.id}", EURO), NOW)
    else:
        risks = PaymentRisks(f"pi_{order.id}", (chargeback(order),))
        await PostgresDisputeRepository(shop.database).record(order.id, risks, NOW)

    async def is_read(since: datetime) -> bool:
        page = await book.page(since, None, 1000)
        return order.id in {one.order_id for one in page.items}

    assert await is_read(NOW - 2 * DAY)
    table = "refund_requests" if what == "refund" else "disputes"
    change = f"UPDATE {table} SET updated_at = :then WHERE order_id = :id"  # noqa: S608 - ours
    await shop.sql(change, then=NOW - 3 * DAY, id=order.id)
    assert not await is_read(NOW - 2 * DAY)


async def test_orders_of_the_installation_that_a_database_was_copied_from_are_not_read(
    postgres: Postgres,
) -> None:
    database = connect(await postgres.migrated())
    shop, book = Shop(database), PostgresAuditRepository(database)
    theirs = await shop.placed()
    await PostgresInstallationRepository(database).rename("renamed")
    before = await shop.placed()
    await PostgresInstallationRepository(database).adopt("staging")
    ours = await shop.placed()

    page = await book.page(NOW - DAY, None, 100)
    assert [order.order_id for order in page.items] == [ours.id]
    assert set(await book.standing([theirs.id, before.id, ours.id])) == {ours.id}
    await PostgresInstallationRepository(database).rename("renamed")
    assert set(await book.standing([theirs.id, before.id, ours.id])) == {before.id, ours.id}
    await database.close()


async def test_an_order_stands_as_our_books_have_it(
    shop: Shop, book: PostgresAuditRepository
) -> None:
    order = await shop.charged()

    standing = await book.standing([order.id, "nobody"])

    assert set(standing) == {order.id}
    known = standing[order.id]
    assert (known.status, known.total) == (Status.PLACED, order.total)
    assert known.placed_at == known.changed_at == NOW
    charge = BookedCharge(ChargeState.CAPTURED, order.total, NOTHING)
    entry = await shop.ledger.find(order.id)
    assert entry is not None
    assert known.entries == (LedgerEntry(entry, charge),)
    assert await book.standing([]) == {}


async def test_refunds_are_known_by_their_ids(shop: Shop, book: PostgresAuditRepository) -> None:
    order = await shop.charged()
    await shop.ledger.record_refund(order.id, f"pi_{order.id}", CardRefund("re_known", PRICE))
    assert await book.known_refunds(["re_known", "re_other"]) == {"re_known"}
    assert await book.known_refunds([]) == frozenset()


async def test_a_finding_is_written_once_and_keeps_when_it_was_first_seen(
    findings: PostgresFindingRepository,
) -> None:
    assert await findings.note(HELD, NOW) == PriorFinding()
    again = replace(HELD, detail="still held", remedy=Remedy.FLAG)
    assert await findings.note(again, NOW + DAY) == PriorFinding(NOW)

    [known] = await findings.listed(everything=False, limit=10)
    assert (known.detail, known.remedy) == ("still held", Remedy.FLAG)
    assert (known.first_seen, known.last_seen) == (NOW, NOW + DAY)
    assert known.discrepancy == again


MOVED = Discrepancy(DiscrepancyKind.MONEY_MOVED, "1001", "1.00 EUR given back", Remedy.FLAG, "pi_1")


async def test_all_money_that_moved_is_told_until_somebody_acknowledges_it(
    findings: PostgresFindingRepository,
) -> None:
    more = replace(MOVED, detail="2.00 EUR given back")
    await findings.note(MOVED, NOW)
    await findings.note(more, NOW)
    await findings.note(MOVED, NOW)  # a repair that is made again
    [known] = await findings.listed(everything=False, limit=10)
    assert known.detail == "1.00 EUR given back; 2.00 EUR given back"
    assert await findings.note(known.discrepancy, NOW + DAY) == PriorFinding(NOW)

    await findings.acknowledge("1001", None, WORD)
    prior = await findings.note(more, NOW + 2 * DAY)
    assert prior == PriorFinding(NOW + DAY, is_acknowledged=True)
    third = replace(MOVED, detail="3.00 EUR given back")
    assert await findings.note(third, NOW + 3 * DAY) == PriorFinding()
    [known] = await findings.listed(everything=False, limit=10)
    assert (known.detail, known.acknowledged) == ("3.00 EUR given back", None)

    await findings.resolve(known.discrepancy, "settled", NOW + 4 * DAY)
    await findings.note(MOVED, NOW + 5 * DAY)
    [known] = await findings.listed(everything=False, limit=10)
    assert known.detail == "1.00 EUR given back"


async def test_a_finding_is_unresolved_from_when_it_is_noted_until_it_is_resolved(
    findings: PostgresFindingRepository,
) -> None:
    other = replace(HELD, payment_id="pi_2")
    assert not await findings.is_unresolved(HELD)
    await findings.note(HELD, NOW)
    assert await findings.is_unresolved(HELD)
    assert not await findings.is_unresolved(other)
    await findings.resolve(HELD, "settled", NOW)
    assert not await findings.is_unresolved(HELD)


async def test_a_finding_that_is_settled_and_comes_back_is_new(
    findings: PostgresFindingRepository,
) -> None:
    await findings.note(HELD, NOW)
    await findings.resolve(HELD, "settled", NOW + DAY)
    await findings.resolve(HELD, "repaired", NOW + 2 * DAY)  # too late: the first resolution stays
    assert await findings.listed(everything=False, limit=10) == []
    [known] = await findings.listed(everything=True, limit=10)
    assert (known.resolution, known.resolved_at) == ("settled", NOW + DAY)

    assert await findings.note(HELD, NOW + 3 * DAY) == PriorFinding()
    [back] = await findings.listed(everything=False, limit=10)
    assert (back.first_seen, back.resolved_at) == (NOW + 3 * DAY, None)


async def test_the_same_finding_from_many_audits_at_once_is_new_to_one(
    findings: PostgresFindingRepository,
) -> None:
    seen = await asyncio.gather(*(findings.note(HELD, NOW) for _ in range(8)))
    assert seen.count(PriorFinding()) == 1


async def test_findings_are_paged_through_while_they_are_being_settled(
    findings: PostgresFindingRepository,
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


# -- acknowledged findings -------------------------------------------------------------------------

WORD = Acknowledgement("ops-7", "by bank transfer", NOW + DAY)


async def kept(shop: Shop) -> Discrepancy:
    """A rejected order whose money was captured."""
    order = await shop.charged()
    await shop.inventory.release(order.id)
    await shop.orders.move(order.id, Status.REFUNDED, None, NOW)
    return Discrepancy(
        DiscrepancyKind.MONEY_KEPT, order.id, "refunded, and 5.00 EUR was not given back"
    )


async def test_an_acknowledged_finding_is_listed_only_among_all(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    found = await kept(shop)
    await findings.note(found, NOW)

    [answered] = await findings.acknowledge(found.order_id, None, WORD)
    other = Acknowledgement("ops-8", "me too", NOW + 2 * DAY)
    [again] = await findings.acknowledge(found.order_id, DiscrepancyKind.MONEY_KEPT, other)

    assert answered.acknowledged == again.acknowledged == WORD
    assert await findings.listed(everything=False, limit=10) == []
    assert await findings.listed(everything=True, limit=10) == [answered]
    assert await findings.note(found, NOW + 2 * DAY) == PriorFinding(NOW, is_acknowledged=True)
    view = await shop.orders.view(found.order_id)
    [line] = [line for line in view.history if line.event == "finding_acknowledged"]
    assert line.detail == {
        "kind": "money_kept",
        "finding": found.detail,
        "by": "ops-7",
        "note": "by bank transfer",
    }


async def test_a_finding_of_another_amount_needs_somebody_again(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    found = await kept(shop)
    await findings.note(found, NOW)
    await findings.acknowledge(found.order_id, None, WORD)

    other = replace(found, detail="refunded, and 4.00 EUR was not given back")
    assert await findings.note(other, NOW + DAY) == PriorFinding()

    [back] = await findings.listed(everything=False, limit=10)
    assert (back.detail, back.acknowledged, back.first_seen) == (other.detail, None, NOW)
    assert await findings.note(other, NOW + 2 * DAY) == PriorFinding(NOW + DAY)


async def test_a_finding_that_was_settled_and_is_back_needs_somebody_again(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    found = await kept(shop)
    await findings.note(found, NOW)
    await findings.acknowledge(found.order_id, None, WORD)
    await findings.resolve(found, "settled", NOW + DAY)
    assert await findings.note(found, NOW + 2 * DAY) == PriorFinding()
    [back] = await findings.listed(everything=False, limit=10)
    assert back.acknowledged is None


async def test_what_cannot_be_acknowledged_is_said_in_a_sentence(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    order = await shop.placed()
    with pytest.raises(NoSuchOrderError, match="there is no order nobody"):
        await findings.acknowledge("nobody", None, WORD)
    with pytest.raises(NothingToAcknowledgeError, match="no audit found anything"):
        await findings.acknowledge(order.id, None, WORD)


async def test_a_finding_about_no_order_of_ours_can_be_acknowledged(
    findings: PostgresFindingRepository,
) -> None:
    ghost = replace(HELD, order_id="ghost")
    await findings.note(ghost, NOW)
    [answered] = await findings.acknowledge("ghost", None, WORD)
    assert answered.acknowledged == WORD


async def test_the_check_is_silent_about_what_somebody_answers_for_until_it_changes(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    found = await kept(shop)
    named = f"order {found.order_id} is refunded, but 500 of it was kept"

    async def about_it() -> list[str]:
        return [one for one in await find_inconsistencies(shop.database) if found.order_id in one]

    assert await about_it() == [named]
    await findings.note(found, NOW)
    assert await about_it() == [named]

    await findings.acknowledge(found.order_id, None, WORD)
    assert await about_it() == []

    await shop.ledger.record_refund(
        found.order_id, f"pi_{found.order_id}", CardRefund("re_later", EURO)
    )
    assert await about_it() == [f"order {found.order_id} is refunded, but 400 of it was kept"]


async def test_the_check_names_a_completed_order_that_was_paid_in_part(
    shop: Shop, findings: PostgresFindingRepository
) -> None:
    order = await shop.opened()
    captured = CardCharge(
        f"pi_{order.id}", ChargeState.CAPTURED, order.total, captured=EURO, refunded=EURO * 0
    )
    await record(shop.ledger, order.id, captured)
    for status in (Status.PAID, Status.FULFILLED, Status.COMPLETED):
        await shop.orders.move(order.id, status, None, NOW)

    async def about_its_money() -> list[str]:
        found = await find_inconsistencies(shop.database)
        return [one for one in found if order.id in one and "was kept" in one]

    named = [f"order {order.id} is completed, but 100 of it was kept, not 500"]
    assert await about_its_money() == named
    detail = "completed, and 1.00 EUR of 5.00 EUR was taken"
    await findings.note(Discrepancy(DiscrepancyKind.PAID_IN_PART, order.id, detail), NOW)
    assert await about_its_money() == named

    await findings.acknowledge(order.id, None, WORD)
    assert await about_its_money() == []


async def test_the_check_names_what_an_operator_says_beside_what_our_books_say(shop: Shop) -> None:
    order = await shop.placed()
    await shop.inventory.release(order.id)
    said = ManualRefund(order.id, order.total, "ops-7", "by bank transfer")
    await shop.ledger.record_manual_refund(said)
    await shop.orders.move(order.id, Status.REFUNDED, None, NOW)
    found = [one for one in await find_inconsistencies(shop.database) if order.id in one]
    assert found == [
        f"order {order.id} is refunded, but 0 of it was kept, and 500 given back by hand, "
        "as ops-7 says"
    ]


async def test_an_order_stands_with_its_refunds_and_what_was_given_back_by_hand(
    shop: Shop, book: PostgresAuditRepository
) -> None:
    refunds = PostgresRefundBook(shop.database)
    order = await shop.charged()
    for status in (Status.PAID, Status.FULFILLED):
        await shop.orders.move(order.id, status, None, NOW)

    async def standing() -> BookedOrder:
        return (await book.standing([order.id]))[order.id]

    assert (await standing()).refunds == NOTHING
    await refunds.reserve(RefundRequest(order.id, "r1", amount=EURO), NOW)
    assert (await standing()).refunds == NOTHING
    await refunds.begin(order.id, "r1", 1, NOW)
    assert (await standing()).refunds is None  # only the provider knows
    await refunds.tell(order.id, "r1", 1, CardRefund("re_r1", EURO), NOW)
    assert ((await standing()).refunds, (await standing()).by_hand) == (EURO, None)
    said = ManualRefund(order.id, PRICE, "ops-7", "by bank transfer")
    await shop.ledger.record_manual_refund(said)
    assert (await standing()).by_hand == RecordedManualRefund(PRICE, "ops-7")
