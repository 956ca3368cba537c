"""Webhook events: stored until they are delivered, and for some time after."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, array, insert

from durable_orders.domain.lifecycle import Decision, Status
from durable_orders.domain.ports import ChargeState
from durable_orders.domain.webhooks import (
    BookedPayment,
    DeliveryResult,
    MailDeliveryFailure,
    PaymentRiskChanged,
    PendingEvent,
    UnmarkedRefundChanged,
    WebhookEvent,
    payload_from_json,
    payload_to_json,
)
from durable_orders.store.database import Database
from durable_orders.store.decisions import DECISION_COLUMNS, decision_of
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.installation import IS_OURS
from durable_orders.store.tables import (
    archived_history,
    installation,
    order_history,
    orders,
    payment_tries,
    payments,
    webhook_events,
)

_UNDELIVERED = webhook_events.c.ended_at.is_(None)
_MAILED = "_mailed"
# Literally the index's expressions: with the key as a parameter, a prepared plan would not use it.
_has_mail = text("order_history.detail ? 'mail'")
_mail_id = literal_column("order_history.detail ->> 'mail'", Text)
#: Most events that one statement deletes, so that it stays short.
_PRUNED_AT_ONCE: Final = 1_000

_BOOKED: Final = (
    *DECISION_COLUMNS,
    payments.c.state.label("charge_state"),
    exists()
    .where(
        payment_tries.c.payment_id == payments.c.payment_id,
        payment_tries.c.state == ChargeState.OPEN.value,
    )
    .label("is_being_tried"),
    # Asked of orders under way: their histories are in no archive.
    exists()
    .where(
        order_history.c.order_id == payments.c.order_id,
        order_history.c.event == f"order_{Status.AWAITING_PAYMENT}",
    )
    .label("has_waited"),
)
_LOOK: Final = (
    select(*_BOOKED)
    .join_from(payments, orders)
    .where(payments.c.payment_id == bindparam("of_payment"), orders.c.id == bindparam("of_order"))
)


def _with_books(claimed: CTE) -> Select[Any]:
    """The claimed events, each with what our books say of the payment that it names with its order:
    one round trip for both.
    """
    return (
        select(claimed, *_BOOKED)
        .outerjoin_from(
            claimed, payments, payments.c.payment_id == claimed.c.news["payment_id"].astext
        )
        .outerjoin(
            orders,
            and_(
                orders.c.id == payments.c.order_id,
                orders.c.id == claimed.c.news["order_id"].astext,
            ),
        )
    )


_KEPT: Final = (
    "source",
    "event_id",
    "type",
    "news",
    "received_at",
    "next_try_at",
    "tries",
)


def _keep(is_ours: ColumnElement[bool]) -> Select[Any]:
    """Store an event, if it is about something of ours and not stored already."""
    values = (bindparam(name, type_=webhook_events.c[name].type) for name in _KEPT)
    kept = (
        insert(webhook_events)
        .from_select(_KEPT, select(*values).where(is_ours))
        .on_conflict_do_nothing()
        .returning(webhook_events)
    )
    return _with_books(kept.cte("claimed"))


_MARK: Final = bindparam("mark", type_=Text)
_KEEP_MARKED: Final = _keep(
    or_(
        _MARK.is_(None),
        exists(select(installation.c.singleton)).where(
            any_(func.array_append(installation.c.former_names, installation.c.name)) == _MARK
        ),
    )
)
_KEEP_OF_PAYMENT: Final = _keep(
    exists(select(payments.c.order_id).join(orders)).where(
        payments.c.payment_id == bindparam("of_payment"), IS_OURS
    )
)
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
_TAKE_WITH_BOOKS: Final = _with_books(_TAKE.cte("claimed"))
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
_ARCHIVED_LINE: Final = (
    func.unnest(archived_history.c.events, archived_history.c.details)
    .table_valued(column("event", Text), column("detail", JSONB), name="line")
    .render_derived()
)
#: The same of an archived order. Not from the view: that would be put together of every archived
#: line before one is picked by its order.
_SENT_LONG_AGO: Final = (
    select(archived_history.c.order_id, _ARCHIVED_LINE.c.event, _ARCHIVED_LINE.c.detail)
    .join_from(archived_history, _ARCHIVED_LINE, true())
    .where(
        archived_history.c.mails.contains(cast(array([bindparam("mail_id")]), ARRAY(Text))),
        _ARCHIVED_LINE.c.detail["mail"].astext == bindparam("mail_id"),
        _ARCHIVED_LINE.c.event.endswith(_MAILED, autoescape=True),
    )
    .limit(1)
)


class PostgresWebhookEventRepository:
    """``EventBook`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(
        self, event: WebhookEvent, now: datetime, lease: timedelta | None = None
    ) -> PendingEvent | None:
        if event.news is None:
            raise ValueError(f"nobody is to be told of {event.type}")
        values: dict[str, Any] = {
            "source": event.source,
            "event_id": event.event_id,
            "type": event.type,
            "news": payload_to_json(event.news),
            "received_at": now,
            "next_try_at": now + (lease or timedelta(0)),
            "tries": 0 if lease is None else 1,
        }
        match event.news:
            case (
                UnmarkedRefundChanged(payment_id=payment_id)
                | PaymentRiskChanged(payment_id=payment_id)
            ):
                keep, values["of_payment"] = _KEEP_OF_PAYMENT, payment_id
            case _:
                keep, values["mark"] = _KEEP_MARKED, event.installation
        async with self._database.statement() as connection:
            row = (await connection.execute(keep, values)).one_or_none()
        return None if row is None else _pending(row)

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[PendingEvent, ...]:
        values = {"now": now, "again_at": now + lease, "most": limit}
        async with self._database.statement() as connection:
            rows = (await connection.execute(_TAKE_WITH_BOOKS, values)).all()
        return tuple(sorted(map(_pending, rows), key=lambda event: event.number))

    async def look(self, order_id: str, payment_id: str) -> BookedPayment | None:
        values = {"of_order": order_id, "of_payment": payment_id}
        async with self._database.statement() as connection:
            row = (await connection.execute(_LOOK, values)).one_or_none()
        return None if row is None else _booked(row)

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


def _pending(row: Row[Any]) -> PendingEvent:
    return PendingEvent(
        number=row.number,
        event_id=row.event_id,
        type=row.type,
        news=payload_from_json(row.news),
        received_at=row.received_at,
        tries=row.tries,
        booked=None if row.order_status is None else _booked(row),
    )


def _booked(row: Row[Any]) -> BookedPayment:
    return BookedPayment(
        Status(row.order_status),
        ChargeState(row.charge_state),
        is_being_tried=row.is_being_tried,
        is_undone=decision_of(row) is Decision.UNDO,
        has_waited=row.has_waited,
    )


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
