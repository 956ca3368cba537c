"""Operators' sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, delete, insert, or_, select, update

from durable_orders.domain.operators.api_keys import KEY_NAME
from durable_orders.domain.operators.sessions import IDLE_TIMEOUT, MAX_AGE, FlashMessage, Session
from durable_orders.store.api_keys import key_of
from durable_orders.store.database import Database
from durable_orders.store.tables import api_keys, operator_sessions

_OF_KEYS_IN_USE: Final = (
    select(
        operator_sessions.c.digest.label("session_digest"),
        *(operator_sessions.c[name] for name in ("opened_at", "seen_at", "word", "done")),
        *api_keys.c,
    )
    .join_from(operator_sessions, api_keys)
    .where(api_keys.c.revoked_at.is_(None))
)


class PostgresSessionRepository:
    """``SessionRepository`` in PostgreSQL, and the administration of sessions."""

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
        wanted = _OF_KEYS_IN_USE.where(operator_sessions.c.digest == digest)
        async with self._database.statement() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return None if row is None else _session(row)

    async def note_use(self, digest: bytes, now: datetime) -> None:
        await self._set(digest, seen_at=now)

    async def set_flash(self, digest: bytes, flash: FlashMessage | None) -> None:
        sentence, done = (flash.sentence, flash.done) if flash else (None, None)
        await self._set(digest, word=sentence, done=done)

    async def end(self, digest: bytes) -> None:
        gone = delete(operator_sessions).where(operator_sessions.c.digest == digest)
        async with self._database.statement() as connection:
            await connection.execute(gone)

    async def listed(self, now: datetime) -> list[Session]:
        """The open sessions, oldest first."""
        wanted = _OF_KEYS_IN_USE.order_by(operator_sessions.c.opened_at, operator_sessions.c.digest)
        async with self._database.statement() as connection:
            found = [_session(row) for row in await connection.execute(wanted)]
        return [session for session in found if not session.is_over(now)]

    async def end_of_key(self, name: str) -> int:
        """End the sessions that were opened with the key in use of this name; return how many."""
        key = select(api_keys.c.id).where(
            and_(api_keys.c.name == KEY_NAME.check(name), api_keys.c.revoked_at.is_(None))
        )
        gone = delete(operator_sessions).where(operator_sessions.c.key_id.in_(key))
        async with self._database.statement() as connection:
            return (await connection.execute(gone)).rowcount

    async def _set(self, digest: bytes, **values: Any) -> None:
        changed = update(operator_sessions).where(operator_sessions.c.digest == digest)
        async with self._database.statement() as connection:
            await connection.execute(changed.values(values))


def _session(row: Row[Any]) -> Session:
    flash = None if row.word is None else FlashMessage(row.word, row.done)
    return Session(row.session_digest, key_of(row), row.opened_at, row.seen_at, flash)
