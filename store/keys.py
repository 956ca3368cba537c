"""The keys of the HTTP API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from orders.keys import ApiKey, KeyNameTakenError, NoSuchKeyError, Scope, checked_key_name
from orders.ports import RefusedError
from store.database import Database
from store.tables import api_keys

_IN_USE = api_keys.c.revoked_at.is_(None)


class PostgresKeys:
    """``orders.keys.KeyBook`` in PostgreSQL, and what people do with keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key_id: str) -> ApiKey | None:
        """The key, or None when there is none or it was revoked."""
        wanted = select(api_keys).where(api_keys.c.id == key_id, _IN_USE)
        async with self._database.statement() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return None if row is None else key_of(row)

    async def note_use(self, key_id: str, now: datetime) -> None:
        """Note when the key was last used."""
        noted = update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now)
        async with self._database.statement() as connection:
            await connection.execute(noted)

    async def add(self, key: ApiKey) -> None:
        """Keep a new key. Raises ``KeyNameTakenError`` or ``InvalidKeyNameError``."""
        values = {
            "id": key.id,
            "name": checked_key_name(key.name),
            "scope": key.scope,
            "digest": key.digest,
            "created_at": key.created_at,
        }
        try:
            async with self._database.statement() as connection:
                await connection.execute(insert(api_keys).values(values))
        except RefusedError as error:
            if "api_keys_one_in_use" not in str(error):
                raise
            raise KeyNameTakenError(key.name) from None

    async def revoke(self, name: str, now: datetime) -> ApiKey:
        """Let the key open nothing any more; its row stays. Raises ``NoSuchKeyError``."""
        revoked = update(api_keys).where(api_keys.c.name == name, _IN_USE)
        async with self._database.statement() as connection:
            done = revoked.values(revoked_at=now).returning(*api_keys.c)
            row = (await connection.execute(done)).one_or_none()
        if row is None:
            raise NoSuchKeyError(name)
        return key_of(row)

    async def listed(self, *, revoked: bool = False) -> list[ApiKey]:
        """The keys in use, oldest first; with ``revoked`` all there ever were."""
        wanted = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if not revoked:
            wanted = wanted.where(_IN_USE)
        async with self._database.statement() as connection:
            return [key_of(row) for row in await connection.execute(wanted)]


def key_of(row: Row[Any]) -> ApiKey:
    """The key in a row that has all columns of one."""
    return ApiKey(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        created_at=row.created_at,
        digest=row.digest,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
