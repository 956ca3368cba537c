"""A shop whose neighbours are in memory, on a real Temporal server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from durable_orders.clients import workflow_calls
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import Progress
from durable_orders.domain.ids import payment_risk_workflow_id, workflow_id
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import ShopTerms
from tests.fakes.cards import InMemoryCards
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryInventory,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.disputes import InMemoryDisputeRepository, InMemoryPaymentRiskReader
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.servers import Temporal
from worker import order_worker
from workflows import retry_policies

_numbers = count(1)


def basket(
    order_id: str, *, sku: str = "MUG", card: str = "pm_card_visa", flagged: bool = False
) -> Basket:
    """Two of something for Ada."""
    recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
    return Basket(order_id, "cus_1", recipient, ((sku, 2),), card, flagged)


@dataclass
class Shop:
    """One shop; its neighbours can be told to misbehave. ``worker()`` opens it for work."""

    temporal: Client
    database: InMemoryDatabase = field(default_factory=InMemoryDatabase)
    cards: InMemoryCards = field(default_factory=InMemoryCards)
    warehouse: InMemoryWarehouse = field(default_factory=InMemoryWarehouse)
    mailer: InMemoryMailer = field(default_factory=InMemoryMailer)
    terms: ShopTerms = field(default_factory=ShopTerms)
    refund_terms: ShopRefundTerms = field(default_factory=ShopRefundTerms)

    def __post_init__(self) -> None:
        self.database.add_product("MUG", "Mug", Money(14_50, "EUR"), 1_000)
        self.database.add_product("CALENDAR", "Last year's calendar", Money(12_00, "EUR"), 0)
        self.book = InMemoryOrderRepository(self.database)
        self.inventory = InMemoryInventory(self.database)
        self.disputes = InMemoryDisputeRepository(self.database)
        self.risks = InMemoryPaymentRiskReader()
        self.orders = OrderClient(self.temporal, self.book, cards=self.cards)
        self.operations = OrderOperations(self.temporal, self.book)

    async def abandon(self) -> None:
        """End the runs that nobody carried to their end: the next test's worker would try."""
        for order_id in self.database.rows:
            with contextlib.suppress(RPCError):
                await self.temporal.get_workflow_handle(workflow_id(order_id)).terminate()
            with contextlib.suppress(RPCError):
                following = payment_risk_workflow_id(order_id)
                await self.temporal.get_workflow_handle(following).terminate()

    async def was_started(self, order_id: str) -> bool:
        """Whether there is a run: asked of Temporal itself, whose list lags behind."""
        try:
            await self.temporal.get_workflow_handle(workflow_id(order_id)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    def worker(self) -> Worker:
        """``async with shop.worker():`` orders are carried."""
        return order_worker(
            self.temporal,
            cards=self.cards,
            ledger=InMemoryPaymentLedger(self.database),
            warehouse=self.warehouse,
            mailer=self.mailer,
            inventory=self.inventory,
            orders=self.book,
            refunds=InMemoryRefundBook(self.database),
            disputes=self.disputes,
            risks=self.risks,
            shop=self.terms,
            refund_terms=self.refund_terms,
        )

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def place(
        self, *, sku: str = "MUG", card: str = "pm_card_visa", flagged: bool = False
    ) -> str:
        """A new order, not started yet; its id."""
        order_id = f"c{next(_numbers)}"
        await self.orders.place(basket(order_id, sku=sku, card=card, flagged=flagged))
        return order_id

    async def start(
        self, *, sku: str = "MUG", card: str = "pm_card_visa", flagged: bool = False
    ) -> str:
        """A new order, started; its id."""
        order_id = await self.place(sku=sku, card=card, flagged=flagged)
        await self.orders.start(order_id)
        return order_id

    async def reaches(self, order_id: str, doing: str) -> Progress:
        """Where the order stands, once it is ``doing`` this."""
        progress = await self.orders.status(order_id)

        async def there() -> bool:
            nonlocal progress
            progress = await self.orders.status(order_id)
            return progress.doing.startswith(doing)

        await eventually(there)
        return progress


@pytest.fixture
async def closed_shop(temporal_server: Temporal) -> AsyncIterator[Shop]:
    """A shop where nobody works."""
    shop = Shop(await temporal_server.connect())
    yield shop
    await shop.abandon()


@pytest.fixture
async def shop(closed_shop: Shop) -> AsyncIterator[Shop]:
    """The shop with a worker."""
    async with closed_shop.worker():
        yield closed_shop


@pytest.fixture
def brief_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail that takes long is waited for outside the workflow task after a second, not eight:
    until then the run answers nobody.
    """
    assert retry_policies.EMAIL.local is not None
    brief = retry_policies.EMAIL.local.copy()
    brief["schedule_to_close_timeout"] = timedelta(seconds=1)
    monkeypatch.setattr(retry_policies, "EMAIL", replace(retry_policies.EMAIL, local=brief))


@pytest.fixture
def brief_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker answers, a run is asked for a third of a second, not for two."""
    monkeypatch.setattr(workflow_calls, "_QUERY", timedelta(seconds=0.3))
