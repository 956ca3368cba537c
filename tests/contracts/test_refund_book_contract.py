"""Contract of `RefundBook`: PostgreSQL and the fake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order, Recipient
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    CardRefundState,
    ChargeState,
    IllegalStatusError,
    Inventory,
    NoSuchOrderError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
)
from durable_orders.domain.refunds.ports import NoSuchRefundError, RefundBook
from durable_orders.domain.refunds.refund import (
    UNFINISHED,
    RefundEntry,
    RefundReason,
    RefundRefused,
    RefundRequest,
    RefundState,
    undo_request,
)
from durable_orders.domain.views import RefundView
from durable_orders.store.database import Database
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.seed import Product, add_products
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryInventory,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.refunds import InMemoryRefundBook
from tests.support.charges import announce, record

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRICE = Money(5_00, "EUR")
TOTAL = Money(15_00, "EUR")
_numbers = count(1)


@dataclass(frozen=True)
class Store:
    """A store under test, with orders that are paid: two mugs and a tee, 15 euros."""

    orders: OrderRepository
    inventory: Inventory
    ledger: PaymentLedger
    refunds: RefundBook
    add: Callable[[Product], Awaitable[None]]
    on_hand: Callable[[str], Awaitable[int]]

    async def order(self, *, until: Status = Status.COMPLETED) -> Order:
        number = next(_numbers)
        for sku in ("MUG", "TEE"):
            await self.add(Product(f"{sku}-{number}", sku, PRICE, 10))
        basket = Basket(
            f"f-{number}",
            "customer-1",
            Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin"),
            ((f"MUG-{number}", 2), (f"TEE-{number}", 1)),
            "pm_card_visa",
        )
        order = await self.orders.place(basket, NOW)
        await self.inventory.reserve(order.id)
        captured = CardCharge(f"pi_{order.id}", ChargeState.CAPTURED, TOTAL, TOTAL, Money(0, "EUR"))
        await announce(self.ledger, order)
        await record(self.ledger, order.id, captured, answers=1)
        await self.orders.move(order.id, Status.PAID, None, NOW)
        if until is not Status.PAID:
            await self.inventory.commit(order.id)
        if until is Status.COMPLETED:
            await self.orders.move(order.id, Status.COMPLETED, None, NOW)
        return order

    async def reserved(self, request: RefundRequest) -> RefundEntry:
        entry = await self.refunds.reserve(request, NOW)
        assert isinstance(entry, RefundEntry), entry
        return entry

    async def refused(self, request: RefundRequest) -> str:
        refusal = await self.refunds.reserve(request, NOW)
        assert isinstance(refusal, RefundRefused), refusal
        return refusal.message

    async def arrived(self, request: RefundRequest) -> RefundEntry:
        entry = await self.reserved(request)
        await self.refunds.begin(request.order_id, request.refund_id, 1, NOW)
        return await self.tell(entry, card_refund(entry))

    async def tell(self, entry: RefundEntry, refund: CardRefund, attempt: int = 1) -> RefundEntry:
        request = entry.request
        return await self.refunds.tell(request.order_id, request.refund_id, attempt, refund, NOW)

    async def given_back(self, order: Order) -> int:
        return (await self.orders.view(order.id)).payments[0].refunded.amount

    async def events_of(self, order: Order) -> list[str]:
        history = (await self.orders.view(order.id)).history
        return [line.event for line in history if line.event.startswith("refund_")]


@pytest.fixture(params=["in memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "in memory":
        memory = InMemoryDatabase()

        async def put(product: Product) -> None:
            memory.add_product(product.sku, product.name, product.price, product.on_hand)

        async def shelved(sku: str) -> int:
            return memory.products[sku].on_hand

        return Store(
            InMemoryOrderRepository(memory),
            InMemoryInventory(memory),
            InMemoryPaymentLedger(memory),
            InMemoryRefundBook(memory),
            put,
            shelved,
        )
    database: Database = request.getfixturevalue("database")

    async def add(product: Product) -> None:
        await add_products(database, [product])

    async def on_hand(sku: str) -> int:
        async with database.engine.connect() as connection:
            rows = await connection.exec_driver_sql(
                "SELECT on_hand FROM products WHERE sku = $1", (sku,)
            )
            return int(rows.scalar_one())

    return Store(
        PostgresOrderRepository(database),
        PostgresInventory(database),
        PostgresPaymentLedger(database),
        PostgresRefundBook(database),
        add,
        on_hand,
    )


def card_refund(
    entry: RefundEntry, state: CardRefundState = CardRefundState.SUCCEEDED, attempt: int = 1
) -> CardRefund:
    problem = "expired_or_canceled_card" if state is CardRefundState.FAILED else ""
    request = entry.request
    id_ = f"re_{request.order_id}_{request.refund_id}_{attempt}"
    return CardRefund(id_, entry.amount, state, problem)


# -- reserving -------------------------------------------------------------------------------------


async def test_a_request_is_kept_as_it_was_asked(store: Store) -> None:
    order = await store.order()
    mug, tee = (line.sku for line in order.lines)
    request = RefundRequest(
        order.id,
        "r1",
        lines=((tee, 1), (mug, 2)),
        amount=Money(12_00, "EUR"),
        restock=True,
        reason=RefundReason.DAMAGED,
        message="one handle is off",
    )
    entry = await store.reserved(request)
    assert entry == RefundEntry(
        request, Money(12_00, "EUR"), ((mug, 2), (tee, 1)), 1, f"pi_{order.id}"
    )
    assert await store.refunds.find(order.id, "r1") == entry
    assert await store.refunds.refunds_of(order.id) == (entry,)
    assert await store.given_back(order) == 0
    history = (await store.orders.view(order.id)).history
    assert history[-1].event == "refund_requested"
    assert history[-1].detail["amount"] == "12.00 EUR"
    assert "handle" not in str(history[-1].detail)


async def test_the_same_request_again_is_the_same_refund(store: Store) -> None:
    order = await store.order()
    mug, tee = (line.sku for line in order.lines)
    request = RefundRequest(order.id, "r1", lines=((mug, 1), (tee, 1)))
    entry = await store.reserved(request)
    turned = replace(request, lines=request.lines[::-1])
    assert await store.reserved(turned) == entry
    assert len(await store.refunds.refunds_of(order.id)) == 1
    await store.refunds.begin(order.id, "r1", 1, NOW)
    assert (await store.reserved(request)).state is RefundState.ISSUING


@pytest.mark.parametrize(
    "change",
    [
        {"amount": Money(1, "EUR")},
        {"restock": True},
        {"reason": RefundReason.GOODWILL},
        {"message": "another"},
    ],
)
async def test_the_same_id_with_other_contents_is_refused(
    store: Store, change: dict[str, object]
) -> None:
    order = await store.order()
    request = RefundRequest(order.id, "r1")
    entry = await store.reserved(request)
    other = replace(request, **change)  # type: ignore[arg-type]  # the changes are its fields
    assert "other contents" in await store.refused(other)
    assert await store.refunds.find(order.id, "r1") == entry


async def test_what_is_set_aside_is_nobody_elses(store: Store) -> None:
    order = await store.order()
    mug, tee = (line.sku for line in order.lines)
    await store.reserved(RefundRequest(order.id, "r1", lines=((mug, 1),)))
    assert "10.00 EUR of order" in await store.refused(
        RefundRequest(order.id, "r2", amount=Money(10_01, "EUR"))
    )
    assert "1 are left" in await store.refused(RefundRequest(order.id, "r3", lines=((mug, 2),)))
    rest = await store.reserved(RefundRequest(order.id, "r4"))
    assert (rest.amount, rest.lines) == (Money(10_00, "EUR"), ((mug, 1), (tee, 1)))
    assert "nothing to give back" in await store.refused(RefundRequest(order.id, "r5"))


@pytest.mark.parametrize("state", [RefundState.REJECTED, RefundState.CANCELLED])
async def test_what_is_given_free_is_there_for_others(store: Store, state: RefundState) -> None:
    order = await store.order()
    await store.reserved(RefundRequest(order.id, "r1", restock=True))
    await store.refunds.move(order.id, "r1", state, NOW, "because")
    moved = await store.refunds.move(order.id, "r1", state, NOW, "because")
    assert (moved.state, moved.why) == (state, "because")
    assert (await store.reserved(RefundRequest(order.id, "r2"))).amount == TOTAL
    with pytest.raises(IllegalStatusError):
        await store.refunds.begin(order.id, "r1", 1, NOW)
    with pytest.raises(IllegalStatusError):
        await store.refunds.restock(order.id, "r1", NOW)


async def test_what_is_owed_is_kept_as_such_with_what_is_left_of_it_and_why(store: Store) -> None:
    order = await store.order()
    mug, _ = (line.sku for line in order.lines)
    await store.arrived(RefundRequest(order.id, "r1", amount=Money(7_00, "EUR")))
    owed = RefundRequest(order.id, "short", ((mug, 2),), owed=True)
    entry = await store.reserved(owed)
    why = "8.00 EUR is left of the 10.00 EUR that these pieces cost: the rest is refunded already"
    assert (entry.request, entry.amount, entry.why) == (owed, Money(8_00, "EUR"), why)
    assert await store.refunds.find(order.id, "short") == entry
    assert await store.reserved(owed) == entry
    history = (await store.orders.view(order.id)).history
    assert (history[-1].event, history[-1].detail["why"]) == ("refund_requested", why)
    own = await store.refused(RefundRequest(order.id, "short"))
    assert "of other contents" in own


async def test_an_orders_own_id_is_nobody_elses(store: Store) -> None:
    order = await store.order()
    for refund_id in ("short", "parcel.par_7"):
        assert "choose another" in await store.refused(RefundRequest(order.id, refund_id))


async def test_refunds_that_are_not_done_are_listed_page_by_page(store: Store) -> None:
    order, other = await store.order(), await store.order()
    states = {
        RefundState.REQUESTED: "r1",
        RefundState.AWAITING_APPROVAL: "r2",
        RefundState.ISSUING: "r3",
        RefundState.PENDING: "r4",
        RefundState.FAILED: "r5",
        RefundState.SUCCEEDED: "d1",
        RefundState.REJECTED: "d2",
        RefundState.CANCELLED: "d3",
        RefundState.SETTLED: "d4",
    }
    assert set(states) == set(RefundState)
    euro = Money(1_00, "EUR")
    for state, refund_id in states.items():
        entry = await store.reserved(RefundRequest(order.id, refund_id, amount=euro))
        if state is RefundState.REQUESTED:
            continue
        if state.value in set(CardRefundState):
            await store.refunds.begin(order.id, refund_id, 1, NOW)
            await store.tell(entry, card_refund(entry, CardRefundState(state)))
        elif state is RefundState.ISSUING:
            await store.refunds.begin(order.id, refund_id, 1, NOW)
        else:
            await store.refunds.move(order.id, refund_id, state, NOW)
    later = NOW + timedelta(minutes=1)
    await store.refunds.reserve(RefundRequest(other.id, "late", amount=euro), later)

    found = await store.refunds.unfinished(NOW, 100, order_id=order.id)

    unfinished = [state for state in states if state in UNFINISHED]
    assert [(one.refund_id, one.state) for one in found] == [
        (states[state], state) for state in unfinished
    ]
    assert {(one.order_id, one.amount, one.since) for one in found} == {(order.id, euro, NOW)}
    assert await store.refunds.unfinished(NOW, 100, order_id=other.id) == ()
    assert len(await store.refunds.unfinished(later, 100, order_id=other.id)) == 1
    paged: list[tuple[str, str]] = []
    after = ("", "")
    while page := await store.refunds.unfinished(later, 2, after=after):
        assert len(page) <= 2
        paged += [(one.order_id, one.refund_id) for one in page]
        after = paged[-1]
    assert len(paged) == len(set(paged))
    assert {*((order.id, states[state]) for state in unfinished), (other.id, "late")} <= {*paged}


async def test_only_a_paid_order_in_the_warehouses_hands_is_refunded(store: Store) -> None:
    paid = await store.order(until=Status.PAID)
    assert "is paid" in await store.refused(RefundRequest(paid.id, "r1"))
    fulfilled = await store.order(until=Status.FULFILLED)
    await store.reserved(RefundRequest(fulfilled.id, "r1"))


async def test_what_somebody_else_gave_back_is_gone(store: Store) -> None:
    order = await store.order()
    by_hand = CardRefund(f"re_{order.id}_hand", Money(14_00, "EUR"))
    await store.ledger.record_refund(order.id, f"pi_{order.id}", by_hand)
    assert (await store.reserved(RefundRequest(order.id, "r1"))).amount == Money(1_00, "EUR")


# -- the provider's answers ------------------------------------------------------------------------


@pytest.mark.parametrize("state", [CardRefundState.PENDING, CardRefundState.SUCCEEDED])
async def test_what_the_provider_accepted_counts_once_as_given_back(
    store: Store, state: CardRefundState
) -> None:
    order = await store.order()
    entry = await store.reserved(RefundRequest(order.id, "r1", amount=Money(4_00, "EUR")))
    await store.refunds.begin(order.id, "r1", 1, NOW)
    for _ in range(2):
        after = await store.tell(entry, card_refund(entry, state))
        assert after.state.value == state.value
    assert await store.given_back(order) == 4_00
    assert (await store.reserved(RefundRequest(order.id, "r2"))).amount == Money(11_00, "EUR")
    assert await store.events_of(order) == [
        "refund_requested",
        "refund_issuing",
        f"refund_{state}",
        "refund_requested",
    ]


async def test_a_charge_that_was_read_before_is_not_counted_twice(store: Store) -> None:
    order = await store.order()
    entry = await store.reserved(RefundRequest(order.id, "r1", amount=Money(4_00, "EUR")))
    await store.refunds.begin(order.id, "r1", 1, NOW)
    read = CardCharge(
        entry.payment_id, ChargeState.CAPTURED, TOTAL, TOTAL, refunded=Money(4_00, "EUR")
    )
    await record(store.ledger, order.id, read)
    await store.tell(entry, card_refund(entry))
    assert await store.given_back(order) == 4_00


async def test_old_news_changes_nothing(store: Store) -> None:
    order = await store.order()
    entry = await store.arrived(RefundRequest(order.id, "r1"))
    await store.tell(entry, card_refund(entry, CardRefundState.PENDING))
    await store.refunds.begin(order.id, "r1", 1, NOW)
    found = await store.refunds.find(order.id, "r1")
    assert found is not None
    assert found.state is RefundState.SUCCEEDED


async def test_a_failure_takes_the_refund_back_and_keeps_it_set_aside(store: Store) -> None:
    order = await store.order()
    entry = await store.arrived(RefundRequest(order.id, "r1", amount=Money(4_00, "EUR")))
    failed = await store.tell(entry, card_refund(entry, CardRefundState.FAILED))
    assert await store.tell(entry, card_refund(entry, CardRefundState.FAILED)) == failed
    assert (failed.state, failed.why) == (RefundState.FAILED, "expired_or_canceled_card")
    assert await store.given_back(order) == 0
    assert (await store.reserved(RefundRequest(order.id, "r2"))).amount == Money(11_00, "EUR")


async def test_a_failed_refund_can_be_tried_again_and_its_first_try_is_forgotten(
    store: Store,
) -> None:
    order = await store.order()
    entry = await store.arrived(RefundRequest(order.id, "r1"))
    await store.tell(entry, card_refund(entry, CardRefundState.FAILED))
    again = await store.refunds.begin(order.id, "r1", 2, NOW)
    assert (again.state, again.attempt) == (RefundState.ISSUING, 2)
    # A first attempt that is still running begins nothing and changes nothing.
    assert await store.refunds.begin(order.id, "r1", 1, NOW) == again
    assert await store.tell(entry, card_refund(entry), attempt=1) == again
    done = await store.tell(entry, card_refund(entry, attempt=2), attempt=2)
    assert (done.state, await store.given_back(order)) == (RefundState.SUCCEEDED, TOTAL.amount)


async def test_what_was_settled_by_hand_stays_set_aside(store: Store) -> None:
    order = await store.order()
    entry = await store.arrived(RefundRequest(order.id, "r1"))
    await store.tell(entry, card_refund(entry, CardRefundState.FAILED))
    settled = await store.refunds.move(order.id, "r1", RefundState.SETTLED, NOW, "by transfer")
    assert await store.tell(entry, card_refund(entry)) == settled
    assert await store.given_back(order) == 0
    assert "nothing to give back" in await store.refused(RefundRequest(order.id, "r2"))


async def test_what_has_begun_cannot_be_given_free(store: Store) -> None:
    order = await store.order()
    await store.reserved(RefundRequest(order.id, "r1"))
    await store.refunds.begin(order.id, "r1", 1, NOW)
    with pytest.raises(IllegalStatusError, match="is issuing"):
        await store.refunds.move(order.id, "r1", RefundState.CANCELLED, NOW)


async def test_the_view_of_an_order_shows_its_refunds(store: Store) -> None:
    order = await store.order()
    await store.arrived(RefundRequest(order.id, "r1", amount=Money(4_00, "EUR")))
    await store.reserved(RefundRequest(order.id, "r2", amount=Money(1_00, "EUR")))
    assert (await store.orders.view(order.id)).refunds == (
        RefundView("r1", Money(4_00, "EUR"), "succeeded"),
        RefundView("r2", Money(1_00, "EUR"), "requested"),
    )


# -- pieces ----------------------------------------------------------------------------------------


async def test_pieces_go_back_on_the_shelf_once(store: Store) -> None:
    order = await store.order()
    mug, tee = (line.sku for line in order.lines)
    request = RefundRequest(order.id, "r1", lines=((mug, 2),), restock=True)
    await store.arrived(request)
    for _ in range(3):
        assert (await store.refunds.restock(order.id, "r1", NOW)).restocked
    assert (await store.on_hand(mug), await store.on_hand(tee)) == (10, 9)
    assert (await store.events_of(order)).count("refund_restocked") == 1


async def test_pieces_that_do_not_come_back_stay_off_the_shelf(store: Store) -> None:
    order = await store.order()
    mug = order.lines[0].sku
    await store.arrived(RefundRequest(order.id, "r1", lines=((mug, 2),)))
    assert not (await store.refunds.restock(order.id, "r1", NOW)).restocked
    assert await store.on_hand(mug) == 8


# -- what is not there -----------------------------------------------------------------------------


async def test_what_was_never_asked_for_is_not_there(store: Store) -> None:
    order = await store.order()
    assert await store.refunds.find(order.id, "r1") is None
    assert await store.refunds.find("nowhere", "r1") is None
    assert await store.refunds.refunds_of(order.id) == ()
    with pytest.raises(NoSuchOrderError):
        await store.refunds.reserve(RefundRequest("nowhere", "r1"), NOW)
    with pytest.raises(NoSuchRefundError):
        await store.refunds.begin(order.id, "r1", 1, NOW)
    with pytest.raises(NoSuchRefundError):
        await store.refunds.restock(order.id, "r1", NOW)


async def test_refunds_that_wait_for_a_person_are_listed_the_oldest_first(store: Store) -> None:
    orders = [await store.order() for _ in range(3)]
    before = len(await store.refunds.waiting(100))
    requests = [RefundRequest(one.id, "wait", ((one.lines[0].sku, 1),)) for one in orders]
    for minutes, request in enumerate(requests, 1):
        await store.refunds.reserve(request, NOW + timedelta(minutes=minutes))
        await store.refunds.move(request.order_id, "wait", RefundState.AWAITING_APPROVAL, NOW)
    await store.reserved(RefundRequest(orders[0].id, "other", amount=PRICE))
    await store.refunds.move(orders[1].id, "wait", RefundState.REJECTED, NOW)

    waiting = (await store.refunds.waiting(100))[before:]

    assert [one.request for one in waiting] == [requests[0], requests[2]]
    assert [one.lines for one in waiting] == [requests[0].lines, requests[2].lines]
    assert len(await store.refunds.waiting(1)) == 1


# -- the refund that undoes an order ---------------------------------------------------------------


async def undoing(store: Store, left: Money = TOTAL) -> tuple[Order, RefundEntry]:
    order = await store.order(until=Status.PAID)
    entry = await store.refunds.reserve_undo(order.id, f"pi_{order.id}", left, NOW)
    assert entry is not None
    return order, entry


async def test_what_an_undo_gives_back_is_reserved_once_and_being_issued(store: Store) -> None:
    order, entry = await undoing(store)
    assert (entry.state, entry.amount, entry.is_undo) == (RefundState.ISSUING, TOTAL, True)
    assert await store.refunds.reserve_undo(order.id, f"pi_{order.id}", TOTAL, NOW) == entry
    assert await store.refunds.find(order.id, "undo") == entry
    assert await store.events_of(order) == ["refund_issuing"]
    assert await store.given_back(order) == 0
    [shown] = (await store.orders.view(order.id)).refunds
    assert shown == RefundView("undo", TOTAL, "issuing")


async def test_the_request_of_an_undo_finds_its_entry_and_makes_none(store: Store) -> None:
    order, entry = await undoing(store)
    assert await store.refunds.reserve(undo_request(order.id), NOW) == entry
    other = await store.order()
    assert "undoes an order" in await store.refused(undo_request(other.id))
    assert await store.refunds.refunds_of(other.id) == ()


@pytest.mark.parametrize("state", [CardRefundState.PENDING, CardRefundState.SUCCEEDED])
async def test_what_an_undo_gave_back_counts_until_the_bank_sends_it_back(
    store: Store, state: CardRefundState
) -> None:
    order, entry = await undoing(store)
    refund = CardRefund(f"re_{order.id}", TOTAL, state)
    assert (await store.tell(entry, refund)).state == state.value
    assert await store.given_back(order) == TOTAL.amount
    failed = replace(refund, state=CardRefundState.FAILED, problem="lost_card")
    assert (await store.tell(entry, failed)).state is RefundState.FAILED
    assert await store.given_back(order) == 0
    again = await store.refunds.begin(order.id, "undo", 2, NOW)
    assert (again.state, again.attempt) == (RefundState.ISSUING, 2)


async def test_an_undo_that_nobody_knows_of_shrinks_and_ends_with_nothing_left(
    store: Store,
) -> None:
    order, _ = await undoing(store)
    ten = Money(10_00, "EUR")
    smaller = await store.refunds.reserve_undo(order.id, f"pi_{order.id}", ten, NOW)
    assert smaller is not None
    assert (smaller.amount, smaller.attempt) == (ten, 2)
    assert await store.refunds.find(order.id, "undo") == smaller
    over = await store.refunds.reserve_undo(order.id, f"pi_{order.id}", Money(0, "EUR"), NOW)
    assert over is not None
    assert over.state is RefundState.CANCELLED
    assert await store.refunds.find(order.id, "undo") == over


async def test_an_undo_of_nothing_reserves_nothing(store: Store) -> None:
    order = await store.order(until=Status.PAID)
    nothing = Money(0, "EUR")
    assert await store.refunds.reserve_undo(order.id, f"pi_{order.id}", nothing, NOW) is None
    assert await store.refunds.refunds_of(order.id) == ()


async def test_an_undo_is_of_the_charge_that_took_the_money(store: Store) -> None:
    order = await store.order(until=Status.PAID)
    with pytest.raises(RefusedError, match="no money by pi_other"):
        await store.refunds.reserve_undo(order.id, "pi_other", TOTAL, NOW)
    with pytest.raises(NoSuchOrderError):
        await store.refunds.reserve_undo("nobody", "pi_1", TOTAL, NOW)
