"""Webhook events in PostgreSQL: stored once, taken by one process at a time, pruned later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import text

from durable_orders.domain.activity_messages import UndoRequest
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import CardCharge, ChargeState, RefusedError
from durable_orders.domain.webhooks import (
    BookedPayment,
    DeliveryResult,
    MailDeliveryFailure,
    ParcelChanged,
    PaymentChanged,
    PaymentRiskChanged,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import DEMO, add_products
from durable_orders.store.webhook_events import PostgresMailLog, PostgresWebhookEventRepository
from tests.support.charges import announce, record
from tests.support.keys import INSTALLATION
from tests.support.shop import basket

PAID = "payment_intent.succeeded"
STOP = Stop(StopReason.CANCELLED, "cancelled")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=15)
_numbers = count(1)


@pytest.fixture
async def book(database: Database) -> AsyncIterator[PostgresWebhookEventRepository]:
    yield PostgresWebhookEventRepository(database)
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE webhook_events"))


def an_event(source: WebhookSource = WebhookSource.STRIPE, event_id: str = "") -> WebhookEvent:
    event_id = event_id or f"evt_{next(_numbers)}"
    return WebhookEvent(
        source, event_id, "payment_intent.succeeded", PaymentChanged("1001", PaymentChange.PAID)
    )


async def test_the_same_event_is_stored_once_however_often_it_comes_at_once(
    book: PostgresWebhookEventRepository,
) -> None:
    event = an_event()
    stored = await asyncio.gather(*(book.keep(event, NOW) for _ in range(20)))
    assert sum(kept is not None for kept in stored) == 1
    assert len(await book.take(NOW, LEASE, 100)) == 1


async def test_two_neighbours_may_use_the_same_id(book: PostgresWebhookEventRepository) -> None:
    assert await book.keep(an_event(WebhookSource.STRIPE, "1"), NOW)
    assert await book.keep(an_event(WebhookSource.RESEND, "1"), NOW)


async def test_an_event_is_taken_as_it_was_stored(book: PostgresWebhookEventRepository) -> None:
    news = ParcelChanged("1001", "par_1", ParcelStatus.LOST, "trk_1")
    await book.keep(WebhookEvent(WebhookSource.WAREHOUSE, "wev_1", "parcel.lost", news), NOW)
    [taken] = await book.take(NOW, LEASE, 100)
    assert (taken.event_id, taken.type, taken.news) == ("wev_1", "parcel.lost", news)
    assert (taken.received_at, taken.tries) == (NOW, 1)


async def test_an_event_for_nobody_is_not_to_be_stored(
    book: PostgresWebhookEventRepository,
) -> None:
    with pytest.raises(ValueError, match="nobody is to be told"):
        await book.keep(WebhookEvent(WebhookSource.STRIPE, "evt_0", "customer.created", None), NOW)


async def test_many_who_take_at_once_get_each_event_once(
    book: PostgresWebhookEventRepository,
) -> None:
    for _ in range(60):
        await book.keep(an_event(), NOW)
    taken = await asyncio.gather(*(book.take(NOW, LEASE, 10) for _ in range(12)))
    numbers = [event.number for some in taken for event in some]
    assert len(numbers) == len(set(numbers)) == 60


async def test_who_died_with_an_event_loses_it_to_others_after_the_lease(
    book: PostgresWebhookEventRepository,
) -> None:
    await book.keep(an_event(), NOW)
    [first] = await book.take(NOW, LEASE, 10)
    assert await book.take(NOW + LEASE / 2, LEASE, 10) == ()
    [second] = await book.take(NOW + LEASE, LEASE, 10)
    assert (second.number, second.tries) == (first.number, 2)


async def test_who_stores_an_event_may_claim_it_and_has_it_alone_until_the_lease_ends(
    book: PostgresWebhookEventRepository,
) -> None:
    kept = await book.keep(an_event(), NOW, LEASE)
    assert kept is not None
    assert (kept.tries, kept.received_at) == (1, NOW)
    assert await book.take(NOW + LEASE / 2, LEASE, 10) == ()
    [taken] = await book.take(NOW + LEASE, LEASE, 10)
    assert taken == replace(kept, tries=2)


async def test_of_many_who_claim_the_same_event_one_gets_it(
    book: PostgresWebhookEventRepository,
) -> None:
    event = an_event()
    claimed = await asyncio.gather(*(book.keep(event, NOW, LEASE) for _ in range(20)))
    assert sum(kept is not None for kept in claimed) == 1
    assert await book.take(NOW, LEASE, 100) == ()


async def test_what_is_postponed_is_due_later_and_what_ended_never(
    book: PostgresWebhookEventRepository, database: Database
) -> None:
    await book.keep(an_event(), NOW)
    [event] = await book.take(NOW, LEASE, 10)
    later = NOW + timedelta(minutes=1)
    await book.postpone(event.number, later, "Temporal is away")
    assert await book.take(later - timedelta(seconds=1), LEASE, 10) == ()
    [event] = await book.take(later, LEASE, 10)

    await book.end(event.number, DeliveryResult.NOBODY, later, "order 1001 has ended")
    await book.postpone(event.number, later, "somebody slow")
    await book.end(event.number, DeliveryResult.TOLD, later)

    assert await book.take(later + timedelta(days=9), LEASE, 10) == ()
    async with database.statement() as connection:
        row = (await connection.execute(text("SELECT * FROM webhook_events"))).one()
    assert (row.ending, row.problem, row.ended_at) == ("nobody", "order 1001 has ended", later)


async def test_what_only_another_version_can_read_stops_nobody(
    book: PostgresWebhookEventRepository, database: Database
) -> None:
    await book.keep(an_event(), NOW)
    async with database.transaction() as connection:
        unheard = """UPDATE webhook_events SET news = '{"kind": "dispute"}'"""
        await connection.exec_driver_sql(unheard)
    await book.keep(an_event(), NOW)
    assert [event.news for event in await book.take(NOW, LEASE, 10)] == [
        None,
        PaymentChanged("1001", PaymentChange.PAID),
    ]


async def test_only_what_ended_is_forgotten(book: PostgresWebhookEventRepository) -> None:
    for _ in range(3):
        await book.keep(an_event(), NOW)
    first, second, _ = await book.take(NOW, LEASE, 10)
    await book.end(first.number, DeliveryResult.TOLD, NOW)
    await book.end(second.number, DeliveryResult.TOLD, NOW + timedelta(days=2))

    assert await book.prune(NOW + timedelta(days=1)) == 1
    assert await book.prune(NOW + timedelta(days=1)) == 0
    left = await book.take(NOW + timedelta(days=9), LEASE, 10)
    assert len(left) == 1


async def test_an_ending_nobody_knows_is_refused(
    book: PostgresWebhookEventRepository, database: Database
) -> None:
    await book.keep(an_event(), NOW)
    with pytest.raises(RefusedError, match="webhook_events_ended_somehow"):
        async with database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE webhook_events SET ending = 'told'")


# -- what the books say ----------------------------------------------------------------------------


async def test_an_event_comes_with_what_the_books_say_of_its_payment(
    book: PostgresWebhookEventRepository, database: Database, orders: PostgresOrderRepository
) -> None:
    ledger = PostgresPaymentLedger(database)
    order = await orders.place(basket("books-1"), NOW)
    await announce(ledger, order)
    asking = BookedPayment(Status.PLACED, ChargeState.OPEN, is_being_tried=True)
    about = PaymentChanged("books-1", PaymentChange.PAID, "pi_books-1")

    async def kept(news: PaymentChanged) -> BookedPayment | None:
        event = WebhookEvent(WebhookSource.STRIPE, f"evt_{next(_numbers)}", PAID, news)
        found = await book.keep(event, NOW)
        assert found is not None
        return found.booked

    assert await kept(about) == asking
    assert await kept(replace(about, payment_id="pi_another")) is None
    assert await kept(replace(about, payment_id="")) is None
    assert await kept(replace(about, order_id="another")) is None
    assert await book.look("books-1", "pi_books-1") == asking
    assert await book.look("another", "pi_books-1") is None

    nothing = Money(0, "EUR")
    paid = CardCharge("pi_books-1", ChargeState.CAPTURED, order.total, order.total, nothing)
    await record(ledger, "books-1", paid, answers=1)
    await orders.move("books-1", Status.PAID, None, NOW)
    by_now = BookedPayment(Status.PAID, ChargeState.CAPTURED)
    assert [one.booked for one in await book.take(NOW, LEASE, 10)] == [by_now, None, None, None]

    await orders.begin_undo(UndoRequest("books-1", STOP), NOW)
    assert await book.look("books-1", "pi_books-1") == replace(by_now, is_undone=True)


async def test_an_event_of_a_payment_is_kept_when_the_payment_is_ours(
    book: PostgresWebhookEventRepository, database: Database, orders: PostgresOrderRepository
) -> None:
    order = await orders.place(basket("books-2"), NOW)
    await announce(PostgresPaymentLedger(database), order)

    def risk(payment_id: str) -> WebhookEvent:
        news, number = PaymentRiskChanged(payment_id), next(_numbers)
        return WebhookEvent(WebhookSource.STRIPE, f"evt_{number}", "review.opened", news)

    assert await book.keep(risk("pi_books-2"), NOW)
    assert await book.keep(risk("pi_of_another_application"), NOW) is None


async def test_an_event_with_a_mark_is_kept_when_it_is_ours(
    book: PostgresWebhookEventRepository,
) -> None:
    assert await book.keep(replace(an_event(), installation=INSTALLATION), NOW)
    assert await book.keep(replace(an_event(), installation="othershop"), NOW) is None


async def test_the_books_are_found_without_reading_all_of_them(database: Database) -> None:
    """The statement joins by what the event names, in JSON: that must use the indexes."""
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(
            await connection.scalars(
                text(
                    "EXPLAIN SELECT p.state, o.status FROM webhook_events e"
                    " LEFT JOIN payments p ON p.payment_id = e.news ->> 'payment_id'"
                    " LEFT JOIN orders o ON o.id = p.order_id AND o.id = e.news ->> 'order_id'"
                    " WHERE e.ended_at IS NULL AND e.next_try_at <= now()"
                )
            )
        )
    assert "payments_payment_id_key" in plan
    assert "orders_pkey" in plan


# -- mails -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def orders(database: Database) -> PostgresOrderRepository:
    await add_products(database, DEMO)
    return PostgresOrderRepository(database)


async def mailed(orders: PostgresOrderRepository, order_id: str, event: str, **detail: str) -> None:
    await orders.place(basket(order_id), NOW)
    await orders.note(order_id, event, NOW, **detail)


async def history(
    orders: PostgresOrderRepository, order_id: str
) -> list[tuple[str, dict[str, str]]]:
    lines = (await orders.view(order_id)).history
    return [(line.event, line.detail) for line in lines if line.event != "order_placed"]


async def test_what_became_of_a_mail_is_in_the_history_of_its_order_once(
    orders: PostgresOrderRepository, database: Database
) -> None:
    await mailed(orders, "m-1", "confirmation_mailed", mail="mail_1")
    log = PostgresMailLog(database)
    for _ in range(2):
        assert await log.record_delivery_failure(
            "mail_1", MailDeliveryFailure.BOUNCED, NOW, "Permanent General"
        )
    assert await history(orders, "m-1") == [
        ("confirmation_mailed", {"mail": "mail_1"}),
        ("confirmation_mail_bounced", {"mail": "mail_1", "why": "Permanent General"}),
    ]


async def test_the_mail_about_a_refund_says_of_which(
    orders: PostgresOrderRepository, database: Database
) -> None:
    await mailed(orders, "m-2", "refund_mailed", mail="mail_2", refund_id="r1")
    assert await PostgresMailLog(database).record_delivery_failure(
        "mail_2", MailDeliveryFailure.COMPLAINED, NOW, ""
    )
    assert (await history(orders, "m-2"))[1] == (
        "refund_mail_complained",
        {"mail": "mail_2", "refund_id": "r1"},
    )


async def test_a_mail_that_nobody_knows_is_not_noted(database: Database) -> None:
    assert not await PostgresMailLog(database).record_delivery_failure(
        "mail_9", MailDeliveryFailure.BOUNCED, NOW, ""
    )


async def test_a_mail_is_found_by_its_id_without_reading_all_histories(
    orders: PostgresOrderRepository, database: Database
) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await connection.scalars(
            text(
                "EXPLAIN SELECT 1 FROM order_history"
                " WHERE detail ? 'mail' AND detail ->> 'mail' = 'mail_1'"
            )
        )
    assert "order_history_mails" in "\n".join(plan)
