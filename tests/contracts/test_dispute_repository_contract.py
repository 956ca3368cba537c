"""Contract of `DisputeRepository`: PostgreSQL and the fake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.disputes.ports import DisputeRepository
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order, Recipient
from durable_orders.domain.ports import (
    NoSuchOrderError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
)
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import Product, add_products
from tests.fakes.database import InMemoryDatabase, InMemoryOrderRepository, InMemoryPaymentLedger
from tests.fakes.disputes import InMemoryDisputeRepository
from tests.support.charges import announce

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DUE = NOW + timedelta(days=9)
NOTHING, TOTAL, FEE = Money(0, "EUR"), Money(29_00, "EUR"), Money(15_00, "EUR")
S = DisputeStatus
_numbers = count(1)


@dataclass(frozen=True)
class Store:
    """A store under test, with orders that are charged as ``pi_{order id}``."""

    orders: OrderRepository
    ledger: PaymentLedger
    disputes: DisputeRepository
    add: Callable[[Product], Awaitable[None]]

    async def order(self, *, charged: bool = True) -> Order:
        number = next(_numbers)
        await self.add(Product(f"MUG-{number}", "Mug", TOTAL, 10))
        recipient = Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin")
        basket = Basket(
            f"d-{number}", "customer-1", recipient, ((f"MUG-{number}", 1),), "pm_card_visa"
        )
        order = await self.orders.place(basket, NOW)
        if charged:
            await announce(self.ledger, order)
        return order

    async def hears(self, order: Order, *risks: Dispute | FraudWarning | Review) -> PaymentRisks:
        """Record a report of unknown age."""
        return await self.disputes.record(order.id, report(order, *risks), NOW)

    async def reads(self, order: Order, *risks: Dispute | FraudWarning | Review) -> PaymentRisks:
        """Record a report that was read after what is recorded now."""
        known = await self.disputes.risks_of(order.id)
        assert known is not None
        fresh = replace(report(order, *risks), revision=known.revision)
        return await self.disputes.record(order.id, fresh, NOW)

    async def lines(self, order: Order) -> list[str]:
        history = (await self.orders.view(order.id)).history
        words = ("dispute", "fraud", "review")
        return [line.event for line in history if line.event.startswith(words)]


@pytest.fixture(params=["in memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "in memory":
        memory = InMemoryDatabase()

        async def put(product: Product) -> None:
            memory.add_product(product.sku, product.name, product.price, product.on_hand)

        return Store(
            InMemoryOrderRepository(memory),
            InMemoryPaymentLedger(memory),
            InMemoryDisputeRepository(memory),
            put,
        )
    database: Database = request.getfixturevalue("database")

    async def add(product: Product) -> None:
        await add_products(database, [product])

    return Store(
        PostgresOrderRepository(database),
        PostgresPaymentLedger(database),
        PostgresDisputeRepository(database),
        add,
    )


def report(order: Order, *risks: Dispute | FraudWarning | Review) -> PaymentRisks:
    return PaymentRisks(
        f"pi_{order.id}",
        tuple(one for one in risks if isinstance(one, Dispute)),
        tuple(one for one in risks if isinstance(one, FraudWarning)),
        tuple(one for one in risks if isinstance(one, Review)),
    )


def chargeback(order: Order, name: str = "1", *, opened: datetime = NOW) -> Dispute:
    return Dispute(
        dispute_id=f"du_{order.id}_{name}",
        payment_id=f"pi_{order.id}",
        amount=TOTAL,
        withdrawn=TOTAL,
        fee=FEE,
        reason="fraudulent",
        status=S.NEEDS_RESPONSE,
        opened_at=opened,
        due_by=DUE,
    )


def inquiry(order: Order) -> Dispute:
    asked = replace(chargeback(order), withdrawn=NOTHING, fee=NOTHING)
    return replace(asked, status=S.WARNING_NEEDS_RESPONSE)


def fraud_warning(order: Order, *, opened: datetime = NOW) -> FraudWarning:
    return FraudWarning(
        f"issfr_{order.id}",
        f"pi_{order.id}",
        "unauthorized_use_of_card",
        is_actionable=True,
        opened_at=opened,
    )


def review(order: Order, *, opened: datetime = NOW) -> Review:
    return Review(f"prv_{order.id}", f"pi_{order.id}", "rule", is_open=True, opened_at=opened)


# -- whose it is -----------------------------------------------------------------------------------


async def test_an_order_is_found_by_its_payment(store: Store) -> None:
    order = await store.order()
    assert await store.disputes.find_order(f"pi_{order.id}") == order.id
    assert await store.disputes.find_order("pi_of_somebody_else") is None


async def test_an_order_that_was_never_charged_has_no_risks(store: Store) -> None:
    order = await store.order(charged=False)
    assert await store.disputes.risks_of(order.id) is None
    with pytest.raises(RefusedError, match="not charged as"):
        await store.disputes.record(order.id, report(order), NOW)
    with pytest.raises(NoSuchOrderError):
        await store.disputes.risks_of("nobody")
    with pytest.raises(NoSuchOrderError):
        await store.disputes.record("nobody", PaymentRisks("pi_1"), NOW)


async def test_a_dispute_of_one_order_is_refused_for_another(store: Store) -> None:
    mine, other = await store.order(), await store.order()
    await store.hears(mine, chargeback(mine))
    stolen = replace(chargeback(mine), payment_id=f"pi_{other.id}")
    with pytest.raises(RefusedError):
        await store.hears(other, stolen)
    with pytest.raises(RefusedError, match="not charged as"):
        await store.disputes.record(other.id, report(mine), NOW)
    assert await store.disputes.find(stolen.dispute_id) == (mine.id, chargeback(mine))
    assert (await store.disputes.risks_of(other.id)) == PaymentRisks(f"pi_{other.id}", revision=0)


# -- recording -------------------------------------------------------------------------------------


async def test_what_is_recorded_is_read_as_it_was(store: Store) -> None:
    order = await store.order()
    dollars = replace(chargeback(order), fee=Money(20_00, "USD"), submissions=1)
    recorded = await store.hears(order, dollars, fraud_warning(order), review(order))
    wanted = report(order, dollars, fraud_warning(order), review(order))
    assert recorded == replace(wanted, revision=3)
    assert await store.disputes.risks_of(order.id) == recorded
    assert await store.disputes.find(dollars.dispute_id) == (order.id, dollars)
    assert await store.disputes.find("du_unknown") is None
    assert await store.lines(order) == ["dispute_opened", "fraud_warning", "review_opened"]


async def test_the_same_report_again_changes_nothing(store: Store) -> None:
    order = await store.order()
    first = await store.hears(order, chargeback(order))
    assert await store.hears(order, chargeback(order)) == first
    assert await store.reads(order, chargeback(order)) == first
    assert await store.lines(order) == ["dispute_opened"]


async def test_the_history_names_no_person(store: Store) -> None:
    order = await store.order()
    await store.hears(order, chargeback(order), fraud_warning(order), review(order))
    history = (await store.orders.view(order.id)).history
    opened = next(line for line in history if line.event == "dispute_opened")
    assert opened.detail == {
        "dispute_id": f"du_{order.id}_1",
        "kind": "chargeback",
        "amount": "29.00 EUR",
        "reason": "fraudulent",
        "withdrawn": "29.00 EUR",
        "due_by": DUE.isoformat(),
    }


async def test_what_a_report_leaves_out_stays(store: Store) -> None:
    order = await store.order()
    await store.hears(order, chargeback(order), fraud_warning(order), review(order))
    assert len((await store.reads(order)).ids) == 3


async def test_an_inquiry_closes_without_moving_money(store: Store) -> None:
    order = await store.order()
    await store.hears(order, inquiry(order))
    await store.reads(order, replace(inquiry(order), status=S.WARNING_UNDER_REVIEW, submissions=1))
    closed = await store.reads(order, replace(inquiry(order), status=S.WARNING_CLOSED))
    assert closed.concerns == ()
    assert closed.withdrawn("EUR") == NOTHING
    assert await store.lines(order) == ["dispute_opened", "dispute_updated", "dispute_closed"]


async def test_an_inquiry_becomes_a_chargeback(store: Store) -> None:
    order = await store.order()
    await store.hears(order, inquiry(order))
    escalated = await store.hears(order, chargeback(order))
    assert escalated.disputes == (chargeback(order),)
    assert escalated.withdrawn("EUR") == TOTAL
    assert [one.kind for one in escalated.concerns] == [ConcernKind.CHARGEBACK]


@pytest.mark.parametrize(
    ("status", "withdrawn", "event"),
    [(S.WON, NOTHING, "dispute_won"), (S.LOST, TOTAL, "dispute_lost")],
)
async def test_a_chargeback_is_won_or_lost(
    store: Store, status: S, withdrawn: Money, event: str
) -> None:
    order = await store.order()
    await store.hears(order, chargeback(order))
    ended = await store.hears(order, replace(chargeback(order), status=status, withdrawn=withdrawn))
    assert (ended.concerns, ended.withdrawn("EUR")) == ((), withdrawn)
    assert await store.lines(order) == ["dispute_opened", event]


async def test_one_that_is_over_when_it_is_first_heard_of_has_both_lines(store: Store) -> None:
    order = await store.order()
    await store.hears(order, replace(chargeback(order), status=S.LOST))
    assert await store.lines(order) == ["dispute_opened", "dispute_lost"]


@pytest.mark.parametrize("ended", [S.WON, S.LOST, S.WARNING_CLOSED, S.PREVENTED])
@pytest.mark.parametrize("late", [S.WARNING_NEEDS_RESPONSE, S.WARNING_UNDER_REVIEW])
async def test_an_old_report_reopens_nothing(store: Store, ended: S, late: S) -> None:
    order = await store.order()
    after = await store.hears(order, replace(inquiry(order), status=ended))
    assert await store.hears(order, replace(inquiry(order), status=late)) == after


async def test_a_dispute_that_is_won_is_not_lost_by_an_old_report(store: Store) -> None:
    order = await store.order()
    won = await store.hears(order, replace(chargeback(order), status=S.WON, withdrawn=NOTHING))
    for status in (S.LOST, S.UNDER_REVIEW, S.NEEDS_RESPONSE):
        assert await store.hears(order, replace(chargeback(order), status=status)) == won


async def test_a_dispute_that_was_really_reopened_is_open(store: Store) -> None:
    order = await store.order()
    await store.hears(order, replace(chargeback(order), status=S.WON, withdrawn=NOTHING))
    again = await store.reads(order, replace(chargeback(order), due_by=DUE + timedelta(days=30)))
    assert again.concerns != ()
    assert again.withdrawn("EUR") == TOTAL
    assert await store.lines(order) == ["dispute_opened", "dispute_won", "dispute_updated"]


async def test_a_report_read_before_another_was_recorded_is_old(store: Store) -> None:
    order = await store.order()
    before = await store.hears(order, chargeback(order))
    won = replace(chargeback(order), status=S.WON, withdrawn=NOTHING)
    after = await store.reads(order, won)
    overtaken = replace(report(order, chargeback(order)), revision=before.revision)
    assert await store.disputes.record(order.id, overtaken, NOW) == after


async def test_money_withdrawn_is_not_forgotten_by_an_old_report(store: Store) -> None:
    order = await store.order()
    before_the_money = replace(chargeback(order), withdrawn=NOTHING, fee=NOTHING, due_by=None)
    first = await store.hears(order, before_the_money)
    assert first.withdrawn("EUR") == NOTHING
    later = await store.hears(order, chargeback(order))
    assert later.disputes == (chargeback(order),)
    assert await store.hears(order, before_the_money) == later


async def test_two_partial_disputes_are_added(store: Store) -> None:
    order = await store.order()
    part = Money(10_00, "EUR")
    first = replace(chargeback(order, "a"), amount=part, withdrawn=part)
    second = replace(chargeback(order, "b"), amount=part, withdrawn=part)
    both = await store.hears(order, first, second)
    assert both.withdrawn("EUR") == Money(20_00, "EUR")
    assert both.disputes == (first, second)


async def test_a_warning_ends_when_nothing_can_be_done_any_more(store: Store) -> None:
    order = await store.order()
    await store.hears(order, fraud_warning(order))
    over = replace(fraud_warning(order), is_actionable=False)
    assert (await store.hears(order, over)).concerns == ()
    assert (await store.hears(order, fraud_warning(order))).concerns == ()
    assert await store.lines(order) == ["fraud_warning", "fraud_warning_updated"]


@pytest.mark.parametrize("reason", ["approved", "refunded", "refunded_as_fraud", "disputed"])
async def test_a_review_is_closed_for_a_reason(store: Store, reason: str) -> None:
    order = await store.order()
    await store.hears(order, review(order))
    closed = replace(review(order), is_open=False, closed_reason=reason)
    assert (await store.hears(order, closed)).reviews == (closed,)
    assert (await store.hears(order, review(order))).reviews == (closed,)
    assert await store.lines(order) == ["review_opened", "review_closed"]


async def test_what_an_operator_has_acknowledged_is_no_concern_any_more(store: Store) -> None:
    order = await store.order()
    warning, asked = fraud_warning(order), review(order)
    before = await store.hears(order, warning, asked)
    disputes = store.disputes
    await disputes.acknowledge(order.id, warning.warning_id, "ada", "the customer called", NOW)
    after = await disputes.acknowledge(order.id, warning.warning_id, "bob", "again", NOW)
    assert after.warnings == (replace(warning, acknowledged_by="ada"),)
    assert [one.id for one in after.concerns] == [asked.review_id]
    assert after.revision == (before.revision or 0) + 1
    assert await store.reads(order, warning, asked) == after  # a report knows nothing of it
    mine = [one for one in await disputes.open_concerns(1000) if one.order_id == order.id]
    assert [one.concern.id for one in mine] == [asked.review_id]
    history = (await store.orders.view(order.id)).history
    said = {"id": warning.warning_id, "by": "ada", "note": "the customer called"}
    lines = [line.detail for line in history if line.event == "payment_risk_acknowledged"]
    assert lines == [said]


async def test_only_what_the_order_has_can_be_acknowledged(store: Store) -> None:
    order, other = await store.order(), await store.order()
    await store.hears(order, chargeback(order))
    for order_id in (other.id, (await store.order(charged=False)).id):
        with pytest.raises(RefusedError, match="has no dispute or warning"):
            await store.disputes.acknowledge(order_id, f"du_{order.id}_1", "ada", "", NOW)
    with pytest.raises(NoSuchOrderError):
        await store.disputes.acknowledge("nobody", "du_1", "ada", "", NOW)


async def test_a_dispute_that_was_acknowledged_stays_open(store: Store) -> None:
    order = await store.order()
    await store.hears(order, chargeback(order))
    acknowledged = await store.disputes.acknowledge(order.id, f"du_{order.id}_1", "ada", "", NOW)
    assert [one.kind for one in acknowledged.concerns] == [ConcernKind.CHARGEBACK]
    lost = await store.hears(order, replace(chargeback(order), status=S.LOST))
    assert lost.disputes[0].acknowledged_by == "ada"


# -- what is open ----------------------------------------------------------------------------------


async def test_open_concerns_come_by_deadline_and_then_by_age(store: Store) -> None:
    others = [one.order_id for one in await store.disputes.open_concerns(1000)]
    late, soon, warned, asked, over = [await store.order() for _ in range(5)]
    old = NOW - timedelta(days=3)
    await store.hears(warned, fraud_warning(warned))
    await store.hears(asked, review(asked, opened=old))
    await store.hears(late, replace(chargeback(late), amount=Money(5_00, "EUR")))
    await store.hears(soon, replace(inquiry(soon), due_by=NOW + timedelta(days=1)))
    await store.hears(over, replace(chargeback(over), status=S.LOST))
    found = [one for one in await store.disputes.open_concerns(1000) if one.order_id not in others]
    assert [one.order_id for one in found] == [soon.id, late.id, asked.id, warned.id]
    assert [str(one.amount) for one in found] == ["29.00 EUR", "5.00 EUR"] + ["29.00 EUR"] * 2
    assert [one.concern.kind for one in found] == [
        "inquiry",
        "chargeback",
        "review",
        "fraud_warning",
    ]
    assert {one.payment_id for one in found} == {f"pi_{one.order_id}" for one in found}
    assert len(await store.disputes.open_concerns(2)) == 2


@pytest.mark.parametrize("number", range(3))
async def test_the_ledger_tells_of_what_is_recorded_of_a_charge(store: Store, number: int) -> None:
    """So that nobody has to ask here about charges of which nothing is."""
    order, other = await store.order(), await store.order()
    payment_id = f"pi_{order.id}"
    risks = (
        chargeback(order),
        FraudWarning(f"issfr_{order.id}", payment_id, "misc", is_actionable=True, opened_at=NOW),
        Review(f"prv_{order.id}", payment_id, "rule", is_open=True, opened_at=NOW),
    )
    before = await store.ledger.find(order.id)
    assert before is not None
    await store.hears(order, risks[number])
    assert await store.ledger.find(order.id) == replace(before, is_questioned=True)
    [closed] = await store.ledger.close(order.id)
    assert replace(closed, undone=None) == replace(before, is_questioned=True)
    unquestioned = await store.ledger.find(other.id)
    assert unquestioned is not None
    assert not unquestioned.is_questioned


async def test_orders_are_found_by_their_payments_all_at_once(store: Store) -> None:
    first, second = await store.order(), await store.order()
    wanted = [f"pi_{first.id}", "pi_of_somebody_else", f"pi_{second.id}"]
    found = await store.disputes.find_orders(wanted)
    assert found == {f"pi_{first.id}": first.id, f"pi_{second.id}": second.id}
    assert await store.disputes.find_orders([]) == {}


async def test_orders_of_which_something_is_open_are_paged_by_id(store: Store) -> None:
    disputed, warned, over, acknowledged = [await store.order() for _ in range(4)]
    await store.hears(disputed, chargeback(disputed, "a"), chargeback(disputed, "b"))
    await store.hears(warned, fraud_warning(warned))
    await store.hears(over, replace(chargeback(over), status=S.WON))
    await store.hears(acknowledged, review(acknowledged))
    await store.disputes.acknowledge(acknowledged.id, f"prv_{acknowledged.id}", "ada", "", NOW)
    mine = {one.id for one in (disputed, warned, over, acknowledged)}
    found: list[str] = []
    while page := await store.disputes.open_orders(found[-1] if found else "", 1):
        found += page
    assert [id_ for id_ in found if id_ in mine] == sorted([disputed.id, warned.id])
