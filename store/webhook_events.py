"""Events of neighbours, stored until somebody was told and a while longer."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Text, delete, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from orders.webhook_ports import Ending, UntoldEvent
from orders.webhooks import Event, MailFate, facts_of, news_of
from store.database import Database
from store.history import history_line
from store.tables import order_history, webhook_events

_UNTOLD = webhook_events.c.ended_at.is_(None)
_MAILED = "_mailed"
# Word by word as the index has it: with the key as a parameter, a prepared plan would not use it.
_has_mail = text("order_history.detail ? 'mail'")
_mail_id = literal_column("order_history.detail ->> 'mail'", Text)
#: Deleted in one statement, so that nobody waits for long.
_AT_ONCE = 1_000


class PostgresEventBook:
    """``orders.webhook_ports.EventBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, event: Event, now: datetime) -> bool:
        """Store the event; False when it is stored already."""
        if event.news is None:
            raise ValueError(f"nobody is to be told of {event.type}")
        stored = (
            insert(webhook_events)
            .values(
                source=event.source,
                event_id=event.event_id,
                type=event.type,
                news=facts_of(event.news),
                received_at=now,
                next_try_at=now,
            )
            .on_conflict_do_nothing()
            .returning(webhook_events.c.number)
        )
        async with self._database.statement() as connection:
            return await connection.scalar(stored) is not None

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[UntoldEvent, ...]:
        """Events that are due, oldest first: nobody else gets them for the time of ``lease``."""
        due = (
            select(webhook_events.c.number)
            .where(_UNTOLD, webhook_events.c.next_try_at <= now)
            .order_by(webhook_events.c.next_try_at)
            .limit(limit)
            # Several processes do this at once: each takes what the others have not.
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(webhook_events)
            .where(webhook_events.c.number.in_(due.scalar_subquery()))
            .values(next_try_at=now + lease, tries=webhook_events.c.tries + 1)
            .returning(webhook_events)
        )
        async with self._database.statement() as connection:
            rows = (await connection.execute(taken)).all()
        events = (
            UntoldEvent(
                number=row.number,
                event_id=row.event_id,
                type=row.type,
                news=news_of(row.news),
                received_at=row.received_at,
                tries=row.tries,
            )
            for row in rows
        )
        return tuple(sorted(events, key=lambda event: event.number))

    async def end(self, number: int, ending: Ending, now: datetime, why: str = "") -> None:
        """The event is not to be told any more."""
        ended = update(webhook_events).where(webhook_events.c.number == number, _UNTOLD)
        async with self._database.statement() as connection:
            await connection.execute(ended.values(ended_at=now, ending=ending, problem=why))

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        """Nobody could be told: the event is due again at ``until``."""
        later = update(webhook_events).where(webhook_events.c.number == number, _UNTOLD)
        async with self._database.statement() as connection:
            await connection.execute(later.values(next_try_at=until, problem=problem))

    async def prune(self, before: datetime) -> int:
        """Forget what ended before then, some of it when it is a lot; how many that were."""
        old = (
            select(webhook_events.c.number)
            .where(webhook_events.c.ended_at < before)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        forgotten = delete(webhook_events).where(webhook_events.c.number.in_(old.scalar_subquery()))
        async with self._database.statement() as connection:
            return (await connection.execute(forgotten)).rowcount


class PostgresMailLog:
    """``orders.webhook_ports.MailLog`` in PostgreSQL: the line of every mail sent has its id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note_fate(self, mail_id: str, fate: MailFate, now: datetime, why: str) -> bool:
        """Write it into the history of the order that the mail was about, once."""
        sent = (
            select(order_history.c.order_id, order_history.c.event, order_history.c.detail)
            .where(_has_mail, _mail_id == mail_id)
            .where(order_history.c.event.endswith(_MAILED, autoescape=True))
            .limit(1)
        )
        async with self._database.transaction() as connection:
            line = (await connection.execute(sent)).one_or_none()
            if line is None:
                return False
            event = f"{line.event.removesuffix(_MAILED)}_mail_{fate}"
            detail = {**line.detail, "why": why} if why else line.detail
            await connection.execute(history_line(line.order_id, event, detail, now))
            return True
