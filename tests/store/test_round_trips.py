"""Round trips to PostgreSQL besides the statements themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from durable_orders.store.database import Database, connect

PING = ";"
#: The end of each BEGIN, in the same round trip.
LIMIT = "SET LOCAL idle_in_transaction_session_timeout = '60s';"
BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED;{LIMIT}"


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = connect(database_url, pool_size=1)
    yield database
    await database.close()


@pytest.fixture
async def sent(alone: Database) -> list[str]:
    """Queries sent from now on, except prepared statements, which are the test's own."""
    sent: list[str] = []
    async with alone.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver
        driver.add_query_logger(lambda query: sent.append(query.query))
    return sent


async def test_a_statement_takes_a_ping_and_nothing_else(alone: Database, sent: list[str]) -> None:
    async with alone.statement() as connection:
        await connection.execute(text("SELECT 1"))
    assert sent == [PING]


async def test_a_transaction_adds_its_begin_and_its_end(alone: Database, sent: list[str]) -> None:
    async with alone.transaction() as connection:
        await connection.execute(text("SELECT 1"))
    assert sent == [PING, BEGIN, "COMMIT;"]


async def test_a_snapshot_too(alone: Database, sent: list[str]) -> None:
    async with alone.snapshot() as connection:
        await connection.execute(text("SELECT 1"))
    begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{LIMIT}"
    assert sent == [PING, begin, "COMMIT;"]


async def test_what_runs_before_a_transaction_leaves_it_one(
    alone: Database, sent: list[str]
) -> None:
    for begun in (alone.statement, alone.snapshot, alone.transaction):
        async with begun() as connection:
            await connection.execute(text("SELECT 1"))
    sent.clear()
    async with alone.transaction() as connection:
        await connection.execute(text("SELECT 2"))
    assert sent[1:] == [BEGIN, "COMMIT;"]
