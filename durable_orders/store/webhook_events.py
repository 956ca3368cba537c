"""Webhook events: stored until they are delivered, and for some time after."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ARRAY, Text, bindparam, cast, delete, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import array, insert

from durable_orders.domain.webhooks import (
    DeliveryResult,
    MailDeliveryFailure,
    PendingEvent,
    WebhookEvent,
    payload_from_json,
    payload_to_json,
)
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.tables import (
    archived_history,
    order_history,
    webhook_events,
    whole_history,
)

_UNDELIVERED = webhook_events.c.ended_at.is_(None)
_MAILED = "_mailed"
# Literally the index's expressions: with the key as a parameter, a prepared plan would not use it.
_has_mail = text("order_history.detail ? 'mail'")
_mail_id = literal_column("order_history.detail ->> 'mail'", Text)
#: Most events that one statement deletes, so that it stays short.
_PRUNED_AT_ONCE: Final = 1_000

_KEEP: Final = insert(webhook_events).on_conflict_do_nothing().returning(webhook_events.c.number)
# Several processes run this concurrently; each skips the rows that others have locked.
_DUE: Final = (
    select(webhook_events.c.number)
    .where(_UNDELIVERED, webhook_events.c.next_try_at <= bindparam("now"))
    .order_by(webhook_events.c.next_try_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_TAKE: Final = (
    update(webhook_events)
    .where(webhook_events.c.number.in_(_DUE.scalar_subquery()))
    .values(next_try_at=bindparam("again_at"), tries=webhook_events.c.tries + 1)
    .returning(webhook_events)
)
# Parameters of an UPDATE may not have the names of its columns.
_ONE: Final = update(webhook_events).where(
    webhook_events.c.number == bindparam("event_number"), _UNDELIVERED
)
_END: Final = _ONE.values(
    ended_at=bindparam("now"), ending=bindparam("how"), problem=bindparam("why")
)
_POSTPONE: Final = _ONE.values(next_try_at=bindparam("until"), problem=bindparam("why"))
_OLD: Final = (
    select(webhook_events.c.number)
    .where(webhook_events.c.ended_at < bindparam("before"))
    .limit(_PRUNED_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_PRUNE: Final = delete(webhook_events).where(webhook_events.c.number.in_(_OLD.scalar_subquery()))
_SENT: Final = (
    select(order_history.c.order_id, order_history.c.event, order_history.c.detail)
    .where(_has_mail, _mail_id == bindparam("mail_id"))
    .where(order_history.c.event.endswith(_MAILED, autoescape=True))
    .limit(1)
)
#: The same of an archived order.
_SENT_LONG_AGO: Final = (
    select(whole_history.c.order_id, whole_history.c.event, whole_history.c.detail)
    .where(
        whole_history.c.order_id.in_(
            select(archived_history.c.order_id).where(
                archived_history.c.mails.contains(cast(array([bindparam("mail_id")]), ARRAY(Text)))
            )
        )
    )
    .where(whole_history.c.detail["mail"].astext == bindparam("mail_id"))
    .where(whole_history.c.event.endswith(_MAILED, autoescape=True))
    .limit(1)
)


class PostgresWebhookEventRepository:
    """``EventBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, event: WebhookEvent, now: datetime) -> bool:
        if event.news is None:
            raise ValueError(f"nobody is to be told of {event.type}")
        values = {
            "source": event.source,
            "event_id": event.event_id,
            "type": event.type,
            "news": payload_to_json(event.news),
            "received_at": now,
            "next_try_at": now,
        }
        async with self._database.statement() as connection:
            return await connection.scalar(_KEEP, values) is not None

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[PendingEvent, ...]:
        values = {"now": now, "again_at": now + lease, "most": limit}
        async with self._database.statement() as connection:
            rows = (await connection.execute(_TAKE, values)).all()
        events = (
            PendingEvent(
                number=row.number,
                event_id=row.event_id,
                type=row.type,
                news=payload_from_json(row.news),
                received_at=row.received_at,
                tries=row.tries,
            )
            for row in rows
        )
        return tuple(sorted(events, key=lambda event: event.number))

    async def end(self, number: int, ending: DeliveryResult, now: datetime, why: str = "") -> None:
        values = {"event_number": number, "now": now, "how": ending, "why": why}
        async with self._database.statement() as connection:
            await connection.execute(_END, values)

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        values = {"event_number": number, "until": until, "why": problem}
        async with self._database.statement() as connection:
            await connection.execute(_POSTPONE, values)

    async def prune(self, before: datetime) -> int:
        """Delete ended events, at most a thousand per call."""
        async with self._database.statement() as connection:
            return (await connection.execute(_PRUNE, {"before": before})).rowcount


class PostgresMailLog:
    """``MailLog`` in PostgreSQL: the history line of each mail has its id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_delivery_failure(
        self, mail_id: str, fate: MailDeliveryFailure, now: datetime, why: str
    ) -> bool:
        async with self._database.transaction() as connection:
            this = {"mail_id": mail_id}
            sent = (await connection.execute(_SENT, this)).one_or_none()
            sent = sent or (await connection.execute(_SENT_LONG_AGO, this)).one_or_none()
            if sent is None:
                return False
            event = f"{sent.event.removesuffix(_MAILED)}_mail_{fate}"
            detail = {**sent.detail, "why": why} if why else sent.detail
            await connection.execute(ADD_LINE, line(sent.order_id, event, detail, now))
            return True
