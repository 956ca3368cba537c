"""API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from durable_orders.domain.operators.api_keys import (
    KEY_NAME,
    ApiKey,
    KeyNameTakenError,
    NoSuchKeyError,
    Scope,
)
from durable_orders.domain.ports import RefusedError
from durable_orders.store.database import Database
from durable_orders.store.tables import api_keys

_IN_USE: Final = api_keys.c.revoked_at.is_(None)
_KEY: Final = select(api_keys).where(api_keys.c.id == bindparam("id"), _IN_USE)
_USED: Final = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"))
    .values(last_used_at=bindparam("now"))
)
_REVOKED: Final = (
    update(api_keys)
    .where(api_keys.c.name == bindparam("called"), _IN_USE)
    .values(revoked_at=bindparam("now"))
    .returning(*api_keys.c)
)
_ALL: Final = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
_LISTED: Final = _ALL.where(_IN_USE)


class PostgresApiKeyRepository:
    """``KeyBook`` in PostgreSQL, and the administration of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key_id: str) -> ApiKey | None:
        async with self._database.statement() as connection:
            row = (await connection.execute(_KEY, {"id": key_id})).one_or_none()
        return None if row is None else key_of(row)

    async def note_use(self, key_id: str, now: datetime) -> None:
        async with self._database.statement() as connection:
            await connection.execute(_USED, {"key_id": key_id, "now": now})

    async def add(self, key: ApiKey) -> None:
        """Store a new key. Raises ``KeyNameTakenError`` or ``InvalidKeyNameError``."""
        values = {
            "id": key.id,
            "name": KEY_NAME.check(key.name),
            "scope": key.scope,
            "digest": key.digest,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        try:
            async with self._database.statement() as connection:
                await connection.execute(insert(api_keys), values)
        except RefusedError as error:
            if "api_keys_one_in_use" not in str(error):
                raise
            raise KeyNameTakenError(key.name) from None

    async def revoke(self, name: str, now: datetime) -> ApiKey:
        """Revoke the key and return it; its row stays. Raises ``NoSuchKeyError`` or
        ``InvalidKeyNameError``.
        """
        async with self._database.statement() as connection:
            revoked = await connection.execute(
                _REVOKED, {"called": KEY_NAME.check(name), "now": now}
            )
            row = revoked.one_or_none()
        if row is None:
            raise NoSuchKeyError(name)
        return key_of(row)

    async def listed(self, *, revoked: bool = False) -> list[ApiKey]:
        """The keys in use, oldest first; with ``revoked`` also the revoked ones."""
        async with self._database.statement() as connection:
            found = await connection.execute(_ALL if revoked else _LISTED)
            return [key_of(row) for row in found]


def key_of(row: Row[Any]) -> ApiKey:
    """The key in a row with all columns of ``api_keys``."""
    return ApiKey(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        created_at=row.created_at,
        digest=row.digest,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
    )
