"""A shop with nothing in memory: Temporal, PostgreSQL, and the real SDKs on the stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from temporalio.client import Client

from durable_orders.api.app import create_app
from durable_orders.api.dependencies import ApiLimits, Dependencies
from durable_orders.api.webhook_inbox import Inbox
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.settings import WorkerSettings
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.risk_list import PostgresRiskListRepository
from durable_orders.store.seed import DEMO, Product, add_products
from durable_orders.store.webhook_events import PostgresMailLog, PostgresWebhookEventRepository
from sandbox.env_file import settings
from sandbox.world import StandInServer
from tests.api.api_clients import OPERATOR, a_key
from tests.api.posting import ALL
from tests.fakes.keys import InMemoryKeys
from tests.support.http_server import listening
from tests.support.open_runs import abandon
from tests.support.servers import Temporal
from worker import composed

#: A key of a shop's web server, which decides nothing.
SHOP = Token.of(b"shoppe", bytes(range(1, 33)))
#: A key of another operator: who asked for a refund may not approve it.
SECOND: Final = Token.of(b"second", bytes(range(2, 34)))
_numbers = count(1)


@dataclass(frozen=True)
class RealShop:
    """Its edge, asked without a network between, and the stand-in's own books."""

    edge: Dependencies
    app: FastAPI
    http: httpx.AsyncClient
    world: httpx.AsyncClient
    dispute_book: PostgresDisputeRepository
    temporal: Client

    async def books(self, order_id: str) -> dict[str, Any]:
        """What Stripe, the warehouse and the mail service have of an order."""
        return dict((await self.world.get(f"/books/{order_id}")).raise_for_status().json())

    async def place(self, card: str = "pm_card_visa", **more: object) -> str:
        """A new order of two mugs; its id."""
        answer = await self.http.post("/orders", json=wish(card) | more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["order_id"])

    async def completed(self) -> str:
        """An order that was paid, packed and confirmed; its id."""
        order_id = await self.place()
        await self.http.post("/checkout", json={"order_id": order_id})
        await self.edge.orders.result(order_id)
        return order_id


#: Prices that no card is charged, one by one at least.
ODD_PRICES = (
    Product("CLIP", "Paper clip", Money(20, "EUR"), 1_000),
    Product("HOUSE", "House", Money(120_000_000, "EUR"), 1_000),
    Product("DATES", "Dates", Money(1235, "KWD"), 1_000),
)


def wish(card: str = "pm_card_visa", **more: object) -> dict[str, object]:
    """Two mugs for Ada."""
    return {
        "order_id": f"real-{next(_numbers)}",
        "customer_id": "cus_1",
        "recipient": {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "address": "12 St James's Square, London",
        },
        "lines": [{"sku": "MUG", "quantity": 2}],
        "payment_method": card,
    } | more


@dataclass(frozen=True)
class RealServers:
    """Temporal, in a namespace where no shop is in memory, and the stand-in of the others."""

    temporal: Temporal
    world: StandInServer


@pytest.fixture(scope="module")
async def real(
    real_servers: RealServers, database: Database, database_url: str
) -> AsyncIterator[RealShop]:
    """The shop with a worker. It waits for another card, and for a person from 20 EUR of refund."""
    await add_products(database, [*DEMO, *ODD_PRICES])
    temporal_server, world = real_servers.temporal, real_servers.world
    temporal = await temporal_server.connect()
    async with contextlib.AsyncExitStack() as stack:
        terms = {"new_card_window_minutes": 60, "refund_approval_above": {"EUR": 20_00}}
        environment = settings(
            temporal_address=temporal_server.address,
            namespace=temporal_server.namespace,
            ui_url="",
            database_url=database_url,
            stand_in_url=world.url,
        )
        named = {name.lower(): value for name, value in environment.items()}
        configured = WorkerSettings.model_validate(named | terms)
        worker, _ = await stack.enter_async_context(composed(configured, temporal))
        await stack.enter_async_context(worker)
        cards = StripeCards("sk_test_sandbox", api_base=world.url)
        stack.push_async_callback(cards.aclose)
        book = PostgresOrderRepository(database)
        orders = OrderClient(temporal, book, cards=cards)
        refunds = RefundClient(temporal, PostgresRefundBook(database))
        dispute_book = PostgresDisputeRepository(database)
        edge = Dependencies(
            orders=orders,
            operations=OrderOperations(temporal, book),
            refunds=refunds,
            disputes=DisputeClient(PostgresRiskListRepository(database), book, dispute_book),
            payment_risks=PaymentRiskClient(temporal, dispute_book),
            inbox=Inbox(
                readers=ALL,
                events=PostgresWebhookEventRepository(database),
                mails=PostgresMailLog(database),
                payments=PostgresPaymentLedger(database),
                orders=orders,
                refunds=refunds,
                audits=AuditClient(temporal),
                risks=PaymentRiskClient(temporal, PostgresDisputeRepository(database)),
            ),
            keys=InMemoryKeys(
                a_key(OPERATOR, "ops-desk", Scope.OPERATOR),
                a_key(SECOND, "ops-night", Scope.OPERATOR),
                a_key(SHOP, "web-shop", Scope.SHOP),
            ),
            limits=ApiLimits(rate_per_minute=1_000_000, failures_per_minute=1_000_000, streams=5),
        )
        app = create_app(edge)
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        yield RealShop(
            edge,
            app,
            await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=transport, base_url="http://shop.example", headers=headers
                )
            ),
            await stack.enter_async_context(httpx.AsyncClient(base_url=world.url, timeout=30)),
            dispute_book,
            temporal,
        )
    await abandon(temporal, database)


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The edge on a socket of this machine, whose streams end with the block; its address."""
    async with listening(app) as address:
        try:
            yield address
        finally:
            app.state.streams.stop()
