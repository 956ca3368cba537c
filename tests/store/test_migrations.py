"""Migrations: from an empty database to the current schema, also by several processes at once."""

from __future__ import annotations

import asyncio
import re

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.store.database import Database, connect
from durable_orders.store.migrations import is_migrated, migrate
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.tables import metadata
from tests.store.shop import NOW
from tests.support.servers import Postgres

# Definitions of constraints and indexes, which alembic's comparison ignores.
_DEFINITIONS = """
SELECT conrelid::regclass || ' ' || conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT table_name || '.' || column_name,
       concat_ws(' ', data_type, is_nullable, column_default, is_identity, identity_generation)
FROM information_schema.columns WHERE table_schema = 'public'
"""


async def definitions(database: Database) -> dict[str, str]:
    """Definitions of all columns, constraints and indexes, as PostgreSQL prints them."""
    async with database.engine.connect() as connection:
        rows = (await connection.execute(text(_DEFINITIONS))).all()
    return {row.name: row.definition for row in rows if "alembic_version" not in row.name}


async def test_the_migrations_build_what_the_code_expects(postgres: Postgres) -> None:
    migrated, declared = connect(await postgres.empty()), connect(await postgres.empty())
    await migrate(migrated)
    async with declared.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    assert await definitions(migrated) == await definitions(declared)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with migrated.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await migrated.close()
    await declared.close()


async def test_migrating_again_changes_nothing(postgres: Postgres) -> None:
    database = connect(await postgres.empty())
    revision = await migrate(database)
    before = await definitions(database)
    assert await migrate(database) == revision
    assert await definitions(database) == before
    await database.close()


async def test_a_database_is_ready_when_it_has_what_this_version_needs(
    postgres: Postgres,
) -> None:
    database = connect(await postgres.empty())
    assert not await is_migrated(database)
    await migrate(database, to="0001")
    assert not await is_migrated(database)
    await migrate(database)
    assert await is_migrated(database)
    # The next version migrates before it is deployed: that must not take this one out of service.
    await _execute(database, "UPDATE alembic_version SET version_num = 'later'")
    assert await is_migrated(database)
    await database.close()


async def test_several_that_migrate_at_once_take_turns(postgres: Postgres) -> None:
    url = await postgres.empty()
    databases = [connect(url) for _ in range(4)]
    # In threads, as several processes would: alembic keeps the running migration in a module.
    revisions = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, _migrate_and_close(url)) for _ in databases)
    )
    assert len(set(revisions)) == 1
    assert "orders.status" in await definitions(databases[0])
    for database in databases:
        await database.close()


_BEFORE_FLAGS = (
    "INSERT INTO products (sku, name, price, currency, on_hand) VALUES ('MUG', 'Mug', 5, 'EUR', 9)",
    "INSERT INTO orders (id, customer_id, recipient_name, recipient_email, recipient_address,"
    " payment_method, total, currency, status, placed_at, updated_at) VALUES"
    " ('{id}', 'cus_1', 'Ada', 'ada@example.org', 'Berlin', 'pm_card_visa', 5, 'EUR', 'paid',"
    " now(), now())",
    "INSERT INTO order_lines (order_id, sku, position, name, quantity, unit_price)"
    " VALUES ('{id}', 'MUG', 0, 'Mug', 1, 5)",
    "INSERT INTO payments (order_id, attempt, payment_id, amount, currency, state, captured)"
    " VALUES ('{id}', 1, 'pi_{id}', 5, 'EUR', 'captured', 5)",
)


async def test_orders_from_before_0002_are_kept_and_its_code_goes_on_working(
    postgres: Postgres,
) -> None:
    database = connect(await postgres.empty())
    assert await migrate(database, to="0001") == "0001"
    await _execute(database, *(statement.format(id="old") for statement in _BEFORE_FLAGS))
    await migrate(database)
    _, *order = _BEFORE_FLAGS  # the product is there already
    await _execute(database, *(statement.format(id="late") for statement in order))

    book = PostgresOrderRepository(database)
    for order_id in ("old", "late"):
        view = await book.view(order_id)
        assert (view.order.status, view.order.flagged) == (Status.PAID, False)
        assert view.order.key_prefix == await _name_of(database)
        assert view.payments[0].captured == Money(5, "EUR")
        await book.move(order_id, Status.FULFILLED, None, NOW)
        await book.move(order_id, Status.SHIPPED, None, NOW)
    await database.close()


async def test_each_database_has_an_installation_of_its_own(postgres: Postgres) -> None:
    databases = [connect(await postgres.empty()) for _ in range(3)]
    for database in databases:
        await migrate(database)
    names = {await _name_of(database) for database in databases}
    assert len(names) == 3
    assert all(re.fullmatch(r"[a-z][a-z0-9]{11}", name) for name in names)
    for database in databases:
        await database.close()


async def _name_of(database: Database) -> str:
    async with database.engine.connect() as connection:
        return str(await connection.scalar(text("SELECT name FROM installation")))


async def _execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def _migrate_and_close(url: str) -> str:
    database = connect(url)
    try:
        return await migrate(database)
    finally:
        await database.close()
