"""Translation of the database's errors, which must not leak personal data."""

from __future__ import annotations

import asyncio

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import (
    DatabaseAwayError,
    InvalidValueError,
    LockedOutError,
    NoAnswerError,
    RefusedError,
)
from durable_orders.store.connector import Connector
from durable_orders.store.database import (
    Database,
    MigrationNeededError,
    connect,
)
from durable_orders.store.orders import PostgresOrderRepository
from tests.store.shop import NOW, RECIPIENT, Shop
from tests.support.charges import announce
from tests.support.servers import Postgres


@pytest.mark.parametrize(
    "url",
    ["postgresql://nobody@127.0.0.1:1/orders", "postgresql://nobody@/orders?host=/nowhere"],
    ids=["tcp", "socket"],
)
async def test_a_database_that_is_not_there_gives_no_answer(url: str) -> None:
    database = connect(url)
    with pytest.raises(NoAnswerError):
        await PostgresOrderRepository(database).get("o-1")
    assert not await database.healthy()
    await database.close()


async def test_a_database_that_is_there_is_healthy(database: Database) -> None:
    assert await database.healthy()


async def test_connections_lost_between_two_calls_go_unnoticed(
    shop: Shop, database_url: str
) -> None:
    order = await shop.placed()
    await asyncio.gather(*(shop.orders.get(order.id) for _ in range(10)))
    await _cut_all_connections(database_url)
    assert await shop.orders.get(order.id) == order


async def test_a_connection_lost_in_the_middle_gives_no_answer_and_changes_nothing(
    shop: Shop, database_url: str
) -> None:
    order = await shop.placed()
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        moving = asyncio.create_task(shop.orders.move(order.id, Status.PAID, None, NOW))
        waiting = (
            "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(10):
            while not await shop.sql(f"SELECT 1 {waiting}"):
                pass
        await shop.sql(f"SELECT pg_terminate_backend(pid) {waiting}")
        with pytest.raises(NoAnswerError):
            await moving
    assert (await shop.orders.get(order.id)).status is Status.PLACED
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    assert (await shop.orders.get(order.id)).status is Status.PAID


async def test_a_statement_that_takes_too_long_gives_no_answer(
    shop: Shop, database_url: str
) -> None:
    order = await shop.placed()
    impatient = connect(database_url, statement_timeout=0.2)
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        with pytest.raises(NoAnswerError):
            await PostgresOrderRepository(impatient).move(order.id, Status.PAID, None, NOW)
    await impatient.close()


async def test_a_database_without_our_tables_says_what_to_do(postgres: Postgres) -> None:
    database = connect(await postgres.empty())
    with pytest.raises(MigrationNeededError, match="migrate it"):
        await PostgresOrderRepository(database).get("o-1")
    await database.close()


async def test_a_user_the_database_does_not_let_in_is_told_so(database_url: str) -> None:
    stranger = connect(database_url.replace("postgres@", "stranger@"))
    with pytest.raises(LockedOutError):
        await PostgresOrderRepository(stranger).get("o-1")
    await stranger.close()


async def test_a_refusal_names_the_constraint_and_no_personal_data(shop: Shop) -> None:
    order, other = await shop.opened(), await shop.placed()
    with pytest.raises(RefusedError, match="payments_payment_id_key") as refused:
        await announce(shop.ledger, other, payment_id=f"pi_{order.id}")
    assert refused.value.__cause__ is None

    with pytest.raises(RefusedError, match="orders_something_to_pay") as refused:
        async with shop.database.transaction() as connection:
            await connection.exec_driver_sql(f"UPDATE orders SET total = 0 WHERE id = '{order.id}'")  # noqa: S608 - ours
    assert RECIPIENT.email not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["zero\0byte", "half \ud800 a character"])
async def test_a_text_the_database_cannot_hold_is_the_callers_mistake(
    shop: Shop, text: str
) -> None:
    order = await shop.placed()
    with pytest.raises(InvalidValueError, match="cannot hold a value"):
        await shop.orders.note(order.id, text, NOW)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT CAST(:value AS smallint)",  # the driver's
        "SELECT CAST(CAST(:value AS bigint) AS smallint)",  # the server's
    ],
)
async def test_a_number_that_is_too_large_is_the_callers_mistake(
    database: Database, statement: str
) -> None:
    with pytest.raises(InvalidValueError):
        async with database.statement() as connection:
            await connection.execute(text(statement), {"value": 100_000})


async def test_a_prepared_statement_that_is_gone_is_no_refusal(database_url: str) -> None:
    database = connect(database_url, pool_size=1)
    async with database.statement() as connection:
        await connection.execute(text("SELECT 1"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver
        await driver.execute("DEALLOCATE ALL")
    with pytest.raises(DatabaseAwayError, match="26000"):
        await _select(database, "SELECT 1")
    assert await _select(database, "SELECT 1") == 1
    await database.close()


async def test_a_prepared_statement_whose_name_is_taken_is_no_refusal(database_url: str) -> None:
    database = connect(database_url, pool_size=1)
    await _select(database, "SELECT 0")
    await _select(database, "SELECT 0")  # the first with a ping, a statement of the driver's own
    async with database.statement() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver
        name = (await driver.prepare("SELECT 0")).get_name()
        last = int(name.removeprefix("__asyncpg_stmt_").removesuffix("__"), 16)
        for number in range(last + 1, last + 30):
            await driver.execute(f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT 2")
    with pytest.raises(DatabaseAwayError, match="42P05"):
        await _select(database, "SELECT 1")
    assert await _select(database, "SELECT 1") == 1
    await database.close()


async def _select(database: Database, statement: str) -> object:
    async with database.statement() as connection:
        return await connection.scalar(text(statement))


async def _cut_all_connections(url: str) -> None:
    other = connect(url, pool_size=1)
    async with other.transaction() as connection:
        await connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await other.close()


_LOST_PLACE = asyncpg.InternalClientError("cannot switch to state 12; another operation (2)")


async def test_a_driver_that_lost_its_place_in_a_conversation_gives_no_answer(
    database: Database,
) -> None:
    with pytest.raises(DatabaseAwayError, match="InternalClientError"):
        async with database.statement():
            raise _LOST_PLACE
    assert await database.healthy()


async def test_a_driver_that_lost_its_place_while_it_connects_gives_no_answer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> bool:
        raise _LOST_PLACE

    database = connect(database_url)
    with monkeypatch.context() as broken:
        broken.setattr(Connector, "_look", lost)
        with pytest.raises(DatabaseAwayError, match="InternalClientError"):
            await database.require_writable()
    assert await database.healthy()
    await database.close()


_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def _waiting(shop: Shop, *, but: int = 0) -> int:
    """The process id of the backend that waits for a lock."""
    async with asyncio.timeout(10):
        while True:
            found = [row["pid"] for row in await shop.sql(_WAITING) if row["pid"] != but]
            if found:
                return int(found[0])


async def _count_lines(database: Database) -> int:
    [row] = await database.fetch("SELECT count(*) AS lines FROM order_history")
    return int(row.lines)


async def test_a_fetch_whose_connection_ends_is_tried_once_more(shop: Shop) -> None:
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        counting = asyncio.create_task(_count_lines(shop.database))
        first = await _waiting(shop)
        await shop.sql("SELECT pg_terminate_backend(:pid)", pid=first)
        await _waiting(shop, but=first)
    assert await counting >= 0


async def test_a_fetch_whose_connection_ends_twice_gives_no_answer(shop: Shop) -> None:
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        counting = asyncio.create_task(_count_lines(shop.database))
        first = 0
        for _ in range(2):
            first = await _waiting(shop, but=first)
            await shop.sql("SELECT pg_terminate_backend(:pid)", pid=first)
        with pytest.raises(DatabaseAwayError, match="gave no answer"):
            await counting


async def test_a_fetch_that_takes_too_long_is_not_tried_again(
    shop: Shop, database_url: str
) -> None:
    impatient = connect(database_url, statement_timeout=0.2)
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        with pytest.raises(DatabaseAwayError, match="TimeoutError"):
            await _count_lines(impatient)
    await impatient.close()


async def test_a_fetch_that_is_cancelled_leaves_a_pool_that_works(
    shop: Shop, database_url: str
) -> None:
    alone = connect(database_url, pool_size=1)
    async with shop.database.transaction() as blocker:
        await blocker.exec_driver_sql("LOCK TABLE order_history")
        counting = asyncio.create_task(_count_lines(alone))
        await _waiting(shop)
        counting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await counting
    assert await _count_lines(alone) >= 0
    await alone.close()


async def test_what_is_lost_on_one_connection_is_lost_on_its_siblings(database_url: str) -> None:
    database = connect(database_url, pool_size=3)

    async def backend() -> int:
        [row] = await database.fetch("SELECT pg_backend_pid() AS pid, pg_sleep(0.2)")
        return int(row.pid)

    before = set(await asyncio.gather(*(backend() for _ in range(3))))
    with pytest.raises(DatabaseAwayError):
        await database.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
    after = set(await asyncio.gather(*(backend() for _ in range(3))))
    assert len(before) == len(after) == 3
    assert not before & after
    await database.close()


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("SELECT no_such_function(1)", MigrationNeededError, "migrate it"),
        ("SELECT 1 / 0", RefusedError, "22012"),
        ("SELECT CAST(CAST(100000 AS bigint) AS smallint)", InvalidValueError, "22003"),
        ("INSERT INTO installation (name) VALUES ('another')", RefusedError, "installation_pkey"),
    ],
)
async def test_errors_of_a_fetch_are_told_as_those_of_a_transaction(
    database: Database, statement: str, error: type[Exception], said: str
) -> None:
    for _ in range(2):
        with pytest.raises(error, match=said) as fetched:
            await database.fetch(statement)
        with pytest.raises(error, match=said) as executed:
            async with database.transaction() as connection:
                await connection.execute(text(statement))
        assert str(fetched.value) == str(executed.value)
        assert fetched.value.__cause__ is None
    assert await database.fetch("SELECT 1")
