"""A primary that changes: real streaming replication, a hot standby, a promotion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from durable_orders.domain.ports import DatabaseAwayError, NoAnswerError, RefusedError
from durable_orders.store.database import Database, NotWritableError, connect
from durable_orders.store.opening import open_store
from sandbox.postgres import PostgresServer
from tests.support.failover import Pair, running_pair, url_of

_WRITE = text("INSERT INTO written VALUES (:number)")


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two servers that keep their roles."""
    async with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
async def changing(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two servers whose roles a test changes."""
    async with running_pair(tmp_path) as pair:
        yield pair


@pytest.fixture
async def database(pair: Pair) -> AsyncIterator[Database]:
    async with _pool(pair) as database:
        yield database


@pytest.fixture
async def moving(changing: Pair) -> AsyncIterator[Database]:
    """The same, at the pair whose roles change."""
    async with _pool(changing) as database:
        yield database


@contextlib.asynccontextmanager
async def _pool(pair: Pair) -> AsyncIterator[Database]:
    """A pool of five connections that are open, at the primary."""
    database = connect(pair.url, pool_size=5, connect_timeout=5, statement_timeout=10)
    async with database.transaction() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS written"))
        await connection.execute(text("CREATE TABLE written (number integer PRIMARY KEY)"))
    await asyncio.gather(*(_nap(database) for _ in range(5)))
    yield database
    await database.close()


async def test_writes_go_on_at_the_new_primary_when_the_old_one_is_gone(
    changing: Pair, moving: Database
) -> None:
    await _write(moving, 1)
    await changing.kill_primary()
    await _write_until_it_succeeds(moving, 2)
    assert await _numbers(moving) == [1, 2]
    assert await moving.healthy()


async def test_writes_go_on_when_the_old_primary_lives_and_takes_only_reads(
    changing: Pair, moving: Database
) -> None:
    await _write(moving, 1)
    await changing.switch_over()
    await _write_until_it_succeeds(moving, 2)
    await asyncio.gather(*(_nap(moving) for _ in range(5)))  # each connection, once
    assert await _numbers(moving) == [1, 2]
    assert not await _backends(changing.primary)


async def test_writes_go_on_when_the_old_primary_is_frozen_with_its_connections(
    changing: Pair, moving: Database
) -> None:
    await _write(moving, 1)
    await changing.freeze_primary()
    await _write_until_it_succeeds(moving, 2)
    assert await _numbers(moving) == [1, 2]


async def test_a_write_refused_in_mid_transaction_throws_all_connections_away(
    database: Database, pair: Pair
) -> None:
    with pytest.raises(NotWritableError):
        await _write(database, 1, first="SET TRANSACTION READ ONLY")
    before = await _backends(pair.primary)
    await asyncio.gather(*(_nap(database) for _ in range(5)))
    assert not before & await _backends(pair.primary)


async def test_a_write_in_a_snapshot_of_ours_is_a_bug_and_not_a_failover(
    database: Database,
) -> None:
    with pytest.raises(RefusedError, match="25006"):
        async with database.snapshot() as connection:
            await connection.execute(_WRITE, {"number": 1})


async def test_a_standby_that_is_named_first_is_passed_over(pair: Pair) -> None:
    database = connect(url_of(pair.standby, pair.primary))
    async with database.statement() as connection:
        assert not await connection.scalar(text("SELECT pg_is_in_recovery()"))
    await database.close()


async def test_a_dead_host_that_is_named_first_is_passed_over(pair: Pair) -> None:
    for dead in ("/nowhere", "127.0.0.1:1"):
        database = connect(pair.url.replace("host=", f"host={dead},"))
        assert await database.healthy()
        await database.close()


async def test_a_standby_alone_is_not_healthy_and_says_why(pair: Pair) -> None:
    database = connect(url_of(pair.standby))
    assert not await database.healthy()
    with pytest.raises(NotWritableError, match="takes no writes"):
        await database.require_writable()
    await database.close()
    with pytest.raises(DatabaseAwayError, match="takes no writes"):
        async with open_store(url_of(pair.standby)):
            pass


async def test_a_standby_serves_who_only_reads_and_is_not_ready_for_orders(pair: Pair) -> None:
    database = connect(url_of(pair.standby) + "&target_session_attrs=any")
    async with database.statement() as connection:
        assert await connection.scalar(text("SELECT pg_is_in_recovery()"))
    assert not await database.healthy()
    await database.close()


async def _write(database: Database, number: int, *, first: str = "SELECT 1") -> None:
    async with database.transaction() as connection:
        await connection.execute(text(first))
        await connection.execute(_WRITE, {"number": number})


async def _write_until_it_succeeds(database: Database, number: int) -> None:
    """As Temporal does: again after each error that is no refusal."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(NoAnswerError):
                await _write(database, number)
                return
            await asyncio.sleep(0.1)


async def _numbers(database: Database) -> list[int]:
    async with database.statement() as connection:
        return sorted(await connection.scalars(text("SELECT number FROM written")))


async def _nap(database: Database) -> None:
    async with database.statement() as connection:
        await connection.execute(text("SELECT pg_sleep(0.2)"))


async def _backends(server: PostgresServer) -> set[int]:
    database = connect(server.url + "&target_session_attrs=any", pool_size=1)
    clients = text(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with database.statement() as connection:
        found = set(await connection.scalars(clients))
    await database.close()
    return found
