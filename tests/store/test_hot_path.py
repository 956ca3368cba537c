"""The hot path: it changes and answers exactly what the general code does, in one round trip.

The same calls are made on two databases. In one of them the functions of the hot path decline
everything, so that the general code does it all. Whatever happened to an order before, both have
the same rows afterwards.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    ManualRefund,
    OrderUndone,
    Reserved,
    StockCommitted,
    UndoBegun,
    UndoRequest,
)
from durable_orders.domain.installation import ForeignOrderError
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket
from durable_orders.domain.parcels import Parcel, ParcelStatus
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    ChargeEntry,
    ChargeState,
    IllegalStatusError,
    NoSuchOrderError,
    ProviderError,
    TryRefusal,
)
from durable_orders.store import hot_path
from durable_orders.store.database import connect
from durable_orders.store.seed import Product, add_products
from sandbox.round_trips import RoundTrips
from tests.store.shop import NOTHING, NOW, PRICE, RECIPIENT, Shop, Stock
from tests.support.charges import card_try
from tests.support.servers import Postgres

TABLES: Final = {
    "orders": "id = :id",
    "products": "sku = :id",
    "payments": "order_id = :id ORDER BY attempt",
    "payment_tries": "order_id = :id ORDER BY number",
    "parcels": "order_id = :id ORDER BY parcel_id",
    "refunds": "order_id = :id ORDER BY refund_id",
    "order_history": "order_id = :id ORDER BY id",
}
#: The functions of the hot path, and how each declines.
FUNCTIONS: Final = {
    "reserve_if_ordinary": "RETURN false",
    "commit_if_ordinary": "RETURN false",
    "announce_if_ordinary": "RETURN",
    "record_if_ordinary": "RETURN false",
}
CANCELLED: Final = Stop(StopReason.CANCELLED, "cancelled by customer")
SOME_TIME: Final = re.compile(r"datetime\.datetime\((?!2026, 3, [18], 12, 0, tz)[^)]*\)")
MANY: Final = 30
numbers = count(1)


async def decline_all(shop: Shop) -> None:
    """Have the functions of this database decline whatever they are asked."""
    for name, instead in FUNCTIONS.items():
        [row] = await shop.sql(
            "SELECT pg_get_functiondef(oid) AS made FROM pg_proc WHERE proname = :name", name=name
        )
        head, _, _ = row["made"].partition("AS $function$")
        async with shop.database.engine.begin() as connection:
            await connection.exec_driver_sql(f"{head} AS $$ BEGIN {instead}; END $$")


@dataclass
class Side:
    """An order on one of the databases, and what has been read of it there."""

    shop: Shop
    order_id: str
    pieces: int
    #: Entries of its charge, oldest first.
    entries: list[ChargeEntry] = field(default_factory=list)
    times: dict[tuple[str, int, str], object] = field(default_factory=dict)

    @property
    def total(self) -> Money:
        return Money(PRICE.amount * self.pieces, PRICE.currency)

    @property
    def payment_id(self) -> str:
        return f"pi_{self.order_id}"

    async def place(self, on_hand: int) -> None:
        product = Product(self.order_id, "Product", PRICE, on_hand)  # its sku is the order's id
        await add_products(self.shop.database, [product])
        lines = ((self.order_id, self.pieces),)
        basket = Basket(self.order_id, "customer-1", RECIPIENT, lines, "pm_card_visa")
        await self.shop.orders.place(basket, NOW)

    def charge(self, state: ChargeState, newest: str = "ch_1") -> CardCharge:
        taken = self.total if state is ChargeState.CAPTURED else NOTHING
        code = "insufficient_funds" if state is ChargeState.DECLINED else ""
        until = NOW + timedelta(days=7) if state is ChargeState.HELD else None
        return CardCharge(
            self.payment_id,
            state,
            self.total,
            taken,
            NOTHING,
            code,
            capture_before=until,
            latest_charge="" if state is ChargeState.OPEN else newest,
        )

    async def rows(self) -> list[str]:
        """All of the order's rows; of a time of the database's: whether it has changed."""
        seen = []
        for table, where in TABLES.items():
            rows = await self.shop.sql(
                f"SELECT * FROM {table} WHERE {where}",  # noqa: S608 - ours
                id=self.order_id,
            )
            for number, row in enumerate(rows):
                values = {**row, **self._changes(table, number, row)}
                if table == "order_history":
                    del values["id"]  # PostgreSQL counts those that were there already, too
                seen.append(f"{table} {values}")
        return seen

    def _changes(self, table: str, number: int, row: Mapping[str, Any]) -> dict[str, object]:
        changed: dict[str, object] = {}
        for name, value in row.items():
            if isinstance(value, datetime) and name != "capture_before":
                before = self.times.get((table, number, name))
                self.times[table, number, name] = value
                changed[name] = "changed" if value != before else "unchanged"
        return changed


Step = Callable[[Side], Awaitable[object]]


def begin(run: str) -> Step:
    return lambda side: side.shop.inventory.begin(side.order_id, run)


def commit(ends_as: Status | None = None) -> Step:
    return lambda side: side.shop.inventory.commit(side.order_id, ends_as=ends_as)


def announce(
    number: int = 1, *, other: bool = False, more: int = 0, state: ChargeState = ChargeState.OPEN
) -> Step:
    async def step(side: Side) -> object:
        amount = replace(side.total, amount=side.total.amount + more)
        wanted = card_try(side.order_id, number, state=state)
        payment_id = f"another_{side.payment_id}" if other else side.payment_id
        entry = await side.shop.ledger.announce(side.order_id, payment_id, amount, wanted)
        if entry is not None:
            side.entries.append(entry)
        return entry

    return step


def record(
    state: ChargeState,
    *,
    answers: int | None = 1,
    leads_to: Status | None = None,
    older: int = 0,
    newest: str = "ch_1",
    refunded: int = 0,
) -> Step:
    """``older``: by an entry that was read that many readings before the last one."""

    async def step(side: Side) -> object:
        if not side.entries:
            return None
        entry = side.entries[max(0, len(side.entries) - 1 - older)]
        charge = side.charge(state, newest)
        charge = replace(charge, refunded=Money(refunded, PRICE.currency))
        return await side.shop.ledger.record(entry, charge, answers=answers, leads_to=leads_to)

    return step


async def find(side: Side) -> object:
    _, entry = await side.shop.orders.get_for_charge(side.order_id)
    assert entry == await side.shop.ledger.find(side.order_id)
    if entry is not None:
        side.entries.append(entry)
    return entry


async def sell_to_others(side: Side) -> None:
    await side.shop.sql("UPDATE products SET reserved = on_hand WHERE sku = :id", id=side.order_id)


ORDINARY: Final[Mapping[str, Step]] = {
    "begin": begin("run-1"),
    "announce": announce(),
    "record captured": record(ChargeState.CAPTURED, leads_to=Status.PAID),
    "name parcels": lambda side: side.shop.orders.record_parcels(
        side.order_id, f"ful_{side.order_id}", (f"par_{side.order_id}",)
    ),
    "commit": commit(Status.COMPLETED),
    "mailed": lambda side: side.shop.orders.note(side.order_id, "mailed", NOW, mail="m_1"),
}
OTHERS: Final[Mapping[str, Step]] = {
    "begin as nobody": begin(""),
    "begin again": begin("run-1"),
    "begin as another": begin("run-2"),
    "reserve": lambda side: side.shop.inventory.reserve(side.order_id, "run-1"),
    "release": lambda side: side.shop.inventory.release(side.order_id),
    "sell to others": sell_to_others,
    "find": find,
    "announce again": announce(),
    "announce the second": announce(2),
    "announce what is not made": announce(state=ChargeState.CANCELLED),
    "announce another charge": announce(other=True),
    "announce too much": announce(more=1),
    "record open": record(ChargeState.OPEN),
    "record 3-D Secure": record(ChargeState.NEEDS_CUSTOMER, leads_to=Status.AWAITING_PAYMENT),
    "record declined": record(ChargeState.DECLINED),
    "record processing": record(ChargeState.PROCESSING, leads_to=Status.AWAITING_PAYMENT),
    "record held": record(ChargeState.HELD, leads_to=Status.HELD),
    "record held, of none": record(ChargeState.HELD, answers=None, leads_to=Status.HELD),
    "record cancelled": record(ChargeState.CANCELLED, answers=None),
    "record captured again": record(ChargeState.CAPTURED, leads_to=Status.PAID),
    "record captured, of none": record(ChargeState.CAPTURED, answers=None, leads_to=Status.PAID),
    "record captured by another": record(
        ChargeState.CAPTURED, answers=2, leads_to=Status.PAID, newest="ch_2"
    ),
    "record captured, read before": record(ChargeState.CAPTURED, leads_to=Status.PAID, older=1),
    "record declined, read before": record(ChargeState.DECLINED, answers=None, older=1),
    "record returned": record(ChargeState.CAPTURED, answers=None, refunded=1_00),
    "record less returned": record(ChargeState.CAPTURED, answers=None, refunded=50),
    "record too much returned": record(ChargeState.CAPTURED, answers=None, refunded=1_000_00),
    "end try": lambda side: side.shop.ledger.end_try(side.order_id, 1, ChargeState.CANCELLED),
    "refuse try": lambda side: side.shop.ledger.end_try(
        side.order_id, 1, ChargeState.DECLINED, "code", TryRefusal.CARD
    ),
    "close": lambda side: side.shop.ledger.close(side.order_id),
    "refund": lambda side: side.shop.ledger.record_refund(
        side.order_id, side.payment_id, CardRefund(f"re_{side.order_id}", Money(1_00, "EUR"))
    ),
    "given back by hand": lambda side: side.shop.ledger.record_manual_refund(
        ManualRefund(side.order_id, NOTHING, "ops-7", "note")
    ),
    "undo": lambda side: side.shop.orders.begin_undo(
        UndoRequest(side.order_id, CANCELLED, "run-1"), NOW
    ),
    "keep": lambda side: side.shop.orders.keep(side.order_id, NOW),
    "cancel unstarted": lambda side: side.shop.orders.cancel_unstarted(
        side.order_id, CANCELLED, NOW
    ),
    "await approval": lambda side: side.shop.orders.move(
        side.order_id, Status.AWAITING_APPROVAL, None, NOW
    ),
    "pay": lambda side: side.shop.orders.move(side.order_id, Status.PAID, None, NOW),
    "ship": lambda side: side.shop.orders.move(side.order_id, Status.SHIPPED, None, NOW),
    "complete": lambda side: side.shop.orders.move(side.order_id, Status.COMPLETED, None, NOW),
    "refunded": lambda side: side.shop.orders.move(side.order_id, Status.REFUNDED, CANCELLED, NOW),
    "move parcel": lambda side: side.shop.orders.move_parcel(
        side.order_id, Parcel(f"par_{side.order_id}", ParcelStatus.SHIPPED, "track"), NOW
    ),
    "name more parcels": lambda side: side.shop.orders.record_parcels(
        side.order_id, f"ful_{side.order_id}", (f"par_{side.order_id}", f"par_{side.order_id}_2")
    ),
    "name others": lambda side: side.shop.orders.record_parcels(side.order_id, "ful_x", ("par_x",)),
    "commit to deliver": commit(),
    "commit as shipped": commit(Status.SHIPPED),
    "commit as what cannot be": commit(Status.REJECTED),
}
STEPS: Final = {**ORDINARY, **OTHERS}


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Event loop for all examples: hypothesis calls plain functions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def shops(
    loop: asyncio.Runner, database_url: str, postgres: Postgres
) -> Iterator[tuple[Shop, ...]]:
    """A shop with the hot path, and one without."""
    urls = (database_url, loop.run(postgres.migrated()))
    hot, general = (Shop(connect(url, pool_size=2)) for url in urls)
    loop.run(decline_all(general))
    yield hot, general
    for shop in (hot, general):
        loop.run(shop.database.close())


@st.composite
def courses(draw: st.DrawFn) -> list[str]:
    """Ordinary steps in their order, with others in between and some left out."""
    course: list[str] = []
    for step in ORDINARY:
        course += draw(st.lists(st.sampled_from(sorted(STEPS)), max_size=2))
        if draw(st.integers(0, 4)):
            course.append(step)
    return course + draw(st.lists(st.sampled_from(sorted(STEPS)), max_size=3))


@settings(max_examples=60, deadline=None)
@given(steps=courses(), on_hand=st.integers(0, 4), pieces=st.integers(1, 2))
@example(steps=list(ORDINARY), on_hand=4, pieces=2)
@example(steps=["begin", "announce", "end try", "record captured"], on_hand=4, pieces=2)
@example(
    steps=["announce", "record captured", "find", "refund", "record less returned"],
    on_hand=4,
    pieces=2,
)
@example(
    steps=[
        "begin",
        "announce",
        "record held",
        "find",
        "record captured, of none",
        "refund",
        "record returned",
    ],
    on_hand=4,
    pieces=2,
)
def test_both_ways_leave_the_same_rows_and_give_the_same_answers(
    loop: asyncio.Runner, shops: tuple[Shop, ...], steps: list[str], on_hand: int, pieces: int
) -> None:
    loop.run(_play(shops, steps, on_hand, pieces))


async def _play(shops: tuple[Shop, ...], steps: list[str], on_hand: int, pieces: int) -> None:
    order_id = f"hot-{next(numbers)}"
    hot, general = (Side(shop, order_id, pieces) for shop in shops)
    for side in (hot, general):
        await side.place(on_hand)
    for step in steps:
        one, other = await _do(hot, step), await _do(general, step)
        assert one == other, f"{step}, of {steps}"
        assert await hot.rows() == await general.rows(), f"{step}, of {steps}"


async def _do(side: Side, step: str) -> str:
    try:
        answer: object = await STEPS[step](side)
    except (ProviderError, IllegalStatusError, NoSuchOrderError) as error:
        answer = error
    return SOME_TIME.sub("SOME TIME", repr(answer))


# -- one round trip --------------------------------------------------------------------------------


@pytest.fixture
async def trips(database_url: str) -> AsyncIterator[RoundTrips]:
    async with RoundTrips(database_url) as trips:
        yield trips


@pytest.fixture
async def counted(trips: RoundTrips) -> AsyncIterator[Shop]:
    """A shop with one connection, whose round trips are counted."""
    shop = Shop(connect(trips.url, pool_size=1))
    yield shop
    await shop.database.close()


async def placed(shop: Shop, pieces: int = 1, on_hand: int = 10) -> Side:
    side = Side(shop, f"hot-{next(numbers)}", pieces)
    await side.place(on_hand)
    return side


async def carry(side: Side) -> None:
    """Take the order through all that it ordinarily needs of the database."""
    shop, order_id = side.shop, side.order_id
    for step in ("begin", None, "announce", "record captured", "", "name parcels", "commit"):
        if step:
            await STEPS[step](side)
        elif step is None:
            await shop.orders.get_for_charge(order_id)
        else:
            await shop.orders.get(order_id)
    await shop.orders.get_for_mail(order_id, "mailed")
    await STEPS["mailed"](side)


async def test_an_ordinary_order_takes_nine_round_trips(counted: Shop, trips: RoundTrips) -> None:
    await carry(await placed(counted))  # which prepares the statements
    side = await placed(counted)
    trips.take()
    await carry(side)
    assert trips.take() == 9
    view = await counted.orders.view(side.order_id)
    assert view.order.status is Status.COMPLETED
    assert [line.event for line in view.history] == [
        "order_placed",
        "stock_reserved",
        "payment_open",
        "payment_captured",
        "order_paid",
        "parcel_named",
        "order_fulfilled",
        "stock_committed",
        "order_completed",
        "mailed",
    ]


#: What happened to an order before a step, so that the step is not ordinary.
NOT_ORDINARY: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "begin": (
        ("undo",),
        ("cancel unstarted",),
        ("begin as another",),
        ("release",),
        ("sell to others",),
        ("pay",),
        ("close",),
    ),
    "announce": (
        ("undo",),
        ("close",),
        ("given back by hand",),
        ("keep",),
        ("pay",),
        ("refunded",),
        ("announce",),
        ("announce another charge",),
    ),
    "record captured": (
        ("announce", "undo"),
        ("announce", "close"),
        ("announce", "keep"),
        ("announce", "record captured"),
        ("announce", "end try"),
        ("announce", "refuse try"),
        ("announce", "refunded"),
        ("announce", "record held", "record captured"),
    ),
    "commit": (
        ("begin",),
        ("begin", "pay", "undo"),
        ("begin", "pay", "close"),
        ("begin", "pay", "keep"),
        ("begin", "pay", "release"),
        ("begin", "pay", "commit"),
        ("begin", "pay", "commit to deliver"),
        ("pay",),
    ),
}


@pytest.mark.parametrize(
    ("step", "before"),
    [(step, before) for step, all_ in NOT_ORDINARY.items() for before in all_],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
async def test_what_is_not_ordinary_is_declined_and_nothing_is_changed(
    shop: Shop, step: str, before: tuple[str, ...]
) -> None:
    side, database = await placed(shop), shop.database
    for one in before:
        await STEPS[one](side)
    await side.rows()
    known = await side.rows()
    if step == "begin":
        assert not (await hot_path.begin(database, side.order_id, "run-1"))[1]
    elif step == "announce":
        wanted = card_try(side.order_id)
        payment_id = side.payment_id
        assert not await hot_path.announce(database, side.order_id, payment_id, side.total, wanted)
    elif step == "commit":
        assert not await hot_path.commit(database, side.order_id, Status.COMPLETED)
    else:
        charge = side.charge(ChargeState.CAPTURED)
        entry = side.entries[0]
        assert not await hot_path.record(database, entry, charge, 1, Status.PAID)
    assert await side.rows() == known


async def test_an_order_of_another_installation_reserves_nothing(shop: Shop) -> None:
    side = await placed(shop)
    await shop.sql("UPDATE orders SET key_prefix = 'another' WHERE id = :id", id=side.order_id)
    known = [await side.rows() for _ in range(2)][1]
    with pytest.raises(ForeignOrderError):
        await shop.inventory.begin(side.order_id, "run-1")
    assert await side.rows() == known


# -- at the same time ------------------------------------------------------------------------------


async def at_once(*calls: Awaitable[object]) -> list[object]:
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_the_last_piece_goes_to_one_of_many(shop: Shop) -> None:
    sku = await shop.stocked(3)
    orders = [await shop.placed((sku, 1)) for _ in range(MANY)]
    answers = await asyncio.gather(*(shop.inventory.begin(one.id, "run-1") for one in orders))
    assert sum(stock == Reserved() for _, stock in answers) == 3
    assert await shop.stock_of(sku) == Stock(on_hand=3, reserved=3)


async def test_orders_over_the_same_products_in_opposite_order_do_not_deadlock(shop: Shop) -> None:
    skus = [await shop.stocked(1_000) for _ in range(4)]
    lines = tuple((sku, 1) for sku in skus)
    orders = [await shop.placed(*(lines if n % 2 else lines[::-1])) for n in range(MANY)]

    async def process(order_id: str) -> object:
        await shop.inventory.begin(order_id, "run-1")
        await shop.orders.move(order_id, Status.PAID, None, NOW)
        return await shop.inventory.commit(order_id, ends_as=Status.COMPLETED)

    answers = await asyncio.gather(*(process(order.id) for order in orders))
    assert answers == [StockCommitted(Status.COMPLETED)] * MANY
    for sku in skus:
        assert await shop.stock_of(sku) == Stock(on_hand=1_000 - MANY, reserved=0)


async def test_an_order_that_is_undone_at_the_same_time_is_reserved_before_or_not(
    shop: Shop,
) -> None:
    for _ in range(10):
        side = await placed(shop)
        begun, undone = await at_once(STEPS["begin"](side), STEPS["undo"](side))
        assert isinstance(undone, UndoBegun)
        assert isinstance(begun, tuple)
        stock = await shop.stock_of(side.order_id)
        assert (begun[1], stock.reserved) in ((Reserved(), 1), (OrderUndone(CANCELLED), 0))


async def test_a_try_is_announced_before_its_order_is_closed_or_not(shop: Shop) -> None:
    for _ in range(10):
        side = await placed(shop)
        announced, closed = await at_once(STEPS["announce"](side), STEPS["close"](side))
        assert isinstance(closed, list)
        assert len(closed) == (0 if announced is None else 1)


async def test_one_try_is_announced_by_two_workers_once(shop: Shop) -> None:
    for _ in range(10):
        side = await placed(shop)
        one, other = await at_once(STEPS["announce"](side), STEPS["announce"](side))
        assert one == other
        assert isinstance(one, ChargeEntry)
        assert len(one.tries) == 1


async def test_two_reports_at_once_are_both_recorded(shop: Shop) -> None:
    for _ in range(10):
        side = await placed(shop)
        await STEPS["announce"](side)
        reports = ("record 3-D Secure", "record captured", "record held", "record captured")
        answers = await at_once(*(STEPS[report](side) for report in reports))
        assert [answer for answer in answers if isinstance(answer, ProviderError)] == []
        view = await shop.orders.view(side.order_id)
        assert view.order.status is Status.PAID
        assert (view.payments[0].state, view.payments[0].captured) == ("captured", side.total)


async def test_an_order_is_kept_or_undone_and_never_both(shop: Shop) -> None:
    for _ in range(10):
        side = await placed(shop)
        for step in ("begin", "announce", "record captured"):
            await STEPS[step](side)
        committed, undone = await at_once(STEPS["commit"](side), STEPS["undo"](side))
        kept = StockCommitted(Status.COMPLETED), AlreadyFulfilled()
        given_up = OrderUndone(CANCELLED), UndoBegun(CANCELLED, charged=True, handed_over=True)
        assert (committed, undone) in (kept, given_up)
        stock = await shop.stock_of(side.order_id)
        assert stock == (Stock(9, 0) if undone == AlreadyFulfilled() else Stock(10, 1))
