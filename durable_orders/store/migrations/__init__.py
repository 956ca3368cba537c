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

from durable_orders.store.database import Database

# Advisory lock against concurrent migrations; any number that nothing else locks.
_LOCK: Final = 4_710_815_061_123


async def migrate(database: Database, *, to: str = "head") -> str:
    """Upgrade the database to revision ``to`` in one transaction; return its revision then.

    Safe to repeat, and to run from several processes at once. Raises ``NoAnswerError`` or
    ``RefusedError``; then nothing was changed.
    """
    async with database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return await connection.run_sync(_upgrade, to)


async def is_migrated(database: Database) -> bool:
    """Whether the schema has everything that this version of the code needs.

    True for an unknown, newer revision: migrations only add before a deploy. Raises
    ``NoAnswerError``.
    """
    async with database.statement() as connection:
        if not await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
            return False
        at = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    known = _known()
    return at is not None and (at == known[0] or at not in known)


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
