"""Two installations on one account of every provider: each sees and touches its own alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from demo.environment import ADA
from demo.worker_process import WorkerProcess
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.audit.messages import AuditReport
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.database import Database, connect
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.migrations import migrate
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from sandbox.books_client import BooksClient, OrderBooks
from sandbox.env_file import settings
from sandbox.fault_client import FaultClient
from sandbox.temporal_server import TemporalServer
from sandbox.world import StandInServer
from tests.support.eventually import eventually
from tests.support.servers import Postgres, Temporal

AT_ONCE = AuditTerms(grace=timedelta(0))


class Clock:
    """The stand-in's time; ``advance`` lets days pass."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(frozen=True)
class Installation:
    """A shop with a database, a namespace and a worker of its own."""

    name: str
    database: Database
    orders: OrderClient
    audits: AuditClient

    async def buys(self, order_id: str) -> None:
        """Ada orders a mug, and checks out."""
        basket = Basket(order_id, "customer-1", ADA, (("MUG", 1),), "pm_card_visa")
        await self.orders.place(basket)
        await self.orders.start(order_id)

    async def completes(self, order_id: str) -> Outcome:
        await self.buys(order_id)
        return await self.orders.result(order_id)

    async def audit(self) -> AuditReport:
        return await self.audits.run_now(AT_ONCE)


@dataclass(frozen=True)
class Shared:
    """The account that both installations use."""

    url: str
    clock: Clock
    books: BooksClient
    faults: FaultClient

    async def page(self, order_id: str) -> OrderBooks:
        return await self.books.order(order_id)

    async def marks(self) -> dict[str, str]:
        """The mark of every payment and refund, by its id."""
        key = {"Authorization": "Bearer sk_test_sandbox"}
        async with httpx.AsyncClient(base_url=self.url, headers=key) as http:
            lists = [
                (await http.get(path, params={"limit": 100})).json()["data"]
                for path in ("/v1/payment_intents", "/v1/refunds")
            ]
        return {one["id"]: one["metadata"]["installation"] for each in lists for one in each}


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    clock = Clock()
    async with (
        StandInServer(tmp_path_factory.mktemp("world"), clock=clock) as world,
        FaultClient(world.url) as faults,
    ):
        yield Shared(world.url, clock, BooksClient(world.url), faults)


@pytest.fixture(scope="module")
async def two(
    shared: Shared, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Installation, Installation]]:
    """One that holds the money until the warehouse has accepted, and one that takes it at once."""
    state = tmp_path_factory.mktemp("two")
    capture = {"one": "at_fulfillment", "two": "at_checkout"}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            TemporalServer(state / "temporal", durable=False, namespaces=list(capture))
        )
        opened = []
        for name, when in capture.items():
            url = await postgres.empty()
            database = connect(url)
            stack.push_async_callback(database.close)
            await migrate(database)
            await add_products(database, DEMO)
            configured = settings(
                temporal_address=server.address,
                namespace=name,
                ui_url="",
                database_url=url,
                stand_in_url=shared.url,
            )
            worker = WorkerProcess(state / name, configured | {"CAPTURE": when})
            await worker.start()
            stack.push_async_callback(worker.stop)
            temporal = await Temporal(server.address, name).connect()
            opened.append(
                Installation(
                    (await PostgresInstallationRepository(database).get()).name,
                    database,
                    OrderClient(temporal, PostgresOrderRepository(database)),
                    AuditClient(temporal),
                )
            )
        one, other = opened
        yield one, other  # an order waits until its worker is ready


async def test_the_same_order_is_charged_shipped_and_mailed_in_both(
    two: tuple[Installation, Installation], shared: Shared
) -> None:
    one, other = two
    assert one.name != other.name
    for shop in two:
        assert (await shop.completes("1001")).status is Status.COMPLETED

    books = await shared.page("1001")
    assert [payment.captured for payment in books.payments] == [14_50, 14_50]
    assert len({parcel.id for parcel in books.parcels}) == 2
    assert len(books.mails_of("confirmation")) == 2
    parcels = [(await shop.orders.view("1001")).parcels[0].parcel_id for shop in two]
    assert sorted(parcels) == sorted(parcel.id for parcel in books.parcels)
    marks = await shared.marks()
    assert sorted(marks[payment.id] for payment in books.payments) == sorted(
        shop.name for shop in two
    )
    keys = {mail.key for mail in books.mails}
    assert keys == {f"{shop.name}:order-1001:mail:confirmation" for shop in two}


async def test_an_order_that_is_undone_in_one_stands_in_the_other(
    two: tuple[Installation, Installation], shared: Shared
) -> None:
    one, other = two
    kept = await one.completes("1002")
    full = await shared.faults.inject(
        "warehouse.fulfillments.create", "refuse", order_id="1002", reason="no mug left"
    )
    undone = await other.completes("1002")
    await shared.faults.remove(full)

    assert (kept.status, undone.status) == (Status.COMPLETED, Status.REFUNDED)
    books = await shared.page("1002")
    assert [(payment.captured, payment.refunded) for payment in books.payments] == [
        (14_50, 0),
        (14_50, 14_50),
    ]
    assert len(books.parcels) == 1
    marks = await shared.marks()
    assert {marks[refund.id] for refund in books.refunds} == {other.name}


async def test_what_the_other_holds_is_left_alone_and_not_reported_also_after_a_day(
    two: tuple[Installation, Installation], shared: Shared
) -> None:
    one, other = two
    await one.completes("1003")  # money that was taken
    away = await shared.faults.inject("warehouse.fulfillments.create", "error", order_id="1004")
    await one.buys("1004")

    async def held() -> bool:
        return [payment.capturable for payment in (await shared.page("1004")).payments] == [14_50]

    await eventually(held)
    for _ in range(2):
        report = await other.audit()
        assert (report.found, report.repaired, report.flagged) == ({}, 0, 0)
        shared.clock.ahead += 25 * 3600.0
    assert await held()
    await shared.faults.remove(away)
    assert (await one.orders.result("1004")).status is Status.COMPLETED
    for shop in two:
        assert (await shop.audit()).found == {}
        assert await find_inconsistencies(shop.database) == []
