"""Operators' sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from durable_orders.domain.operators.sessions import IDLE_TIMEOUT, MAX_AGE, FlashMessage, Session
from durable_orders.store.api_keys import key_of
from durable_orders.store.database import Database
from durable_orders.store.tables import api_keys, operator_sessions


class PostgresSessionRepository:
    """``SessionBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, session: Session) -> None:
        at = session.opened_at
        expired = or_(
            operator_sessions.c.opened_at <= at - MAX_AGE,
            operator_sessions.c.seen_at <= at - IDLE_TIMEOUT,
        )
        new = insert(operator_sessions).values(
            digest=session.digest,
            key_id=session.key.id,
            opened_at=session.opened_at,
            seen_at=session.seen_at,
        )
        async with self._database.transaction() as connection:
            await connection.execute(delete(operator_sessions).where(expired))
            await connection.execute(new)

    async def find(self, digest: bytes) -> Session | None:
        wanted = (
            select(
                *(operator_sessions.c[name] for name in ("opened_at", "seen_at", "word", "done")),
                *(api_keys.c[name] for name in ("id", "name", "scope", "digest")),
                *(api_keys.c[name] for name in ("created_at", "last_used_at", "revoked_at")),
            )
            .join_from(operator_sessions, api_keys)
            .where(operator_sessions.c.digest == digest, api_keys.c.revoked_at.is_(None))
        )
        async with self._database.statement() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return None if row is None else _session(digest, row)

    async def note_use(self, digest: bytes, now: datetime) -> None:
        await self._set(digest, seen_at=now)

    async def set_flash(self, digest: bytes, flash: FlashMessage | None) -> None:
        sentence, done = (flash.sentence, flash.done) if flash else (None, None)
        await self._set(digest, word=sentence, done=done)

    async def end(self, digest: bytes) -> None:
        gone = delete(operator_sessions).where(operator_sessions.c.digest == digest)
        async with self._database.statement() as connection:
            await connection.execute(gone)

    async def _set(self, digest: bytes, **values: Any) -> None:
        changed = update(operator_sessions).where(operator_sessions.c.digest == digest)
        async with self._database.statement() as connection:
            await connection.execute(changed.values(values))


def _session(digest: bytes, row: Row[Any]) -> Session:
    flash = None if row.word is None else FlashMessage(row.word, row.done)
    return Session(digest, key_of(row), row.opened_at, row.seen_at, flash)
