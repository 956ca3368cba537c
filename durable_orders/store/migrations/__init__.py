"""Schema migrations with Alembic.

Every migration leaves the running version working: add first, deploy, remove later.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.process import PROGRAM
from durable_orders.store.database import Database
from durable_orders.store.tables import metadata

# Advisory lock against concurrent migrations; any number that nothing else locks.
_LOCK: Final = 4_710_815_061_123

#: The first of these columns that is not there.
_MISSING_COLUMN: Final = text("""
SELECT needed.table_name || '.' || needed.column_name
FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[])) WITH ORDINALITY
     AS needed (table_name, column_name, number)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass(needed.table_name) AND attname = needed.column_name
      AND NOT attisdropped
)
ORDER BY needed.number LIMIT 1
""")


class SchemaVersionError(Exception):
    """The schema of the database does not fit this version of the code.

    ``found`` is the revision of the schema, None when the database has none of our tables;
    ``needed`` is the revision that this version needs.
    """

    def __init__(self, found: str | None, needed: str, *, lacks: str | None = None) -> None:
        if lacks is not None:
            problem = (
                f"the database is at revision {found}, which this version of durable-orders does "
                f"not know, and it lacks {lacks}: it needs revision {needed} or a newer one. Name "
                "the database of durable-orders, or install the version that migrated it"
            )
        else:
            is_at = "has no schema yet" if found is None else f"is at revision {found}"
            problem = (
                f"the database {is_at}, and this version of durable-orders needs revision {needed}:"
                f" run {PROGRAM} store migrate"
            )
        super().__init__(problem)
        self.found = found
        self.needed = needed


async def migrate(database: Database, *, to: str = "head") -> str:
    """Upgrade the database to revision ``to`` in one transaction; return its revision then.

    Safe to repeat, and to run from several processes at once. A newer revision is left as it is.
    Raises ``SchemaVersionError`` when the revision is another program's, ``NoAnswerError`` or
    ``RefusedError``; then nothing was changed.
    """
    async with database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        at = await _revision(connection)
        if at is None or at in _known():
            return await connection.run_sync(_upgrade, to)
        await _check_columns(connection, at)
        return at


async def check_schema(database: Database) -> None:
    """Check that the schema has everything that this version of the code needs.

    A newer revision passes: migrations only add before a deploy. Raises ``SchemaVersionError`` or
    ``NoAnswerError``.
    """
    needed, *older = _known()
    async with database.statement() as connection:
        at = await _revision(connection)
        if at is None or at in older:
            raise SchemaVersionError(at, needed)
        if at != needed:
            await _check_columns(connection, at)


async def is_migrated(database: Database) -> bool:
    """Whether ``check_schema`` passes. Raises ``NoAnswerError``."""
    try:
        await check_schema(database)
    except SchemaVersionError:
        return False
    return True


async def _revision(connection: AsyncConnection) -> str | None:
    """Return the revision of the schema, None when there is none."""
    if not await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        return None
    at: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return at


async def _check_columns(connection: AsyncConnection, at: str) -> None:
    """Raise ``SchemaVersionError`` when a column is missing: ``at`` is no newer revision of ours,
    but another program's.
    """
    columns = [column for table in metadata.sorted_tables for column in table.columns]
    names = {
        "tables": [column.table.name for column in columns],
        "columns": [column.name for column in columns],
    }
    lacks = await connection.scalar(_MISSING_COLUMN, names)
    if lacks is not None:
        raise SchemaVersionError(at, _known()[0], lacks=lacks)


@functools.cache
def _known() -> tuple[str, ...]:
    """The revisions this version knows, newest first."""
    scripts = ScriptDirectory.from_config(_config())
    return tuple(script.revision for script in scripts.walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, to: str) -> str:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    return MigrationContext.configure(connection).get_current_revision() or "nothing"
