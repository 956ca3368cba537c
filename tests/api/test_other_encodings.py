"""A database that is not in UTF-8: what it cannot hold is told to whoever has sent it."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from durable_orders.clients.orders import OrderClient
from durable_orders.store.database import connect
from durable_orders.store.migrations import migrate
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from tests.api.api_clients import asking, is_problem
from tests.api.real import wish
from tests.support.servers import Postgres
from tests.support.shop import Shop


@pytest.mark.parametrize(
    "recipient",
    [{"name": "千利休"}, {"address": "1 Tōkyō"}],
    ids=["name", "address"],
)
async def test_a_text_that_it_cannot_hold_is_refused_as_malformed(
    closed_shop: Shop,
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
    recipient: dict[str, str],
) -> None:
    database = connect(await postgres.empty_in("LATIN1"))
    await migrate(database)
    await add_products(database, DEMO)
    orders = OrderClient(closed_shop.temporal, PostgresOrderRepository(database))
    good = wish(order_id="latin-1")
    assert isinstance(good["recipient"], dict)
    bad = wish(order_id="latin-2", recipient=good["recipient"] | recipient)
    async with asking(closed_shop, orders) as http, database.statement() as connection:
        refused = await http.post("/orders", json=bad)
        is_problem(refused, 422, "the database cannot hold a value that it was given")
        assert refused.json()["type"] == "/problems/malformed-request"
        assert not list(await connection.scalars(text("SELECT id FROM orders")))

        assert (await http.post("/orders", json=good)).status_code == 201
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    await database.close()
