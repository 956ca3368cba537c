"""Contract of the store's ports: PostgreSQL, and the in-memory fake that other tests use."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    EndedBefore,
    ManualRefund,
    OrderSummary,
    OrderUndone,
    OutOfStock,
    ReservationClosed,
    Reserved,
    StockCommitted,
    UndoBegun,
    UndoRequest,
)
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.installation import NAME_PATTERN
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.listing import OrderFilter
from durable_orders.domain.money import Money
from durable_orders.domain.order import (
    Basket,
    FutureUsage,
    InvalidOrderError,
    Line,
    Order,
    PaymentOptions,
    Recipient,
)
from durable_orders.domain.parcels import Parcel, ParcelStatus
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    ChargeEntry,
    ChargeState,
    IllegalStatusError,
    Inventory,
    NoSuchOrderError,
    OrderExistsError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
)
from durable_orders.domain.views import CardTryView, PaymentView
from durable_orders.store.database import Database
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import Product, add_products
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryInventory,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.support.charges import announce, card_try, record

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RECIPIENT = Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin")
PRICE = Money(5_00, "EUR")
NOTHING = Money(0, "EUR")
CANCELLED = Stop(StopReason.CANCELLED, "cancelled by customer")
_numbers = count(1)


@dataclass(frozen=True)
class Store:
    """A store under test; ``stocked`` adds a product of its own to the catalogue."""

    orders: OrderRepository
    inventory: Inventory
    ledger: PaymentLedger
    add: Callable[[Product], Awaitable[None]]

    async def stocked(self, on_hand: int = 10, price: Money = PRICE) -> str:
        sku = f"SKU-{next(_numbers)}"
        await self.add(Product(sku, f"Product {sku}", price, on_hand))
        return sku

    async def placed(self, *quantities: tuple[str, int]) -> Order:
        return await self.orders.place(basket(*quantities or ((await self.stocked(), 1),)), NOW)

    async def paid(self, *quantities: tuple[str, int]) -> Order:
        """An order that is paid, its stock reserved."""
        order = await self.placed(*quantities)
        await self.inventory.reserve(order.id)
        await self.orders.move(order.id, Status.PAID, None, NOW)
        return order

    async def charged(self) -> tuple[Order, CardCharge]:
        """An order whose first charge was opened and captured."""
        order = await self.placed()
        charge = captured(order)
        await announce(self.ledger, order)
        await record(self.ledger, order.id, charge, answers=1)
        return order, charge

    async def payments_of(self, order: Order) -> tuple[PaymentView, ...]:
        return (await self.orders.view(order.id)).payments

    async def events_of(self, order: Order) -> list[str]:
        return [line.event for line in (await self.orders.view(order.id)).history]


@pytest.fixture(params=["in memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "in memory":
        memory = InMemoryDatabase()

        async def put(product: Product) -> None:
            memory.add_product(product.sku, product.name, product.price, product.on_hand)

        return Store(
            InMemoryOrderRepository(memory),
            InMemoryInventory(memory),
            InMemoryPaymentLedger(memory),
            put,
        )
    database: Database = request.getfixturevalue("database")

    async def add(product: Product) -> None:
        await add_products(database, [product])

    return Store(
        PostgresOrderRepository(database),
        PostgresInventory(database),
        PostgresPaymentLedger(database),
        add,
    )


def basket(*quantities: tuple[str, int]) -> Basket:
    return Basket(f"o-{next(_numbers)}", "customer-1", RECIPIENT, quantities, "pm_card_visa")


def captured(order: Order, **changes: object) -> CardCharge:
    charge = CardCharge(f"pi_{order.id}", ChargeState.CAPTURED, order.total, order.total, NOTHING)
    return replace(charge, **changes)  # type: ignore[arg-type]  # the changes are CardCharge's


def in_state(order: Order, state: ChargeState, **changes: object) -> CardCharge:
    """The order's charge in this state, which nothing was taken by."""
    return captured(order, **{"state": state, "captured": NOTHING} | changes)


def declined(order: Order, latest_charge: str = "ch_1") -> CardCharge:
    return in_state(
        order,
        ChargeState.DECLINED,
        decline_code="insufficient_funds",
        latest_charge=latest_charge,
    )


async def found(store: Store, order: Order) -> ChargeEntry:
    """The order's charge in the ledger."""
    entry = await store.ledger.find(order.id)
    assert entry is not None
    return entry


# -- orders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("customer", "address", "sku"),
    [
        ("auth0|5f7c8ec7", "12 St James's Square\nLondon\nUnited Kingdom", "T SHIRT (L)"),
        ("gid://shopify/Customer/7", "Musterstraße 1\r\n12345 Köln\r\n", "A=B/7, blau"),
        ("ü" * 255, "東" * 500, "茶" * 128),
        ("\N{ROSE}" * 255, "\N{ROSE}" * 500, "\N{ROSE}" * 128),
    ],
)
async def test_texts_are_kept_to_the_letter_and_orders_are_found_by_them(
    store: Store, customer: str, address: str, sku: str
) -> None:
    await store.add(Product(sku, "ü" * 200, PRICE, 10))
    recipient = Recipient("n" * 200, f"{'e' * 242}@example.com", address)
    wanted = replace(basket((sku, 2)), customer_id=customer, recipient=recipient)
    placed = await store.orders.place(wanted, NOW)
    assert isinstance(await store.inventory.reserve(placed.id), Reserved)
    await store.orders.record_parcels(placed.id, f"ful {placed.id}", (f"PAR {placed.id}/1",))
    parcel = Parcel(f"PAR {placed.id}/1", ParcelStatus.SHIPPED, "AB 1234 5678 9GB")
    await store.orders.move_parcel(placed.id, parcel, NOW)

    kept = await store.orders.get(placed.id)
    assert (kept.customer_id, kept.recipient, kept.lines[0].sku) == (customer, recipient, sku)
    assert await store.orders.place(wanted, NOW) == kept
    page = await store.orders.page(OrderFilter(customer_id=customer), 10)
    assert [order.order_id for order in page.orders] == [placed.id]
    [seen] = (await store.orders.view(placed.id)).parcels
    assert (seen.parcel_id, seen.tracking) == (parcel.parcel_id, "AB 1234 5678 9GB")


async def test_an_order_is_placed_at_the_prices_of_the_catalogue(store: Store) -> None:
    tee, mug = await store.stocked(price=Money(29_00, "EUR")), await store.stocked()
    order = await store.placed((tee, 2), (mug, 1))
    assert order.lines == (
        Line(tee, f"Product {tee}", 2, Money(29_00, "EUR")),
        Line(mug, f"Product {mug}", 1, Money(5_00, "EUR")),
    )
    assert order.total == Money(63_00, "EUR")
    assert order.status is Status.PLACED
    assert await store.orders.get(order.id) == order
    assert await store.orders.summary(order.id) == OrderSummary(
        order.id,
        "customer-1",
        Money(63_00, "EUR"),
        Status.PLACED,
        key_prefix=order.key_prefix,
    )
    assert re.fullmatch(NAME_PATTERN, order.key_prefix)


OPTIONS = [
    PaymentOptions("cus_NffrFeUfNV2Hib"),
    PaymentOptions("cus_NffrFeUfNV2Hib", off_session=True),
    PaymentOptions("cus_NffrFeUfNV2Hib", setup_future_usage=FutureUsage.ON_SESSION),
    PaymentOptions("cus_NffrFeUfNV2Hib", setup_future_usage=FutureUsage.OFF_SESSION),
    PaymentOptions(receipt_email="ada+receipts@example.com"),
    PaymentOptions("cus_1", off_session=True, receipt_email="ada@example.com"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_an_order_keeps_how_it_is_paid(store: Store, options: PaymentOptions) -> None:
    wanted = replace(basket((await store.stocked(), 1)), options=options)
    order = await store.orders.place(wanted, NOW)
    assert order.options == options
    assert await store.orders.place(wanted, NOW) == order
    assert await store.orders.get(order.id) == order
    assert (await store.orders.view(order.id)).order == order
    assert (await store.orders.summary(order.id)).off_session is options.off_session
    for other in (PaymentOptions(), *OPTIONS):
        if other != options:
            with pytest.raises(OrderExistsError):
                await store.orders.place(replace(wanted, options=other), NOW)


@pytest.mark.parametrize("flagged", [True, False])
async def test_a_flagged_order_stays_flagged(
    store: Store,
    flagged: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    wanted = replace(basket((await store.stocked(), 1)), flagged=flagged)
    order = await store.orders.place(wanted, NOW)
    assert order.flagged is flagged
    assert await store.orders.place(wanted, NOW) == order
    assert await store.orders.get(order.id) == order
    assert (await store.orders.summary(order.id)).flagged is flagged
    assert (await store.orders.view(order.id)).order == order
    with pytest.raises(OrderExistsError):
        await store.orders.place(replace(wanted, flagged=not flagged), NOW)


async def test_placing_the_same_basket_again_returns_the_order_that_exists(store: Store) -> None:
    wanted = basket((await store.stocked(), 2), (await store.stocked(), 1))
    first = await store.orders.place(wanted, NOW)
    await store.orders.move(first.id, Status.PAID, None, NOW)
    again = replace(wanted, quantities=wanted.quantities[::-1])
    assert await store.orders.place(again, NOW) == replace(first, status=Status.PAID)
    assert await store.events_of(first) == ["order_placed", "order_paid"]


@pytest.mark.parametrize(
    "change",
    [
        {"customer_id": "customer-2"},
        {"payment_method": "pm_other"},
        {"recipient": replace(RECIPIENT, address="2 Sample Street")},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_another_basket_under_the_same_id_is_refused(
    store: Store, change: dict[str, object]
) -> None:
    wanted = basket((await store.stocked(), 2))
    placed = await store.orders.place(wanted, NOW)
    with pytest.raises(OrderExistsError):
        await store.orders.place(replace(wanted, **change), NOW)  # type: ignore[arg-type]  # above
    with pytest.raises(OrderExistsError):
        await store.orders.place(replace(wanted, quantities=((placed.lines[0].sku, 3),)), NOW)
    assert await store.orders.get(wanted.order_id) == placed


async def test_a_product_that_is_not_sold_cannot_be_ordered(store: Store) -> None:
    unknown = basket(("UNKNOWN", 1))
    with pytest.raises(InvalidOrderError, match="UNKNOWN is not in the catalogue"):
        await store.orders.place(unknown, NOW)
    with pytest.raises(NoSuchOrderError):
        await store.orders.get(unknown.order_id)


async def test_an_order_has_one_currency(store: Store) -> None:
    tenugui = await store.stocked(price=Money(1_800, "JPY"))
    with pytest.raises(InvalidOrderError, match="EUR and JPY"):
        await store.placed((tenugui, 1), (await store.stocked(), 1))
    assert (await store.placed((tenugui, 2))).total == Money(3_600, "JPY")


async def test_an_order_moves_along_the_lifecycle_and_says_so_once(store: Store) -> None:
    order = await store.placed()
    for status in (Status.PAID, Status.PAID, Status.FULFILLED, Status.COMPLETED):
        await store.orders.move(order.id, status, None, NOW + timedelta(minutes=1))
        assert (await store.orders.summary(order.id)).status is status
    assert await store.events_of(order) == [
        "order_placed",
        "order_paid",
        "order_fulfilled",
        "order_completed",
    ]


async def test_an_order_may_wait_for_a_person_the_bank_and_its_parcels(store: Store) -> None:
    order = await store.placed()
    course = (
        Status.AWAITING_APPROVAL,
        Status.AWAITING_PAYMENT,
        Status.HELD,
        Status.PAID,
        Status.FULFILLED,
        Status.SHIPPED,
        Status.COMPLETED,
    )
    for status in course:
        await store.orders.move(order.id, status, None, NOW)
        assert (await store.orders.get(order.id)).status is status
    assert await store.events_of(order) == ["order_placed", *(f"order_{s}" for s in course)]


async def test_a_step_repeated_after_the_next_one_changes_nothing(store: Store) -> None:
    order = await store.placed()
    for status in (Status.PAID, Status.FULFILLED, Status.COMPLETED, Status.FULFILLED, Status.PAID):
        await store.orders.move(order.id, status, None, NOW)
    assert (await store.orders.summary(order.id)).status is Status.COMPLETED
    assert await store.events_of(order) == [
        "order_placed",
        "order_paid",
        "order_fulfilled",
        "order_completed",
    ]


async def test_a_step_the_lifecycle_does_not_know_changes_nothing(store: Store) -> None:
    order = await store.placed()
    await store.orders.move(order.id, Status.CANCELLED, None, NOW)
    with pytest.raises(IllegalStatusError):
        await store.orders.move(order.id, Status.PAID, None, NOW)
    assert (await store.orders.get(order.id)).status is Status.CANCELLED


async def test_why_an_order_ended_is_kept(store: Store) -> None:
    order = await store.placed()
    stop = Stop(StopReason.CARD_DECLINED, "the bank said no")
    await store.orders.move(order.id, Status.REJECTED, stop, NOW)
    view = await store.orders.view(order.id)
    assert view.order.reason == "card_declined"
    assert view.history[-1].detail == {"reason": "card_declined", "message": "the bank said no"}
    assert view.history[-1].at == NOW


async def test_a_note_is_kept_once_per_event_and_detail(store: Store) -> None:
    order = await store.placed()
    for mail_id in ("m-1", "m-1", "m-2"):
        await store.orders.note(order.id, "mail_sent", NOW, mail_id=mail_id)
    _, *notes = (await store.orders.view(order.id)).history
    assert [note.detail for note in notes] == [{"mail_id": "m-1"}, {"mail_id": "m-2"}]


async def test_parcels_are_noted_once(store: Store) -> None:
    order = await store.placed()
    parcels = (f"{order.id}-a", f"{order.id}-b")
    for named in (parcels, parcels, parcels[1:]):
        await store.orders.record_parcels(order.id, "f-1", named)
    view = await store.orders.view(order.id)
    assert tuple(parcel.parcel_id for parcel in view.parcels) == parcels
    assert [line.event for line in view.history] == ["order_placed", "parcel_named", "parcel_named"]


async def test_an_order_is_fulfilled_once_and_a_parcel_belongs_to_one_order(store: Store) -> None:
    order, other = await store.placed(), await store.placed()
    await store.orders.record_parcels(order.id, "f-1", (f"{order.id}-a",))
    with pytest.raises(RefusedError):
        await store.orders.record_parcels(order.id, "f-2", (f"{order.id}-b",))
    with pytest.raises(RefusedError):
        await store.orders.record_parcels(other.id, "f-3", (f"{other.id}-a", f"{order.id}-a"))
    assert [p.parcel_id for p in (await store.orders.view(order.id)).parcels] == [f"{order.id}-a"]
    assert (await store.orders.view(other.id)).parcels == ()


async def test_an_order_nobody_placed_is_not_there(store: Store) -> None:
    calls: list[Awaitable[object]] = [
        store.orders.get("nobody"),
        store.orders.summary("nobody"),
        store.orders.view("nobody"),
        store.orders.move("nobody", Status.PAID, None, NOW),
        store.orders.note("nobody", "mail_sent", NOW),
        store.orders.record_parcels("nobody", "f-1", ("p-1",)),
        store.inventory.reserve("nobody"),
        store.inventory.release("nobody"),
        store.inventory.commit("nobody"),
        store.ledger.announce("nobody", "pi_nobody", Money(1, "EUR"), card_try("nobody")),
        store.ledger.close("nobody"),
    ]
    for call in calls:
        with pytest.raises(NoSuchOrderError):
            await call
    assert await store.ledger.find("nobody") is None


# -- stock -----------------------------------------------------------------------------------------


async def left(store: Store, sku: str) -> int:
    """Available pieces of a product, read from the refusal of a too large order."""
    order = await store.placed((sku, 9_999))
    answer = await store.inventory.reserve(order.id)
    assert isinstance(answer, OutOfStock)
    return answer.available


async def test_reserving_sets_all_lines_aside_once(store: Store) -> None:
    mug, tee = await store.stocked(10), await store.stocked(3)
    order = await store.placed((mug, 4), (tee, 3))
    assert await store.inventory.reserve(order.id) == Reserved()
    assert await store.inventory.reserve(order.id) == Reserved()
    assert (await left(store, mug), await left(store, tee)) == (6, 0)
    assert (await store.orders.view(order.id)).stock == "reserved"


async def test_a_shortage_of_one_line_sets_nothing_aside(store: Store) -> None:
    mug, tee = await store.stocked(10), await store.stocked(2)
    order = await store.placed((mug, 4), (tee, 3))
    assert await store.inventory.reserve(order.id) == OutOfStock(tee, wanted=3, available=2)
    assert (await left(store, mug), await left(store, tee)) == (10, 2)
    assert (await store.orders.view(order.id)).stock == "none"


async def test_released_stock_can_be_had_by_others(store: Store) -> None:
    mug = await store.stocked(1)
    first, second = await store.placed((mug, 1)), await store.placed((mug, 1))
    await store.inventory.reserve(first.id)
    assert await store.inventory.reserve(second.id) == OutOfStock(mug, wanted=1, available=0)
    await store.inventory.release(first.id)
    await store.inventory.release(first.id)
    assert await store.inventory.reserve(second.id) == Reserved()
    assert await store.inventory.reserve(first.id) == ReservationClosed("released")


async def test_releasing_before_reserving_keeps_a_late_reservation_out(store: Store) -> None:
    mug = await store.stocked(5)
    order = await store.placed((mug, 1))
    await store.inventory.release(order.id)
    assert await store.inventory.reserve(order.id) == ReservationClosed("released")
    assert await left(store, mug) == 5


async def test_committed_stock_is_gone_for_good(store: Store) -> None:
    mug = await store.stocked(5)
    order = await store.placed((mug, 2))
    await store.inventory.reserve(order.id)
    await store.orders.move(order.id, Status.PAID, None, NOW)
    for _ in range(2):
        await store.inventory.commit(order.id)
    await store.inventory.release(order.id)
    assert await left(store, mug) == 3
    assert await store.inventory.reserve(order.id) == ReservationClosed("committed")
    view = await store.orders.view(order.id)
    assert (view.stock, view.order.status) == ("committed", Status.FULFILLED)
    assert await store.events_of(order) == [
        "order_placed",
        "stock_reserved",
        "order_paid",
        "order_fulfilled",
        "stock_committed",
    ]


async def test_committing_again_leaves_an_order_where_it_has_come_to(store: Store) -> None:
    order = await store.placed()
    await store.inventory.reserve(order.id)
    await store.orders.move(order.id, Status.HELD, None, NOW)
    await store.inventory.commit(order.id)
    await store.orders.move(order.id, Status.COMPLETED, None, NOW)
    events = await store.events_of(order)
    await store.inventory.commit(order.id)
    assert (await store.orders.get(order.id)).status is Status.COMPLETED
    assert await store.events_of(order) == events


async def test_only_what_is_set_aside_can_be_committed(store: Store) -> None:
    order = await store.placed()
    await store.orders.move(order.id, Status.PAID, None, NOW)
    with pytest.raises(IllegalStatusError):
        await store.inventory.commit(order.id)
    await store.inventory.release(order.id)
    with pytest.raises(IllegalStatusError):
        await store.inventory.commit(order.id)
    assert (await store.orders.get(order.id)).status is Status.PAID


async def test_an_order_that_is_not_paid_for_is_not_kept(store: Store) -> None:
    mug = await store.stocked(5)
    order = await store.placed((mug, 2))
    await store.inventory.reserve(order.id)
    with pytest.raises(IllegalStatusError):
        await store.inventory.commit(order.id)
    assert (await store.orders.view(order.id)).stock == "reserved"
    await store.inventory.release(order.id)
    assert await left(store, mug) == 5


async def test_an_order_whose_ledger_is_closed_is_not_kept(store: Store) -> None:
    mug = await store.stocked(5)
    order = await store.paid((mug, 2))
    await store.ledger.close(order.id)
    assert isinstance(await store.inventory.commit(order.id), OrderUndone)
    assert (await store.orders.get(order.id)).status is Status.PAID
    await store.inventory.release(order.id)
    assert await left(store, mug) == 5


# -- what was decided of an order ----------------------------------------------------------------


async def test_an_order_that_is_being_undone_goes_no_further_and_says_why(store: Store) -> None:
    mug = await store.stocked(5)
    order = await store.paid((mug, 2))
    await announce(store.ledger, order)

    begun = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED, "run-1"), NOW)

    assert begun == UndoBegun(CANCELLED, charged=True, handed_over=True)
    refused = OrderUndone(CANCELLED)
    assert await store.inventory.commit(order.id) == refused
    assert await store.inventory.reserve(order.id) == refused
    await store.ledger.end_try(order.id, 1, ChargeState.DECLINED)
    entry = await store.ledger.find(order.id)
    assert entry
    assert (entry.order_status, entry.undone) == (Status.PAID, CANCELLED)
    assert (
        await store.ledger.announce(order.id, entry.payment_id, order.total, card_try(order.id, 2))
        is None
    )
    found = await store.orders.get(order.id)
    assert (found.status, found.undone) == (Status.PAID, CANCELLED)
    assert (await store.orders.summary(order.id)).run_id == "run-1"
    await store.inventory.release(order.id)
    assert await left(store, mug) == 5


async def test_the_first_reason_to_undo_an_order_holds_and_is_written_once(store: Store) -> None:
    order = await store.placed()
    assert await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW) == UndoBegun(
        CANCELLED
    )
    other = Stop(StopReason.APPROVAL_TIMED_OUT, "nobody decided")
    again = await store.orders.begin_undo(UndoRequest(order.id, other), NOW + timedelta(hours=1))
    assert again == UndoBegun(CANCELLED)
    assert await store.inventory.reserve(order.id) == OrderUndone(CANCELLED)
    assert (await store.events_of(order)).count("undo_begun") == 1


async def test_an_order_that_is_kept_is_not_undone(store: Store) -> None:
    order = await store.paid()
    await store.orders.record_parcels(order.id, f"ful-{order.id}", (f"par-{order.id}",))
    assert await store.inventory.commit(order.id) == StockCommitted()

    stands = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)

    assert stands == AlreadyFulfilled((f"par-{order.id}",))
    assert (await store.orders.get(order.id)).undone is None
    with pytest.raises(IllegalStatusError):
        await store.ledger.close(order.id)


async def test_an_order_whose_parcels_had_left_stands_for_good(store: Store) -> None:
    order = await store.paid()
    await announce(store.ledger, order)
    await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)

    await store.orders.keep(order.id, NOW)
    await store.orders.keep(order.id, NOW)

    # Also for a worker that was cut off before it could ask.
    late = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)
    assert late == AlreadyFulfilled()
    entry = await store.ledger.find(order.id)
    assert entry
    assert entry.undone is None
    assert await store.inventory.commit(order.id) == StockCommitted()
    found = await store.orders.get(order.id)
    assert (found.status, found.reason, found.undone) == (Status.FULFILLED, None, None)
    assert (await store.events_of(order)).count("order_kept") == 1


async def test_an_order_that_has_ended_says_how(store: Store) -> None:
    order, _ = await store.charged()
    await store.orders.move(order.id, Status.PAID, None, NOW)
    await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)
    await store.orders.move(order.id, Status.REFUNDED, CANCELLED, NOW)

    other = Stop(StopReason.NO_ANSWER, "silence")
    ended = await store.orders.begin_undo(UndoRequest(order.id, other), NOW)
    await store.orders.keep(order.id, NOW)

    assert ended == EndedBefore(Status.REFUNDED, CANCELLED, order.total, order.total)
    assert (await store.orders.get(order.id)).undone == CANCELLED
    entry = await store.ledger.find(order.id)
    assert entry
    assert entry.undone == CANCELLED


async def test_an_order_of_which_nothing_was_taken_has_ended_with_nothing(store: Store) -> None:
    order = await store.placed()
    sold_out = Stop(StopReason.OUT_OF_STOCK, "sold out")
    await store.orders.move(order.id, Status.REJECTED, sold_out, NOW)
    ended = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)
    assert ended == EndedBefore(Status.REJECTED, sold_out, NOTHING, NOTHING)
    assert await store.inventory.reserve(order.id) == OrderUndone(sold_out)


async def test_what_was_given_back_by_hand_is_how_an_order_ended(store: Store) -> None:
    order, _ = await store.charged()
    await store.orders.move(order.id, Status.PAID, None, NOW)
    by_hand = Money(4_00, "EUR")
    assert await store.ledger.find_manual_refund(order.id) is None
    await store.ledger.record_manual_refund(ManualRefund(order.id, by_hand, "operator", "paid"))
    await store.orders.move(order.id, Status.REFUNDED, CANCELLED, NOW)
    ended = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED), NOW)
    assert ended == EndedBefore(Status.REFUNDED, CANCELLED, by_hand, by_hand)
    assert await store.ledger.find_manual_refund(order.id) == by_hand


async def test_an_order_that_no_run_has_begun_is_cancelled_and_never_begins(store: Store) -> None:
    order = await store.placed()

    assert await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)
    assert await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)

    view = await store.orders.view(order.id)
    undone = (await store.orders.get(order.id)).undone
    assert (view.order.status, undone) == (Status.CANCELLED, CANCELLED)
    assert view.stock == "released"
    assert [line.event for line in view.history].count("order_cancelled") == 1
    assert (await store.orders.summary(order.id)).cancelled_unstarted
    assert await store.inventory.reserve(order.id, "run-1") == OrderUndone(CANCELLED)
    assert (await store.orders.summary(order.id)).run_id == ""


async def test_the_run_that_closes_an_unstarted_order_is_named_in_its_row(store: Store) -> None:
    order = await store.placed()
    await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)

    ended = await store.orders.begin_undo(UndoRequest(order.id, CANCELLED, "run-1"), NOW)
    await store.orders.begin_undo(UndoRequest(order.id, CANCELLED, "run-2"), NOW)

    assert ended == EndedBefore(Status.CANCELLED, CANCELLED, NOTHING, NOTHING)
    summary = await store.orders.summary(order.id)
    assert (summary.run_id, summary.cancelled_unstarted) == ("run-1", False)
    assert not await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)


async def test_an_order_that_a_run_has_begun_is_left_to_it(store: Store) -> None:
    begun, undone, over, paid = [await store.placed() for _ in range(4)]
    await store.inventory.reserve(begun.id, "run-1")
    await store.orders.begin_undo(UndoRequest(undone.id, CANCELLED, "run-2"), NOW)
    await store.orders.move(over.id, Status.REJECTED, CANCELLED, NOW)
    await store.orders.move(paid.id, Status.PAID, None, NOW)
    for order in (begun, undone, over, paid):
        status = (await store.orders.get(order.id)).status
        assert not await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)
        assert (await store.orders.get(order.id)).status is status


async def test_an_order_nobody_placed_cannot_be_cancelled(store: Store) -> None:
    with pytest.raises(NoSuchOrderError):
        await store.orders.cancel_unstarted("nobody", CANCELLED, NOW)


async def test_an_order_nobody_placed_is_neither_undone_nor_kept(store: Store) -> None:
    with pytest.raises(NoSuchOrderError):
        await store.orders.begin_undo(UndoRequest("nobody", CANCELLED), NOW)
    with pytest.raises(NoSuchOrderError):
        await store.orders.keep("nobody", NOW)


async def test_stock_that_was_committed_before_comes_with_what_became_of_the_order(
    store: Store,
) -> None:
    order = await store.paid()
    parcel = Parcel(f"par-{order.id}", ParcelStatus.SHIPPED, "track")
    await store.orders.record_parcels(order.id, f"ful-{order.id}", (parcel.parcel_id,))
    assert await store.inventory.commit(order.id) == StockCommitted()
    await store.orders.move_parcel(order.id, parcel, NOW)
    await store.orders.move(order.id, Status.COMPLETED, None, NOW)
    again = await store.inventory.commit(order.id)
    assert again == StockCommitted(Status.COMPLETED, (parcel,))


async def test_the_row_names_the_run_that_carries_the_order(store: Store) -> None:
    order = await store.placed()
    assert (await store.orders.summary(order.id)).run_id == ""
    for run_id in ("run-1", "run-1", "run-2"):
        assert await store.inventory.reserve(order.id, run_id) == Reserved()
        assert (await store.orders.summary(order.id)).run_id == run_id


async def test_the_history_says_which_mail_was_sent(store: Store) -> None:
    order = await store.placed()
    assert await store.orders.get_for_mail(order.id, "refund_mailed") == (order, None)
    await store.orders.note(order.id, "refund_mailed", NOW, mail="m-1", attempt="1")
    await store.orders.note(order.id, "refund_mail_refused", NOW, why="no", attempt="2")
    _, any_of_them = await store.orders.get_for_mail(order.id, "refund_mailed")
    _, first = await store.orders.get_for_mail(order.id, "refund_mailed", attempt="1")
    _, second = await store.orders.get_for_mail(order.id, "refund_mailed", attempt="2")
    assert (any_of_them, first, second) == ("m-1", "m-1", None)
    with pytest.raises(NoSuchOrderError):
        await store.orders.get_for_mail("nobody", "closing_mailed")


# -- charges and their tries ---------------------------------------------------------------------


async def test_a_try_is_announced_before_it_is_made_and_its_charge_stored_with_it(
    store: Store,
) -> None:
    order = await store.placed()
    assert await store.ledger.find(order.id) is None
    before = datetime.now(UTC) - timedelta(minutes=1)
    entry = await announce(store.ledger, order)
    [announced] = entry.tries
    assert replace(entry, tries=()) == ChargeEntry(
        order.id,
        f"pi_{order.id}",
        order.total,
        ChargeState.OPEN,
        order_status=Status.PLACED,
        booked=BookedCharge(ChargeState.OPEN, NOTHING, NOTHING),
    )
    assert before < announced.announced_at < before + timedelta(minutes=2)
    assert replace(announced, announced_at=NOW) == replace(card_try(order.id), announced_at=NOW)
    assert await announce(store.ledger, order) == entry
    assert await store.ledger.find(order.id) == entry
    [closed] = await store.ledger.close(order.id)
    assert replace(closed, undone=None) == entry
    assert (await store.events_of(order)).count("payment_open") == 1


async def test_a_try_announced_again_is_as_it_was_the_first_time(store: Store) -> None:
    """A worker that was cut off has seen another newest charge, or another card."""
    order = await store.placed()
    entry = await announce(store.ledger, order)
    again = card_try(order.id, card="pm_another", before="ch_later")
    assert await store.ledger.announce(order.id, entry.payment_id, order.total, again) == entry


async def test_an_order_has_one_charge(store: Store) -> None:
    order, other = await store.placed(), await store.placed()
    await announce(store.ledger, order)
    for number in (1, 2):
        with pytest.raises(RefusedError):
            await announce(store.ledger, order, number, payment_id="pi_another")
    with pytest.raises(RefusedError):
        await announce(store.ledger, other, payment_id=f"pi_{order.id}")
    assert await store.ledger.find(other.id) is None


async def test_an_order_is_charged_its_total_and_nothing_else(store: Store) -> None:
    order = await store.placed()
    for amount in (order.total + Money(1, "EUR"), Money(order.total.amount, "USD")):
        wanted = card_try(order.id)
        with pytest.raises(RefusedError):
            await store.ledger.announce(order.id, f"pi_{order.id}", amount, wanted)
    assert await store.ledger.find(order.id) is None


@pytest.mark.parametrize(
    "state",
    [
        ChargeState.OPEN,
        ChargeState.NEEDS_CUSTOMER,
        ChargeState.PROCESSING,
        ChargeState.HELD,
        ChargeState.CAPTURED,
    ],
)
async def test_no_try_begins_beside_one_that_may_take_money(
    store: Store, state: ChargeState
) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    await record(store.ledger, order.id, in_state(order, state), answers=1)
    with pytest.raises(RefusedError):
        await announce(store.ledger, order, 2)
    assert len((await found(store, order)).tries) == 1


async def test_another_card_is_tried_on_the_same_charge(store: Store) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    await record(store.ledger, order.id, declined(order, "ch_1"), answers=1)
    second = await announce(store.ledger, order, 2, before="ch_1")
    assert [(one.number, one.state) for one in second.tries] == [
        (1, ChargeState.DECLINED),
        (2, ChargeState.OPEN),
    ]
    assert second.state is ChargeState.DECLINED  # until the second is answered
    await store.ledger.record(second, captured(order, latest_charge="ch_2"), answers=2)
    [payment] = await store.payments_of(order)
    assert payment == PaymentView(
        f"pi_{order.id}",
        "captured",
        order.total,
        order.total,
        NOTHING,
        (CardTryView(1, "declined", "insufficient_funds"), CardTryView(2, "captured")),
    )
    lines = (await store.orders.view(order.id)).history
    assert [(line.event, line.detail.get("try"), line.detail.get("charge")) for line in lines] == [
        ("order_placed", None, None),
        ("payment_open", "1", None),
        ("payment_declined", "1", "ch_1"),
        ("payment_open", "2", None),
        ("payment_captured", "2", "ch_2"),
    ]


async def test_a_try_that_comes_after_a_later_one_is_refused(store: Store) -> None:
    """A worker that was cut off before it could announce its try wakes up."""
    order = await store.placed()
    await announce(store.ledger, order, 2)
    await record(store.ledger, order.id, declined(order), answers=2)
    with pytest.raises(RefusedError):
        await announce(store.ledger, order, 1)


async def test_a_try_that_is_not_to_be_made_keeps_its_number(store: Store) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    await record(store.ledger, order.id, declined(order), answers=1)
    never = card_try(order.id, 2, state=ChargeState.CANCELLED)
    for wanted in (never, card_try(order.id, 2)):
        entry = await store.ledger.announce(order.id, f"pi_{order.id}", order.total, wanted)
        assert entry is not None
        assert entry.tries[-1].state is ChargeState.CANCELLED
    assert len((await announce(store.ledger, order, 3)).tries) == 3


async def test_no_try_begins_after_closing(store: Store) -> None:
    order, never = await store.placed(), await store.placed()
    await announce(store.ledger, order)
    for _ in range(2):
        assert len(await store.ledger.close(order.id)) == 1
        assert await store.ledger.close(never.id) == []
    for which, number in ((order, 1), (order, 2), (never, 1)):
        wanted = card_try(which.id, number)
        payment_id = f"pi_{which.id}"
        assert await store.ledger.announce(which.id, payment_id, which.total, wanted) is None
    assert await store.ledger.close(never.id) == []
    assert len((await store.ledger.close(order.id))[0].tries) == 1


async def test_what_the_provider_says_is_recorded_once(store: Store) -> None:
    order, charge = await store.charged()
    await record(store.ledger, order.id, charge, answers=1)
    assert await store.payments_of(order) == (
        PaymentView(
            charge.payment_id,
            "captured",
            order.total,
            order.total,
            NOTHING,
            (CardTryView(1, "captured"),),
        ),
    )
    assert await store.events_of(order) == ["order_placed", "payment_open", "payment_captured"]


async def test_a_hold_is_captured_and_never_held_again(store: Store) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    held = in_state(order, ChargeState.HELD, capture_before=NOW + timedelta(days=7))
    for word in (held, held, captured(order), held):
        await record(store.ledger, order.id, word)
    [payment] = await store.payments_of(order)
    assert (payment.state, payment.captured) == ("captured", order.total)
    assert payment.tries == (CardTryView(1, "held"),)
    assert await store.events_of(order) == [
        "order_placed",
        "payment_open",
        "payment_held",
        "payment_captured",
    ]


async def test_old_news_of_a_charge_changes_nothing(store: Store) -> None:
    order, charge = await store.charged()
    refunded = replace(charge, refunded=order.total)
    await record(store.ledger, order.id, refunded)
    for old in (in_state(order, ChargeState.OPEN), declined(order), charge):
        await record(store.ledger, order.id, old)
    [payment] = await store.payments_of(order)
    assert (payment.state, payment.captured, payment.refunded) == (
        "captured",
        order.total,
        order.total,
    )


async def test_a_browser_goes_on_with_a_charge_that_was_declined(store: Store) -> None:
    """The charge goes back from declined; our try of it stays declined."""
    order = await store.placed()
    await announce(store.ledger, order)
    await record(store.ledger, order.id, declined(order, "ch_1"), answers=1)
    for state in (ChargeState.NEEDS_CUSTOMER, ChargeState.PROCESSING):
        await record(store.ledger, order.id, in_state(order, state, latest_charge="ch_1"))
        assert (await found(store, order)).state is state
        await record(store.ledger, order.id, declined(order, "ch_1"))
    again = replace(declined(order, "ch_2"), decline_code="lost_card")
    await record(store.ledger, order.id, again)
    await record(store.ledger, order.id, captured(order, latest_charge="ch_3"))
    entry = await found(store, order)
    assert (entry.state, entry.tries[0].state) == (ChargeState.CAPTURED, ChargeState.DECLINED)
    last = (await store.orders.view(order.id)).history[-1]
    assert (last.event, last.detail) == (
        "payment_captured",
        {"payment_id": f"pi_{order.id}", "charge": "ch_3"},
    )


async def test_what_was_read_before_a_decline_was_recorded_does_not_take_it_back(
    store: Store,
) -> None:
    """A worker read that the customer was asked, and was cut off until long after the decline."""
    order = await store.placed()
    entry = await announce(store.ledger, order)
    asked = in_state(order, ChargeState.NEEDS_CUSTOMER)
    await store.ledger.record(entry, asked, answers=1)
    await record(store.ledger, order.id, declined(order))
    for answers in (1, None):
        await store.ledger.record(entry, asked, answers=answers)
    entry = await found(store, order)
    assert (entry.state, entry.tries[0].state) == (ChargeState.DECLINED, ChargeState.DECLINED)
    # Money that moved counts whenever it was read.
    await store.ledger.record(replace(entry, revision=0), captured(order))
    assert (await found(store, order)).state is ChargeState.CAPTURED


async def test_what_was_read_before_a_try_says_nothing_about_it(store: Store) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    await record(store.ledger, order.id, declined(order, "ch_1"), answers=1)
    before = await found(store, order)
    second = await announce(store.ledger, order, 2, before="ch_1")
    await store.ledger.record(before, in_state(order, ChargeState.NEEDS_CUSTOMER))
    await store.ledger.record(before, declined(order, "ch_1"), answers=1)
    await store.ledger.record(second, declined(order, "ch_1"))
    assert (await found(store, order)).tries[-1].state is ChargeState.OPEN
    await record(store.ledger, order.id, declined(order, "ch_2"))
    assert (await found(store, order)).tries[-1].state is ChargeState.DECLINED


async def test_a_try_that_got_no_answer_is_ended_once(store: Store) -> None:
    order = await store.placed()
    await announce(store.ledger, order)
    await store.ledger.end_try(order.id, 1, ChargeState.DECLINED, "unusable")
    await store.ledger.end_try(order.id, 1, ChargeState.CANCELLED)
    await store.ledger.end_try(order.id, 2, ChargeState.CANCELLED)
    [ended] = (await found(store, order)).tries
    assert (ended.state, ended.decline_code) == (ChargeState.DECLINED, "unusable")
    assert (await store.events_of(order)).count("payment_declined") == 1


async def test_a_charge_nobody_announced_cannot_be_recorded(store: Store) -> None:
    order = await store.placed()
    nobody = ChargeEntry(order.id, f"pi_{order.id}", order.total, ChargeState.OPEN)
    with pytest.raises(RefusedError):
        await store.ledger.record(nobody, captured(order))
    await announce(store.ledger, order)
    with pytest.raises(RefusedError):
        await record(store.ledger, order.id, captured(order, payment_id="pi_another"))


async def test_a_charge_cannot_have_taken_more_than_its_amount(store: Store) -> None:
    order, charge = await store.charged()
    for wrong in (
        replace(charge, captured=order.total + Money(1, "EUR")),
        replace(charge, refunded=order.total + Money(1, "EUR")),
    ):
        with pytest.raises(RefusedError):
            await record(store.ledger, order.id, wrong)
    [payment] = await store.payments_of(order)
    assert (payment.captured, payment.refunded) == (order.total, NOTHING)


async def test_refunds_add_up_and_each_counts_once(store: Store) -> None:
    order, _ = await store.charged()
    for number in (1, 2, 2):
        refund = CardRefund(f"re_{order.id}_{number}", Money(1_00, "EUR"))
        await store.ledger.record_refund(order.id, f"pi_{order.id}", refund)
    [payment] = await store.payments_of(order)
    assert payment.refunded == Money(2_00, "EUR")
    assert (await store.events_of(order)).count("payment_refunded") == 2


async def test_a_refund_the_provider_told_of_already_is_not_counted_again(store: Store) -> None:
    order, charge = await store.charged()
    await record(store.ledger, order.id, replace(charge, refunded=order.total))
    await store.ledger.record_refund(
        order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", order.total)
    )
    [payment] = await store.payments_of(order)
    assert payment.refunded == order.total


async def test_more_than_was_captured_cannot_be_given_back(store: Store) -> None:
    order, _ = await store.charged()
    await store.ledger.record_refund(
        order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", Money(3_00, "EUR"))
    )
    for number, amount in (
        (2, Money(3_00, "EUR")),
        (3, NOTHING),
        (4, Money(-1, "EUR")),
        (5, Money(1, "USD")),
    ):
        with pytest.raises(RefusedError):
            await store.ledger.record_refund(
                order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}_{number}", amount)
            )
    with pytest.raises(RefusedError):
        await store.ledger.record_refund(
            order.id, "pi_another", CardRefund("re_x", Money(1, "EUR"))
        )
    [payment] = await store.payments_of(order)
    assert payment.refunded == Money(3_00, "EUR")


async def test_what_was_given_back_by_hand_is_noted_and_closes_the_order(store: Store) -> None:
    order, _ = await store.charged()
    said = ManualRefund(order.id, order.total, "ops-7", "by bank transfer")

    await store.ledger.record_manual_refund(said)
    await store.ledger.record_manual_refund(said)

    view = await store.orders.view(order.id)
    assert view.given_back_by_hand == order.total
    assert view.payments[0].refunded == NOTHING  # as the provider has it
    [line] = [line for line in view.history if line.event == "given_back_by_hand"]
    assert line.detail == {"amount": str(order.total), "by": "ops-7", "note": "by bank transfer"}
    assert "charging_closed" in await store.events_of(order)
    await store.ledger.record_manual_refund(replace(said, amount=NOTHING))  # the last entry counts
    assert (await store.orders.view(order.id)).given_back_by_hand == NOTHING
    with pytest.raises(NoSuchOrderError):
        await store.ledger.record_manual_refund(replace(said, order_id="nowhere"))


async def test_an_order_settled_by_hand_takes_no_more_charges(store: Store) -> None:
    order = await store.placed()
    await store.ledger.record_manual_refund(ManualRefund(order.id, NOTHING, "ops-7", "not charged"))
    wanted = card_try(order.id)
    assert await store.ledger.announce(order.id, f"pi_{order.id}", order.total, wanted) is None


async def test_a_refund_id_means_one_refund(store: Store) -> None:
    order, _ = await store.charged()
    other, _ = await store.charged()
    await store.ledger.record_refund(
        order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", Money(1_00, "EUR"))
    )
    with pytest.raises(RefusedError):
        await store.ledger.record_refund(
            order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", Money(2_00, "EUR"))
        )
    with pytest.raises(RefusedError):
        await store.ledger.record_refund(
            other.id, f"pi_{other.id}", CardRefund(f"re_{order.id}", Money(1_00, "EUR"))
        )


# -- several things at once ------------------------------------------------------------------------


async def test_an_order_is_read_and_its_stock_reserved_at_once(store: Store) -> None:
    order = await store.placed()
    before = await store.orders.summary(order.id)
    found, stock = await store.inventory.begin(order.id, "run-1")
    assert (found, stock) == (before, Reserved())
    assert await store.events_of(order) == ["order_placed", "stock_reserved"]
    again, stock = await store.inventory.begin(order.id, "run-1")
    assert (again, stock) == (replace(before, run_id="run-1"), Reserved())
    assert await store.events_of(order) == ["order_placed", "stock_reserved"]


async def test_an_order_that_another_run_has_carried_is_read_and_nothing_else(
    store: Store,
) -> None:
    order = await store.paid((await store.stocked(), 1))
    await store.inventory.reserve(order.id, "run-1")
    found, stock = await store.inventory.begin(order.id, "run-2")
    assert (found.status, found.run_id, stock) == (Status.PAID, "run-1", None)
    assert (await store.orders.summary(order.id)).run_id == "run-1"
    assert (await store.inventory.begin(order.id, "run-1"))[1] == Reserved()


async def test_an_order_begins_as_its_stock_allows(store: Store) -> None:
    sku = await store.stocked(1)
    short, undone = await store.placed((sku, 2)), await store.placed((sku, 1))
    assert (await store.inventory.begin(short.id))[1] == OutOfStock(sku, wanted=2, available=1)
    await store.orders.begin_undo(UndoRequest(undone.id, CANCELLED), NOW)
    assert (await store.inventory.begin(undone.id))[1] == OrderUndone(CANCELLED)
    with pytest.raises(NoSuchOrderError):
        await store.inventory.begin("nowhere")


async def test_an_order_that_was_cancelled_unstarted_begins_as_undone(store: Store) -> None:
    order = await store.placed()
    assert await store.orders.cancel_unstarted(order.id, CANCELLED, NOW)
    found, stock = await store.inventory.begin(order.id, "run-1")
    assert (found.cancelled_unstarted, stock) == (True, OrderUndone(CANCELLED))


async def test_an_order_ends_with_its_stock(store: Store) -> None:
    order = await store.paid((await store.stocked(), 1))
    for _ in range(2):
        answer = await store.inventory.commit(order.id, ends_as=Status.COMPLETED)
        assert answer == StockCommitted(Status.COMPLETED)
    assert await store.events_of(order) == [
        "order_placed",
        "stock_reserved",
        "order_paid",
        "order_fulfilled",
        "stock_committed",
        "order_completed",
    ]


async def test_an_order_that_was_fulfilled_before_ends_then(store: Store) -> None:
    order = await store.paid((await store.stocked(), 1))
    assert await store.inventory.commit(order.id) == StockCommitted()
    answer = await store.inventory.commit(order.id, ends_as=Status.COMPLETED)
    assert answer == StockCommitted(Status.COMPLETED)
    assert (await store.events_of(order))[-1] == "order_completed"


async def test_an_order_that_has_gone_on_stays_as_it_is(store: Store) -> None:
    order = await store.paid((await store.stocked(), 1))
    await store.inventory.commit(order.id)
    await store.orders.move(order.id, Status.SHIPPED, None, NOW)
    answer = await store.inventory.commit(order.id, ends_as=Status.COMPLETED)
    assert answer == StockCommitted(Status.SHIPPED)


async def test_an_order_cannot_end_as_what_does_not_follow(store: Store) -> None:
    order = await store.paid((await store.stocked(), 1))
    for ends_as in (Status.REJECTED, Status.REFUNDED, Status.PAID, Status.FULFILLED):
        with pytest.raises(IllegalStatusError):
            await store.inventory.commit(order.id, ends_as=ends_as)
    assert (await store.events_of(order))[-1] == "order_paid"


async def test_a_charge_and_the_status_it_leads_to_are_recorded_at_once(store: Store) -> None:
    order = await store.placed()
    entry = await announce(store.ledger, order)
    newest = [
        await store.ledger.record(entry, captured(order), answers=1, leads_to=Status.PAID)
        for _ in range(2)
    ]
    assert newest == [True, False]
    again = await found(store, order)
    assert await store.ledger.record(again, captured(order), leads_to=Status.PAID)
    assert (await store.orders.get(order.id)).status is Status.PAID
    assert await store.events_of(order) == [
        "order_placed",
        "payment_open",
        "payment_captured",
        "order_paid",
    ]


async def test_a_charge_is_recorded_though_its_order_cannot_be_moved(store: Store) -> None:
    order = await store.placed()
    entry = await announce(store.ledger, order)
    await store.orders.move(order.id, Status.REJECTED, CANCELLED, NOW)
    with pytest.raises(IllegalStatusError):
        await store.ledger.record(entry, captured(order), answers=1, leads_to=Status.PAID)
    assert (await found(store, order)).state is ChargeState.CAPTURED
    assert (await store.orders.get(order.id)).status is Status.REJECTED


async def test_an_order_is_read_with_its_charge(store: Store) -> None:
    order = await store.placed(*[(await store.stocked(), 1) for _ in range(3)])
    assert await store.orders.get_for_charge(order.id) == (order, None)
    await announce(store.ledger, order)
    await record(store.ledger, order.id, declined(order, "ch_1"), answers=1)
    await announce(store.ledger, order, 2, before="ch_1")
    again, entry = await store.orders.get_for_charge(order.id)
    assert again == order
    assert entry == await store.ledger.find(order.id)
    assert entry is not None
    assert [one.number for one in entry.tries] == [1, 2]
    assert entry.booked is not None
    assert entry.booked.decline_code == "insufficient_funds"
    with pytest.raises(NoSuchOrderError):
        await store.orders.get_for_charge("nowhere")
