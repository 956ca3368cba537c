"""From an empty database to what the code expects, once, however many start at once."""

from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from store.database import Database, connect
from store.migrations import migrate
from store.tables import metadata
from tests.conftest import Postgres

# What alembic's comparison does not look at: constraints and indexes, word by word.
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
    """Every column, constraint and index, in PostgreSQL's own words."""
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


async def test_several_that_migrate_at_once_take_turns(postgres: Postgres) -> None:
    url = await postgres.empty()
    databases = [connect(url) for _ in range(4)]
    # Threads, because alembic keeps the migration it is at in a module: as several processes would.
    revisions = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, _migrate_and_close(url)) for _ in databases)
    )
    assert len(set(revisions)) == 1
    assert "orders.status" in await definitions(databases[0])
    for database in databases:
        await database.close()


async def _migrate_and_close(url: str) -> str:
    database = connect(url)
    try:
        return await migrate(database)
    finally:
        await database.close()
