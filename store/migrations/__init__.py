"""The database, brought up to what this version of the code expects.

Every migration leaves the running version working: add first, deploy, remove later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from store.database import Database

# Any number nobody else uses: two processes that migrate at once take turns by it.
_LOCK: Final = 4_710_815_061_123


async def migrate(database: Database, *, to: str = "head") -> str:
    """Bring the database up to date in one transaction; returns the revision it is at then.

    ``to`` names an older revision to stop at, as the version of that time would have.

    Safe to repeat, and safe to run from several processes at once. Raises ``NoAnswerError`` or
    ``RefusedError``; then nothing was changed.
    """
    async with database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return await connection.run_sync(_upgrade, to)


def _upgrade(connection: Connection, to: str) -> str:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    return MigrationContext.configure(connection).get_current_revision() or "nothing"
