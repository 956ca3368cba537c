"""All that a database holds, to compare it before and after a request."""

from __future__ import annotations

from sqlalchemy import text

from durable_orders.store.database import Database
from durable_orders.store.tables import metadata


async def rows_of(database: Database) -> dict[str, list[str]]:
    """The rows of each of our tables, as PostgreSQL writes them."""
    async with database.snapshot() as connection:
        return {
            table: sorted(await connection.scalars(text(f"SELECT t::text FROM {table} t")))  # noqa: S608 - ours
            for table in metadata.tables
        }
