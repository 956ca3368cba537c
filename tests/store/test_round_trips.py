"""Round trips to PostgreSQL besides the statements themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from durable_orders.store.database import Database, connect
from sandbox.round_trips import RoundTrips

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
async def idle(database_url: str) -> AsyncIterator[Database]:
    """The same, whose connection has always not been used for too long."""
    database = connect(database_url, pool_size=1, ping_after=0)
    yield database
    await database.close()


@asynccontextmanager
async def sent_by(database: Database) -> AsyncIterator[list[str]]:
    """Queries sent from now on, except prepared statements, which are the test's own."""
    sent: list[str] = []
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver
        driver.add_query_logger(lambda query: sent.append(query.query))
    yield sent


async def test_a_statement_takes_nothing_else(alone: Database) -> None:
    async with sent_by(alone) as sent, alone.statement() as connection:
        await connection.execute(text("SELECT 1"))
    assert sent == []


async def test_a_connection_that_was_idle_is_pinged_first(idle: Database) -> None:
    async with sent_by(idle) as sent:
        for _ in range(2):
            async with idle.statement() as connection:
                await connection.execute(text("SELECT 1"))
    assert sent == [PING, PING]


async def test_a_transaction_adds_its_begin_and_its_end(alone: Database) -> None:
    async with sent_by(alone) as sent, alone.transaction() as connection:
        await connection.execute(text("SELECT 1"))
    assert sent == [BEGIN, "COMMIT;"]


async def test_a_snapshot_too(alone: Database) -> None:
    async with sent_by(alone) as sent, alone.snapshot() as connection:
        await connection.execute(text("SELECT 1"))
    begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{LIMIT}"
    assert sent == [begin, "COMMIT;"]


async def test_what_runs_before_a_transaction_leaves_it_one(alone: Database) -> None:
    for begun in (alone.statement, alone.snapshot, alone.transaction):
        async with begun() as connection:
            await connection.execute(text("SELECT 1"))
    await alone.fetch("SELECT 1")
    async with sent_by(alone) as sent, alone.transaction() as connection:
        await connection.execute(text("SELECT 2"))
    assert sent == [BEGIN, "COMMIT;"]


@pytest.fixture
async def trips(database_url: str) -> AsyncIterator[RoundTrips]:
    async with RoundTrips(database_url) as trips:
        yield trips


async def test_a_fetch_is_one_round_trip(trips: RoundTrips) -> None:
    database = connect(trips.url, pool_size=1)
    [row] = await database.fetch("SELECT $1::int + 1 AS next", 1)
    assert row.next == 2
    trips.take()
    await database.fetch("SELECT $1::int + 1 AS next", 1)
    assert trips.take() == 1
    await database.close()
