"""Operators' sessions and dashboard figures, in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import ApiKey, Scope, Token
from durable_orders.domain.operators.dashboard import UNANSWERED_AFTER
from durable_orders.domain.operators.sessions import (
    IDLE_TIMEOUT,
    MAX_AGE,
    FlashMessage,
    Session,
    SessionToken,
)
from durable_orders.domain.ports import CardRefund, CardRefundState
from durable_orders.domain.refunds.refund import RefundEntry, RefundRequest, RefundState
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.dashboard import PostgresDashboardRepository
from durable_orders.store.database import Database
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.sessions import PostgresSessionRepository
from tests.store.shop import Shop
from tests.store.test_refund_concurrency import paid

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def a_key(database: Database, name: str) -> ApiKey:
    token = Token.of(name.encode(), bytes(32))
    key = ApiKey(token.key_id, name, Scope.OPERATOR, NOW, token.digest)
    await PostgresApiKeyRepository(database).add(key)
    return key


def a_session(key: ApiKey, secret: int, at: datetime = NOW) -> Session:
    return Session(SessionToken(bytes([secret] * 32)).digest, key, at, at)


async def test_a_session_is_found_as_it_was_opened_until_it_is_ended(database: Database) -> None:
    sessions = PostgresSessionRepository(database)
    session = a_session(await a_key(database, "found_"), 1)
    assert await sessions.find(session.digest) is None
    await sessions.open(session)
    assert await sessions.find(session.digest) == session

    later, flash = NOW + timedelta(minutes=5), FlashMessage("It was done.", done=True)
    await sessions.note_use(session.digest, later)
    await sessions.set_flash(session.digest, flash)
    found = await sessions.find(session.digest)
    assert found
    assert (found.seen_at, found.flash) == (later, flash)
    await sessions.set_flash(session.digest, None)
    found = await sessions.find(session.digest)
    assert found
    assert found.flash is None

    await sessions.end(session.digest)
    await sessions.end(session.digest)
    assert await sessions.find(session.digest) is None


async def test_a_session_ends_with_its_key_also_when_another_takes_the_name(
    database: Database,
) -> None:
    sessions, keys = PostgresSessionRepository(database), PostgresApiKeyRepository(database)
    key = await a_key(database, "ended_")
    session = a_session(key, 2)
    await sessions.open(session)
    await keys.revoke(key.name, NOW)
    assert await sessions.find(session.digest) is None
    token = Token.of(b"other_", bytes(32))
    await keys.add(ApiKey(token.key_id, key.name, Scope.OPERATOR, NOW, token.digest))
    assert await sessions.find(session.digest) is None


async def test_a_session_is_over_with_its_key(database: Database) -> None:
    sessions, token = PostgresSessionRepository(database), Token.of(b"expiry", bytes(32))
    end = NOW + timedelta(minutes=5)
    key = ApiKey(token.key_id, "expiry", Scope.OPERATOR, NOW, token.digest, expires_at=end)
    await PostgresApiKeyRepository(database).add(key)
    session = a_session(key, 8)
    await sessions.open(session)
    found = await sessions.find(session.digest)
    assert found == session
    assert (found.is_over(end - timedelta(seconds=1)), found.is_over(end)) == (False, True)
    assert session in await sessions.listed(NOW)
    assert session not in await sessions.listed(end)


async def test_open_sessions_are_listed_and_those_of_a_key_are_ended(database: Database) -> None:
    sessions = PostgresSessionRepository(database)
    one, other = await a_key(database, "listed"), await a_key(database, "others")
    opened = [a_session(one, 9), a_session(one, 10), a_session(other, 11)]
    for session in opened:
        await sessions.open(session)

    async def listed(at: datetime) -> list[Session]:
        return [each for each in await sessions.listed(at) if each in opened]

    assert await listed(NOW) == opened
    assert await listed(NOW + IDLE_TIMEOUT) == []
    assert await sessions.end_of_key("listed") == 2
    assert await sessions.end_of_key("listed") == 0
    assert await listed(NOW) == opened[2:]


async def test_opening_one_forgets_those_that_are_over(database: Database) -> None:
    sessions = PostgresSessionRepository(database)
    key = await a_key(database, "sweeps")
    old, idle, busy = (a_session(key, n) for n in (3, 4, 5))
    for session in (old, idle, busy):
        await sessions.open(session)
    later = NOW + MAX_AGE - timedelta(minutes=1)
    await sessions.note_use(old.digest, later)
    await sessions.note_use(busy.digest, later)
    await sessions.open(a_session(key, 6, NOW + IDLE_TIMEOUT))
    assert await sessions.find(idle.digest) is None
    assert await sessions.find(busy.digest)
    await sessions.open(a_session(key, 7, NOW + MAX_AGE))
    assert await sessions.find(old.digest) is None


async def test_orders_are_counted_no_further_than_asked(database: Database, shop: Shop) -> None:
    overview = PostgresDashboardRepository(database)
    before = await overview.counts(1_000)
    assert set(before) == set(Status)
    sku = await shop.stocked(10)
    for _ in range(3):
        await shop.placed((sku, 1))
    after = await overview.counts(1_000)
    assert after[Status.PLACED] == before[Status.PLACED] + 3
    assert (await overview.counts(2))[Status.PLACED] == 2


async def test_refunds_show_when_a_person_is_needed_and_while_they_are_under_way_do_not(
    database: Database, shop: Shop
) -> None:
    overview, book = PostgresDashboardRepository(database), PostgresRefundBook(database)
    order = await paid(shop, await shop.stocked(10), 4)

    async def shown(at: datetime) -> dict[str, RefundState]:
        found = await overview.waiting_refunds(at, 100)
        return {one.refund_id: one.state for one in found if one.order_id == order.id}

    for refund_id in ("silent", "waits", "asked", "done"):
        request = RefundRequest(order.id, refund_id, amount=Money(1_00, "EUR"))
        assert isinstance(await book.reserve(request, NOW), RefundEntry)
    await book.move(order.id, "waits", RefundState.AWAITING_APPROVAL, NOW)
    await book.begin(order.id, "silent", 1, NOW)
    await book.begin(order.id, "done", 1, NOW)
    told = CardRefund(f"re_{order.id}", Money(1_00, "EUR"), CardRefundState.SUCCEEDED)
    await book.tell(order.id, "done", 1, told, NOW)

    waits = {"waits": RefundState.AWAITING_APPROVAL}
    assert await shown(NOW) == waits
    assert await shown(NOW + UNANSWERED_AFTER) == {"silent": RefundState.ISSUING, **waits}
    [first] = await overview.waiting_refunds(NOW, 1)
    assert (first.amount, first.since) == (Money(1_00, "EUR"), NOW)
