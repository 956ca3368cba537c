"""A shop with its database, its worker and its operator's pages, and an operator with a browser."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from temporalio.client import Client
from temporalio.service import RPCError

from durable_orders.api.app import create_app
from durable_orders.api.dependencies import (
    AdminDependencies,
    ApiLimits,
    Dependencies,
    TemporalWebUi,
)
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import ShopTerms
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.dashboard import PostgresDashboardRepository
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.risk_list import PostgresRiskListRepository
from durable_orders.store.seed import DEMO, add_products
from durable_orders.store.sessions import PostgresSessionRepository
from tests.api.api_clients import a_key
from tests.fakes.cards import InMemoryCards
from tests.fakes.disputes import InMemoryPaymentRiskReader
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.servers import Temporal
from worker import order_worker

HERE: Final = "http://127.0.0.1:8080"
#: What a browser tells of a form on a page of ours.
FROM_OUR_PAGE: Final = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
_TOKEN: Final = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_SAID: Final = re.compile(r'<p class="said (?:done|refused)" role="\w+">(.*?)</p>', re.S)


def text_of(html: str) -> str:
    """What a person reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def said(answer: httpx.Response) -> str:
    """What the page says about the request before it."""
    found = _SAID.search(answer.text)
    return text_of(found[1]) if found else ""


@dataclass
class Premises:
    """The shop. ``clock`` is how far the office's clock is ahead, in an edge of its own."""

    temporal: Client
    database: Database
    cards: InMemoryCards
    warehouse: InMemoryWarehouse
    usual_edge: FastAPI
    mailer: InMemoryMailer = field(default_factory=InMemoryMailer)
    risks: InMemoryPaymentRiskReader = field(default_factory=InMemoryPaymentRiskReader)
    clock: timedelta = timedelta(0)
    limits: ApiLimits = field(default_factory=ApiLimits)
    placed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = PostgresApiKeyRepository(self.database)
        self.sessions = PostgresSessionRepository(self.database)
        book = PostgresOrderRepository(self.database)
        self.orders = OrderClient(self.temporal, book)
        self.operations = OrderOperations(self.temporal, book)
        self.refunds = RefundClient(self.temporal, PostgresRefundBook(self.database))
        self.dispute_book = PostgresDisputeRepository(self.database)

    def edge(self) -> Dependencies:
        """The parts of an edge of its own, with these limits and this clock."""
        return Dependencies(
            orders=self.orders,
            operations=self.operations,
            refunds=self.refunds,
            **_about_disputes(self.temporal, self.database),
            keys=self.keys,
            limits=self.limits,
            admin=_admin(self.database, lambda: datetime.now(UTC) + self.clock),
        )

    async def key(self, scope: Scope = Scope.OPERATOR) -> tuple[str, Token]:
        """A new key; its name and its token."""
        token = Token.of(secrets.token_bytes(6), secrets.token_bytes(32))
        name = f"{scope}-{token.key_id}"
        await self.keys.add(a_key(token, name, scope))
        return name, token

    @contextlib.asynccontextmanager
    async def operator(
        self, app: FastAPI | None = None, *, base_url: str = HERE
    ) -> AsyncIterator[Operator]:
        """Somebody who has logged in, at this edge or the usual one."""
        name, token = await self.key()
        transport = httpx.ASGITransport(app or self.usual_edge)
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as http:
            somebody = Operator(http, name, token)
            await somebody.log_in()
            yield somebody

    async def place(
        self, *, lines: tuple[tuple[str, int], ...] = (("MUG", 2),), **changed: Any
    ) -> str:
        """An order that is not started; ``changed`` are parts of its basket or its recipient."""
        order_id = f"op-{secrets.token_hex(6)}"
        recipient = Recipient(
            changed.pop("name", "Ada Lovelace"), "ada@example.com", "12 St James's Square"
        )
        basket = {"payment_method": "pm_card_visa", "flagged": False, **changed}
        customer = basket.pop("customer", "cus_1")
        await self.orders.place(Basket(order_id, customer, recipient, lines, **basket))
        self.placed.append(order_id)
        return order_id

    async def start(self, *, until: str = "", **changed: Any) -> str:
        """An order that is started, once it is doing this."""
        order_id = await self.place(**changed)
        await self.orders.start(order_id)
        if until:
            await self.reaches(order_id, until)
        return order_id

    async def completed(self, **changed: Any) -> str:
        order_id = await self.start(**changed)
        await self.ends(order_id, Status.COMPLETED)
        return order_id

    async def reaches(self, order_id: str, doing: str) -> None:
        async def there() -> bool:
            return (await self.orders.status(order_id)).doing.startswith(doing)

        await eventually(there)

    async def ends(self, order_id: str, status: Status) -> None:
        async def there() -> bool:
            return (await self.orders.view(order_id)).order.status is status

        await eventually(there)

    async def history(self, order_id: str) -> list[tuple[str, dict[str, str]]]:
        view = await self.orders.view(order_id)
        return [(line.event, line.detail) for line in view.history]


@dataclass
class Operator:
    """Somebody with a browser and a key."""

    http: httpx.AsyncClient
    name: str
    token: Token

    async def log_in(self) -> httpx.Response:
        answer = await self.http.post(
            "/operator/login", data={"key": str(self.token)}, headers=FROM_OUR_PAGE
        )
        assert answer.status_code == 303
        return answer

    async def form_token(self, path: str = "/operator") -> str:
        """What the forms on this page hold."""
        found = _TOKEN.search((await self.http.get(path)).text)
        assert found
        return found[1]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Open the form at ``path``, fill it in, send it; the page to which that leads."""
        token = await self.form_token(path)
        answer = await self.http.post(
            path, data={"form_token": token, **fields}, headers=FROM_OUR_PAGE
        )
        if answer.status_code == 303:
            return await self.http.get(answer.headers["location"])
        return answer

    async def send_to(self, path: str, **fields: str) -> httpx.Response:
        """Send a form that is on the first page to ``path``."""
        token = await self.form_token()
        data = {"form_token": token, **fields}
        return await self.http.post(path, data=data, headers=FROM_OUR_PAGE)

    async def decide(
        self, order_id: str, name: str, why: str = "", **fields: str
    ) -> httpx.Response:
        return await self.send(f"/operator/orders/{order_id}/{name}", why=why, **fields)


@pytest.fixture(scope="module")
def cards() -> InMemoryCards:
    """As long-lived as the database: payment ids never come twice."""
    return InMemoryCards()


@pytest.fixture(scope="module")
def warehouse() -> InMemoryWarehouse:
    """The same for parcel ids."""
    return InMemoryWarehouse()


@pytest.fixture(scope="module")
async def usual_edge(temporal_server: Temporal, database: Database) -> FastAPI:
    """The edge with its usual limits. One for all: FastAPI works a route out when it is first asked
    for, which takes longer than most tests of it.
    """
    temporal = await temporal_server.connect()
    book = PostgresOrderRepository(database)
    return create_app(
        Dependencies(
            orders=OrderClient(temporal, book),
            operations=OrderOperations(temporal, book),
            refunds=RefundClient(temporal, PostgresRefundBook(database)),
            **_about_disputes(temporal, database),
            keys=PostgresApiKeyRepository(database),
            admin=_admin(database),
        )
    )


def _about_disputes(temporal: Client, database: Database) -> dict[str, Any]:
    book, disputes = PostgresOrderRepository(database), PostgresDisputeRepository(database)
    return {
        "disputes": DisputeClient(PostgresRiskListRepository(database), book, disputes),
        "payment_risks": PaymentRiskClient(temporal, disputes),
    }


def _admin(
    database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AdminDependencies:
    web_ui = TemporalWebUi("http://localhost:8233", "default")
    return AdminDependencies(
        PostgresSessionRepository(database),
        PostgresDashboardRepository(database),
        PostgresFindingRepository(database),
        web_ui,
        now=now,
    )


@pytest.fixture
async def closed_premises(
    temporal_server: Temporal,
    database: Database,
    cards: InMemoryCards,
    warehouse: InMemoryWarehouse,
    usual_edge: FastAPI,
) -> AsyncIterator[Premises]:
    """A shop where nobody works."""
    await add_products(database, DEMO)
    temporal = await temporal_server.connect()
    premises = Premises(temporal, database, cards, warehouse, usual_edge)
    yield premises
    # What nobody worked for is no business of the next test's worker.
    for order_id in premises.placed:
        with contextlib.suppress(RPCError):
            await temporal.get_workflow_handle(workflow_id(order_id)).terminate()


@pytest.fixture
async def premises(closed_premises: Premises) -> AsyncIterator[Premises]:
    """The shop with a worker; refunds of more than 20 euros wait for a person."""
    database = closed_premises.database
    worker = order_worker(
        closed_premises.temporal,
        cards=closed_premises.cards,
        ledger=PostgresPaymentLedger(database),
        warehouse=closed_premises.warehouse,
        mailer=closed_premises.mailer,
        inventory=PostgresInventory(database),
        orders=PostgresOrderRepository(database),
        refunds=PostgresRefundBook(database),
        disputes=closed_premises.dispute_book,
        risks=closed_premises.risks,
        shop=ShopTerms(),
        refund_terms=ShopRefundTerms({"EUR": 20_00}),
    )
    async with worker:
        yield closed_premises


@pytest.fixture
async def operator(premises: Premises) -> AsyncIterator[Operator]:
    """Somebody who has logged in to a shop with a worker."""
    async with premises.operator() as somebody:
        yield somebody
