"""A shop whose orders are in PostgreSQL, with a worker; its other neighbours are in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from durable_orders.clients.orders import OrderClient
from durable_orders.store.database import Database
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.seed import DEMO, add_products
from tests.fakes.cards import InMemoryCards
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.open_runs import abandon
from tests.support.servers import Temporal
from worker import order_worker


@dataclass(frozen=True)
class ShopWithStore:
    """Its own client of orders, its warehouse, which can be held, and what programs are told."""

    orders: OrderClient
    warehouse: InMemoryWarehouse
    environment: dict[str, str]

    @property
    def without_database(self) -> dict[str, str]:
        """What a program is told that knows of no database."""
        return {k: v for k, v in self.environment.items() if k != "DATABASE_URL"}


@pytest.fixture(scope="module")
async def shop(
    temporal_server: Temporal, database: Database, database_url: str
) -> AsyncIterator[ShopWithStore]:
    await add_products(database, DEMO)
    temporal, warehouse = await temporal_server.connect(), InMemoryWarehouse()
    book = PostgresOrderRepository(database)
    worker = order_worker(
        temporal,
        cards=InMemoryCards(),
        ledger=PostgresPaymentLedger(database),
        warehouse=warehouse,
        mailer=InMemoryMailer(),
        inventory=PostgresInventory(database),
        orders=book,
        refunds=PostgresRefundBook(database),
    )
    async with worker:
        yield ShopWithStore(
            OrderClient(temporal, book),
            warehouse,
            temporal_server.settings | {"DATABASE_URL": database_url},
        )
    await abandon(temporal, database)
