"""The refund that undoes an order on a real PostgreSQL: raced for, checked, read by the audit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.audit.messages import Acknowledgement
from durable_orders.domain.audit.model import (
    BookedOrder,
    BookedRefund,
    Discrepancy,
    DiscrepancyKind,
)
from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import CardRefund, CardRefundState
from durable_orders.domain.refunds.refund import TAKEN_BY_DISPUTE, RefundEntry, RefundState
from durable_orders.store.audit import PostgresAuditRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.refunds import PostgresRefundBook
from tests.store.shop import NOW, PRICE, Shop
from tests.store.test_disputes import chargeback, record

DAY = timedelta(days=1)
S = CardRefundState


@dataclass(frozen=True)
class Undone:
    """An order that was undone; its refund can be told about."""

    shop: Shop
    order: Order

    @property
    def refunds(self) -> PostgresRefundBook:
        return PostgresRefundBook(self.shop.database)

    async def reserve(self, left: Money = PRICE) -> RefundEntry:
        entry = await self.refunds.reserve_undo(self.order.id, f"pi_{self.order.id}", left, NOW)
        assert entry is not None
        return entry

    async def tell(self, state: CardRefundState, attempt: int = 1, at: datetime = NOW) -> None:
        refund = CardRefund(f"re_{self.order.id}_{attempt}", PRICE, state, "lost_card")
        if state is not S.FAILED:
            refund = replace(refund, problem="")
        await self.refunds.tell(self.order.id, UNDO_REFUND_ID, attempt, refund, at)

    async def settle(self, why: str = "settled by hand") -> None:
        await self.refunds.move(self.order.id, UNDO_REFUND_ID, RefundState.SETTLED, NOW, why)

    async def end(self, at: datetime = NOW) -> None:
        await self.shop.inventory.release(self.order.id)
        await self.shop.orders.move(self.order.id, Status.REFUNDED, None, at)

    async def faults(self) -> list[str]:
        found = await find_inconsistencies(self.shop.database)
        return [one for one in found if f"{self.order.id} " in one]

    async def standing(self) -> BookedOrder:
        return (await PostgresAuditRepository(self.shop.database).standing([self.order.id]))[
            self.order.id
        ]

    async def is_listed(self) -> bool:
        """Whether an audit that looks back an hour would read the order."""
        book = PostgresAuditRepository(self.shop.database)
        cursor: str | None = None
        listed: list[str] = []
        while True:
            page = await book.page(datetime.now(UTC) - timedelta(hours=1), cursor, 100)
            listed += [one.order_id for one in page.items]
            if (cursor := page.cursor) is None:
                return self.order.id in listed


@pytest.fixture
async def undone(shop: Shop) -> Undone:
    order = await shop.charged()
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    return Undone(shop, order)


async def test_workers_racing_to_undo_an_order_set_one_refund_aside(undone: Undone) -> None:
    entries = await asyncio.gather(*(undone.reserve() for _ in range(8)))
    assert set(entries) == {entries[0]}
    assert await undone.refunds.refunds_of(undone.order.id) == (entries[0],)
    events = await undone.shop.events_of(undone.order)
    assert events.count("refund_issuing") == 1


async def test_workers_racing_to_tell_of_it_count_it_once(undone: Undone) -> None:
    await undone.reserve()
    await asyncio.gather(*(undone.tell(S.SUCCEEDED) for _ in range(8)))
    [payment] = (await undone.shop.orders.view(undone.order.id)).payments
    assert payment.refunded == PRICE
    await undone.end()
    assert await undone.faults() == []


async def test_the_refunds_amount_is_that_of_the_last_time_it_was_set_aside(
    undone: Undone,
) -> None:
    await undone.reserve()
    part = Money(2_00, "EUR")
    await undone.reserve(part)
    entry = await undone.refunds.find(undone.order.id, UNDO_REFUND_ID)
    assert entry is not None
    assert (entry.amount, entry.attempt) == (part, 2)


async def test_the_check_is_silent_while_the_money_is_on_its_way(undone: Undone) -> None:
    await undone.reserve()
    await undone.tell(S.PENDING)
    await undone.end()
    assert await undone.faults() == []


async def test_the_check_names_what_is_owed_until_it_was_given_back_another_way(
    undone: Undone,
) -> None:
    await undone.reserve()
    await undone.tell(S.PENDING)
    await undone.tell(S.FAILED)
    await undone.end()
    owed = f"order {undone.order.id} is refunded, but 500 of it was kept"
    assert await undone.faults() == [f"{owed}, its refund of 500 has failed"]
    await undone.settle()
    assert await undone.faults() == []


async def test_the_check_is_silent_about_what_is_owed_when_somebody_answers_for_it(
    undone: Undone,
) -> None:
    await undone.reserve()
    await undone.tell(S.FAILED)
    await undone.end()
    findings = PostgresFindingRepository(undone.shop.database)
    found = Discrepancy(DiscrepancyKind.REFUND_FAILED, undone.order.id, "failed", payment_id="pi")
    await findings.note(found, NOW)
    word = Acknowledgement("ops-7", "the customer has moved", NOW)
    await findings.acknowledge(undone.order.id, None, word)
    assert await undone.faults() == []


@pytest.mark.parametrize(("kept", "given_back"), [(300, 200), (0, 500)])
async def test_the_check_names_what_a_person_and_stripe_both_gave_back(
    undone: Undone, kept: int, given_back: int
) -> None:
    await undone.reserve()
    await undone.tell(S.FAILED)
    await undone.settle()
    charge = await undone.shop.ledger.find(undone.order.id)
    assert charge is not None
    by_hand = CardRefund(f"re_{undone.order.id}_by_hand", Money(given_back, "EUR"))
    await undone.shop.ledger.record_refund(undone.order.id, charge.payment_id, by_hand)
    await undone.end()
    assert await undone.faults() == [
        f"order {undone.order.id} is refunded, but {kept} of it was kept, and 500 given back in "
        "place of its refund"
    ]


async def test_what_a_dispute_took_in_place_of_a_refund_is_not_given_back_twice(
    undone: Undone,
) -> None:
    await undone.reserve()
    await undone.tell(S.PENDING)
    await undone.tell(S.FAILED)
    await undone.end()
    await record(undone.shop, undone.order, chargeback(undone.order))
    await undone.settle(TAKEN_BY_DISPUTE)
    assert await undone.faults() == []
    assert (await undone.standing()).settled_undo is None


async def test_an_operators_word_on_the_order_counts_before_that_on_its_refund(
    undone: Undone,
) -> None:
    await undone.reserve()
    said = ManualRefund(undone.order.id, PRICE, "ops-7", "by bank transfer")
    await undone.shop.ledger.record_manual_refund(said)
    await undone.settle()
    await undone.end()
    [fault] = await undone.faults()
    assert fault.endswith("500 of it was kept, and 500 given back by hand, as ops-7 says")


@pytest.mark.parametrize("state", [S.PENDING, S.FAILED])
async def test_an_order_is_read_by_the_audit_as_long_as_its_refund_is_not_settled(
    undone: Undone, state: CardRefundState
) -> None:
    await undone.reserve()
    await undone.tell(S.PENDING, at=NOW)
    if state is S.FAILED:
        await undone.tell(S.FAILED, at=NOW)
    await undone.end(NOW - 60 * DAY)
    assert await undone.is_listed()
    [refund] = (await undone.standing()).unsettled
    why = "lost_card" if state is S.FAILED else ""
    assert refund == BookedRefund(
        UNDO_REFUND_ID, f"pi_{undone.order.id}", PRICE, RefundState(state), NOW, why
    )
    await undone.settle()
    assert not await undone.is_listed()
    standing = await undone.standing()
    assert (standing.unsettled, standing.settled_undo) == ((), PRICE)


async def test_an_order_whose_refund_has_arrived_is_read_no_more(undone: Undone) -> None:
    await undone.reserve()
    await undone.end(NOW - 60 * DAY)
    assert await undone.is_listed()  # only the provider knows
    await undone.tell(S.SUCCEEDED)
    assert not await undone.is_listed()
    standing = await undone.standing()
    assert (standing.unsettled, standing.settled_undo) == ((), None)


async def test_an_order_is_found_by_its_payment(undone: Undone) -> None:
    ledger = undone.shop.ledger
    assert await ledger.find_order(f"pi_{undone.order.id}") == undone.order.id
    assert await ledger.find_order("pi_nobodys") is None


async def test_money_that_others_gave_back_in_part_stays_counted_when_the_refund_fails(
    undone: Undone,
) -> None:
    order_id, two = undone.order.id, Money(2_00, "EUR")
    charge = await undone.shop.ledger.find(order_id)
    assert charge is not None
    await undone.shop.ledger.record_refund(order_id, charge.payment_id, CardRefund("re_2", two))
    await undone.reserve(PRICE - two)
    refund = CardRefund(f"re_{order_id}", PRICE - two)
    await undone.refunds.tell(order_id, UNDO_REFUND_ID, 1, refund, NOW)
    [payment] = (await undone.shop.orders.view(order_id)).payments
    assert payment.refunded == PRICE
    failed = replace(refund, state=S.FAILED, problem="lost_card")
    await undone.refunds.tell(order_id, UNDO_REFUND_ID, 1, failed, NOW)
    [payment] = (await undone.shop.orders.view(order_id)).payments
    assert payment.refunded == two
