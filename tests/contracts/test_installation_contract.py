"""Contract of `InstallationRepository`, and of what orders have of it: the fake and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import pytest

from durable_orders.domain.installation import (
    CardAccount,
    ForeignOrderError,
    Installation,
    InstallationRepository,
    OtherAccountError,
)
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.ports import NoSuchOrderError, OrderRepository
from durable_orders.store.database import connect
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import Product, add_products
from tests.fakes.database import InMemoryDatabase, InMemoryInstallation, InMemoryOrderRepository
from tests.support.keys import INSTALLATION
from tests.support.servers import Postgres

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRICE = Money(5_00, "EUR")
OURS = CardAccount("acct_1Shop0000", livemode=True)
_numbers = count(1)


@dataclass(frozen=True)
class Kept:
    """A database with one product, and what administers its installation."""

    installations: InstallationRepository
    orders: OrderRepository
    rename: Callable[[str], Awaitable[object]]
    adopt: Callable[[str], Awaitable[object]]

    async def placed(self) -> str:
        recipient = Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin")
        lines = (("MUG", 1),)
        basket = Basket(f"i-{next(_numbers)}", "customer-1", recipient, lines, "pm_card_visa")
        return (await self.orders.place(basket, NOW)).id

    async def prefix_of(self, order_id: str) -> str:
        prefix = (await self.orders.summary(order_id)).key_prefix
        assert (await self.orders.get(order_id)).key_prefix == prefix
        return prefix


@pytest.fixture(params=["in memory", "postgres"])
async def kept(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Kept]:
    if request.param == "in memory":
        memory = InMemoryDatabase()
        memory.add_product("MUG", "Mug", PRICE, 10)

        async def rename(name: str) -> None:
            memory.installation = memory.installation.renamed(name)

        async def adopt(name: str) -> None:
            memory.installation = memory.installation.adopted(name)

        yield Kept(InMemoryInstallation(memory), InMemoryOrderRepository(memory), rename, adopt)
        return
    database = connect(await postgres.migrated())
    await add_products(database, [Product("MUG", "Mug", PRICE, 10)])
    book = PostgresInstallationRepository(database)
    yield Kept(book, PostgresOrderRepository(database), book.rename, book.adopt)
    await database.close()


async def test_a_new_installation_has_a_name_and_is_not_bound(kept: Kept) -> None:
    assert await kept.installations.get() == Installation(INSTALLATION)


async def test_the_first_account_is_kept_and_another_changes_nothing(kept: Kept) -> None:
    by_mode = CardAccount(None, livemode=True)
    assert (await kept.installations.bind(by_mode)).account == by_mode
    assert (await kept.installations.bind(OURS)).account == OURS
    assert (await kept.installations.bind(by_mode)).account == OURS
    for other in (
        CardAccount("acct_1Other000", livemode=True),
        CardAccount("acct_1Shop0000", livemode=False),
        CardAccount(None, livemode=False),
    ):
        with pytest.raises(OtherAccountError):
            await kept.installations.bind(other)
    assert await kept.installations.get() == Installation(INSTALLATION, account=OURS)


async def test_renaming_touches_new_orders_only(kept: Kept) -> None:
    before = await kept.placed()
    await kept.installations.bind(OURS)
    await kept.rename("renamed")
    after = await kept.placed()

    assert await kept.prefix_of(before) == INSTALLATION
    assert await kept.prefix_of(after) == "renamed"
    assert await kept.installations.get() == Installation("renamed", (INSTALLATION,), OURS)
    await kept.rename(INSTALLATION)
    assert await kept.prefix_of(await kept.placed()) == INSTALLATION
    assert await kept.prefix_of(after) == "renamed"


async def test_in_a_copy_the_orders_of_the_original_are_not_to_be_touched(kept: Kept) -> None:
    theirs = await kept.placed()
    await kept.installations.bind(OURS)
    await kept.adopt("staging")
    ours = await kept.placed()

    assert await kept.installations.get() == Installation("staging")
    for read in (kept.orders.get, kept.orders.summary):
        with pytest.raises(ForeignOrderError, match=f"placed by the installation {INSTALLATION}"):
            await read(theirs)
    assert isinstance(ForeignOrderError(theirs, INSTALLATION), NoSuchOrderError)
    assert (await kept.orders.view(theirs)).order.key_prefix == INSTALLATION
    assert await kept.prefix_of(ours) == "staging"
    await kept.rename(INSTALLATION)  # it was no copy after all
    assert await kept.prefix_of(theirs) == INSTALLATION
    assert await kept.prefix_of(ours) == "staging"
