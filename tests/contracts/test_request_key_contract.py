"""Contract of `OrderRepository`: placing an order once per key, and listing orders."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from durable_orders.domain.ids import IdempotencyKey, IdempotencyKeyReusedError
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, PlacedOrder
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, InvalidOrderError, Recipient
from durable_orders.domain.ports import NoSuchOrderError, OrderExistsError, OrderRepository
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import Product, add_products
from tests.fakes.database import InMemoryDatabase, InMemoryOrderRepository

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRICE = Money(5_00, "EUR")
_numbers = count(1)


@pytest.fixture
def memory_book() -> OrderRepository:
    memory = InMemoryDatabase()
    memory.add_product("PEN", "Pen", PRICE, 100)
    return InMemoryOrderRepository(memory)


@pytest.fixture
async def postgres_book(database: Database) -> OrderRepository:
    await add_products(database, [Product("PEN", "Pen", PRICE, 100)])
    return PostgresOrderRepository(database)


@pytest.fixture(params=["memory_book", "postgres_book"])
def book(request: pytest.FixtureRequest) -> OrderRepository:
    found: OrderRepository = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def customer() -> str:
    """A customer without orders."""
    return f"customer-{next(_numbers)}"


@pytest.fixture
def key() -> IdempotencyKey:
    """An unused key."""
    return IdempotencyKey(f"key-{next(_numbers)}")


def basket(customer: str, quantity: int = 1, order_id: str | None = None) -> Basket:
    recipient = Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin")
    id_ = order_id or f"l-{next(_numbers):05d}"
    return Basket(id_, customer, recipient, (("PEN", quantity),), "pm_card_visa")


async def all_pages(book: OrderRepository, wanted: OrderFilter, limit: int) -> list[PlacedOrder]:
    page = await book.page(wanted, limit)
    found = [*page.orders]
    while page.next is not None:
        page = await book.page(wanted, limit, page.next)
        assert 0 < len(page.orders) <= limit
        found += page.orders
    return found


# -- keys ------------------------------------------------------------------------------------------


async def test_one_key_and_basket_is_one_order_however_often_and_however_many_at_once(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    wish = basket(customer, order_id=key.derived_id)

    placed = await asyncio.gather(*(book.place(wish, NOW, key=key) for _ in range(20)))

    assert len(set(placed)) == 1
    assert await book.place(wish, NOW, key=key) == placed[0]
    assert len((await book.page(OrderFilter(customer_id=customer), 10)).orders) == 1


async def test_another_basket_with_the_key_is_refused_and_places_nothing(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    await book.place(basket(customer), NOW, key=key)

    other = basket(customer, quantity=2)
    with pytest.raises(IdempotencyKeyReusedError, match="sent before with other contents"):
        await book.place(other, NOW, key=key)

    with pytest.raises(NoSuchOrderError):
        await book.get(other.order_id)


async def test_of_many_baskets_with_one_key_at_once_one_is_placed(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    wishes = [basket(customer, quantity) for quantity in range(1, 11)]

    answers = await asyncio.gather(
        *(book.place(wish, NOW, key=key) for wish in wishes), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, IdempotencyKeyReusedError)]
    assert len(refused) == 9
    assert len((await book.page(OrderFilter(customer_id=customer), 20)).orders) == 1


async def test_baskets_with_one_key_and_no_id_of_their_own_are_told_of_the_key(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    await book.place(basket(customer, order_id=key.derived_id), NOW, key=key)
    with pytest.raises(IdempotencyKeyReusedError):
        await book.place(basket(customer, 2, order_id=key.derived_id), NOW, key=key)


async def test_a_basket_that_cannot_be_sold_leaves_its_key_unused(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    with pytest.raises(InvalidOrderError):
        await book.place(replace(basket(customer), quantities=(("NOTHING", 1),)), NOW, key=key)

    await book.place(basket(customer), NOW, key=key)


async def test_an_order_placed_before_without_the_key_may_be_placed_again_with_it(
    book: OrderRepository, customer: str, key: IdempotencyKey
) -> None:
    wish = basket(customer)
    first = await book.place(wish, NOW)
    assert await book.place(wish, NOW, key=key) == first
    with pytest.raises(OrderExistsError):
        await book.place(basket(customer, 2, order_id=wish.order_id), NOW)


# -- pages -----------------------------------------------------------------------------------------


async def test_orders_are_listed_newest_first_and_each_once_however_long_a_page_is(
    book: OrderRepository, customer: str
) -> None:
    # Some at the same time: these are sorted by id.
    wishes = [basket(customer) for _ in range(7)]
    for number, wish in enumerate(wishes):
        await book.place(wish, NOW + timedelta(microseconds=number // 3))
    expected = [wish.order_id for wish in reversed(wishes)]

    for limit in (1, 2, 3, 6, 7, 8):
        found = await all_pages(book, OrderFilter(customer_id=customer), limit)
        assert [order.order_id for order in found] == expected


async def test_a_page_that_holds_the_last_order_has_no_next(
    book: OrderRepository, customer: str
) -> None:
    assert await book.page(OrderFilter(customer_id=customer), 2) == OrderPage(())
    for _ in range(2):
        await book.place(basket(customer), NOW)
    assert (await book.page(OrderFilter(customer_id=customer), 2)).next is None


async def test_orders_placed_between_two_pages_shift_nothing(
    book: OrderRepository, customer: str
) -> None:
    wishes = [basket(customer) for _ in range(4)]
    for number, wish in enumerate(wishes):
        await book.place(wish, NOW + timedelta(seconds=number))
    wanted = OrderFilter(customer_id=customer)

    first = await book.page(wanted, 2)
    await book.place(basket(customer), NOW + timedelta(hours=1))
    second = await book.page(wanted, 2, first.next)

    found = [order.order_id for order in (*first.orders, *second.orders)]
    assert found == [wish.order_id for wish in reversed(wishes)]


async def test_a_listed_order_tells_what_it_is_and_what_became_of_it(
    book: OrderRepository, customer: str
) -> None:
    wish = basket(customer, 3)
    await book.place(wish, NOW)
    await book.move(wish.order_id, Status.CANCELLED, Stop(StopReason.CANCELLED, "so asked"), NOW)

    page = await book.page(OrderFilter(Status.CANCELLED, customer), 10)

    listed = PlacedOrder(
        wish.order_id, customer, Status.CANCELLED, "cancelled", Money(15_00, "EUR"), NOW
    )
    assert page == OrderPage((listed,))
    assert (await book.page(OrderFilter(Status.PLACED, customer), 10)).orders == ()


async def test_all_orders_are_listed_when_none_are_asked_for(
    book: OrderRepository, customer: str
) -> None:
    wish = basket(customer)
    await book.place(wish, NOW + timedelta(days=3650 + next(_numbers)))
    assert (await book.page(OrderFilter(), 1)).orders[0].order_id == wish.order_id


async def test_a_bookmark_that_was_written_down_leads_to_the_same_place(
    book: OrderRepository, customer: str
) -> None:
    for second in range(3):
        await book.place(basket(customer), NOW + timedelta(seconds=second, microseconds=7))
    wanted = OrderFilter(customer_id=customer)
    mark = (await book.page(wanted, 1)).next
    assert mark is not None

    read = Cursor.read(str(mark))

    assert read == mark
    assert await book.page(wanted, 1, read) == await book.page(wanted, 1, mark)
