"""A pooler between us and PostgreSQL: a real pgbouncer with its default configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import LockedOutError, NoAnswerError
from durable_orders.store.database import Database, connect
from durable_orders.store.migrations import migrate
from tests.store.shop import NOW, Shop
from tests.support.pooler import needs_pgbouncer, running_pooler
from tests.support.servers import Postgres

pytestmark = needs_pgbouncer


@pytest.fixture
async def pooled_url(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    async with running_pooler(tmp_path / "pooler", database_url) as url:
        yield url


async def test_two_pools_share_the_poolers_few_backends(pooled_url: str) -> None:
    pools = [connect(pooled_url, pool_size=10) for _ in range(2)]

    async def ask(database: Database, number: int) -> None:
        given = {"number": number}
        async with database.transaction() as connection:
            assert await connection.scalar(text("SELECT CAST(:number AS int)"), given) == number
            assert await connection.scalar(text("SELECT CAST(:number AS int) + 1"), given)
        async with database.statement() as connection:
            assert await connection.scalar(text("SELECT CAST(:number AS int)"), given) == number
        async with database.snapshot() as connection:
            assert await connection.scalar(text("SELECT CAST(:number AS int)"), given) == number

    for _ in range(5):
        await asyncio.gather(*(ask(pool, number) for pool in pools for number in range(10)))
    assert all([await pool.healthy() for pool in pools])
    await asyncio.gather(*(pool.close() for pool in pools))


async def test_orders_are_stored_and_read_through_it(pooled_url: str) -> None:
    shop = Shop(connect(pooled_url))
    order = await shop.placed()
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    assert (await shop.orders.get(order.id)).status is Status.PAID
    await shop.database.close()


async def test_an_empty_database_is_migrated_through_it(postgres: Postgres, tmp_path: Path) -> None:
    async with running_pooler(tmp_path / "pooler", await postgres.empty()) as url:
        database = connect(url, pool_size=1)
        assert await migrate(database) == await migrate(database)
        await database.close()


async def test_a_frozen_process_still_keeps_no_lock_for_ever_and_others_settings_stay_theirs(
    pooled_url: str, database_url: str
) -> None:
    database = connect(pooled_url, pool_size=1)
    limit = text("SHOW idle_in_transaction_session_timeout")
    async with database.transaction() as connection:
        assert await connection.scalar(limit) == "1min"
    async with database.statement() as connection:
        assert await connection.scalar(limit) == "0"
    await database.close()


async def test_no_prepared_statement_is_left_in_the_poolers_backends(pooled_url: str) -> None:
    database = connect(pooled_url, pool_size=3)
    prepared = text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
    for _ in range(3):
        async with database.statement() as connection:
            assert await connection.scalar(prepared) == 0
    await database.close()


async def test_statement_mode_is_refused_with_a_sentence(database_url: str, tmp_path: Path) -> None:
    async with running_pooler(tmp_path / "pooler", database_url, mode="statement") as url:
        database = connect(url)
        with pytest.raises(LockedOutError, match="pool_mode = transaction"):
            await database.require_writable()
        await database.close()


async def test_a_parameter_that_the_pooler_does_not_take_is_named(pooled_url: str) -> None:
    database = connect(f"{pooled_url}?options=-c%20jit%3Doff")
    with pytest.raises(LockedOutError, match="the connection pooler refuses options: take it out"):
        await database.require_writable()
    await database.close()


async def test_a_pooler_that_ends_gives_no_answer(database_url: str, tmp_path: Path) -> None:
    async with running_pooler(tmp_path / "pooler", database_url) as url:
        database = connect(url)
        await database.require_writable()
    with pytest.raises(NoAnswerError):
        await database.require_writable()
    await database.close()


async def test_statements_of_many_keep_their_parameters_through_it(pooled_url: str) -> None:
    """To prepare a statement and to run it are two round trips, and both have the same backend."""
    database = connect(pooled_url, pool_size=20)

    async def ask(number: int) -> None:
        columns = ", ".join(f"CAST($1 AS bigint) + {column}" for column in range(number % 7 + 1))
        for _ in range(20):
            [row] = await database.fetch(f"SELECT {columns}", number)
            assert tuple(row) == tuple(number + column for column in range(number % 7 + 1))

    await asyncio.gather(*map(ask, range(20)))
    await database.close()
