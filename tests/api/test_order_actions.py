"""Stored events are told: to the right run, once, again while nobody answers, never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RetryConfig

from durable_orders.clients.orders import OrderClient
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from sandbox.ports import free_port
from tests.api.api_clients import edge_of
from tests.api.forwarding import forward
from tests.api.posting import Post, endings, inbox_of, posting, signals
from tests.contracts.signing import mail_event, parcel_event, signed, stripe_event
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.support.servers import Temporal
from tests.support.shop import Shop, basket

LONG = timedelta(days=9)


async def pays(post: Post, order_id: str) -> None:
    """Stripe tells that the order's payment went through."""
    body = stripe_event("payment_intent.succeeded", {"order_id": order_id})
    assert (await post.send("stripe", signed("stripe", body))).status_code == 200


@pytest.fixture(autouse=True)
async def _nothing_stored(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE webhook_events"))


async def test_a_payment_that_a_browser_has_finished_carries_the_order_on(
    shop: Shop, database: Database
) -> None:
    order_id = await shop.start(card="pm_card_authenticationRequired")
    await shop.reaches(order_id, "waiting for the customer's bank")
    [charge] = shop.cards.charges_of(order_id)
    shop.cards.authenticate(charge.payment_id)

    async with posting(shop, database) as post, post.inbox.at_work():
        await pays(post, order_id)
        outcome = await asyncio.wait_for(shop.orders.result(order_id), 20)
        assert await endings(post) == [("told", "")]

    assert outcome.status is Status.COMPLETED


async def test_parcels_are_followed_in_whatever_order_their_events_come(
    closed_shop: Shop, database: Database
) -> None:
    shop = closed_shop
    shop.terms = ShopTerms(delivery_deadline=LONG)
    moves = ("parcel.left", "parcel.lost", "parcel.delivered")
    async with shop.worker(), posting(shop, database) as post, post.inbox.at_work():
        for order in itertools.permutations(moves):
            order_id = await shop.start()
            await shop.reaches(order_id, "waiting for the parcels")
            [parcel] = (await shop.orders.view(order_id)).parcels
            for type_ in order:
                body = parcel_event(type_, order_id, parcel.parcel_id)
                assert (await post.send("warehouse", signed("warehouse", body))).is_success
            outcome = await asyncio.wait_for(shop.orders.result(order_id), 20)
            assert outcome.status is Status.COMPLETED
            [parcel] = (await shop.orders.view(order_id)).parcels
            assert (parcel.status, parcel.tracking) == (ParcelStatus.DELIVERED, "trk_1")


async def test_a_refund_that_failed_at_the_bank_after_all_is_read_again(
    shop: Shop, database: Database
) -> None:
    order_id = await shop.start()
    await shop.orders.result(order_id)
    inbox = inbox_of(shop, database)
    refunds = edge_of(shop).refunds
    await refunds.request(RefundRequest(order_id, "r1"))
    await refunds.result(order_id, "r1")
    key = refund_key(order_id, "r1")
    shop.cards.fail_refund(key)

    async with posting(shop, database, inbox) as post, post.inbox.at_work():
        body = stripe_event("refund.failed", {"order_id": order_id, "refund_key": key})
        await post.send("stripe", signed("stripe", body))

        async def failed() -> bool:
            return (await refunds.status(order_id, "r1")).state is RefundState.FAILED

        await eventually(failed)
        assert await endings(post) == [("told", "")]
    await shop.temporal.get_workflow_handle(f"refund-{order_id}-r1").terminate()


async def test_a_mail_that_came_back_is_in_the_orders_history_though_its_event_was_faster(
    closed_shop: Shop, database: Database
) -> None:
    await add_products(database, DEMO)
    book = PostgresOrderRepository(database)
    await book.place(basket("mails-1"), datetime.now(UTC))
    async with posting(closed_shop, database) as post, post.inbox.at_work():
        body = mail_event("email.bounced", "mail_1", bounce={"type": "Permanent"})
        await post.send("resend", signed("resend", body))

        async def tried() -> bool:
            [row] = await post.kept()
            return str(row.problem) == "no order knows the mail mail_1"

        await eventually(tried)
        await book.note("mails-1", "confirmation_mailed", datetime.now(UTC), mail="mail_1")
        assert await endings(post) == [("told", "")]
    line = (await book.view("mails-1")).history[-1]
    assert line.event == "confirmation_mail_bounced"
    assert line.detail == {"mail": "mail_1", "why": "Permanent"}


async def test_an_event_for_an_order_that_has_ended_or_never_was_is_for_nobody(
    shop: Shop, database: Database
) -> None:
    ended = await shop.start()
    await shop.orders.result(ended)
    placed = await shop.place()
    async with posting(shop, database) as post, post.inbox.at_work():
        for order_id in (ended, placed, "nobody"):
            await pays(post, order_id)
        told = await endings(post)
        tries = [row.tries for row in await post.kept()]
    assert [ending for ending, _ in told] == ["nobody"] * 3
    assert [why.partition(":")[0] for _, why in told] == [
        f"order {ended} knew of it, and has ended",
        f"order {placed} is placed but not started",
        "there is no order nobody",
    ]
    assert tries == [1] * 3


async def test_a_mail_that_no_order_knows_for_a_day_is_for_nobody(
    closed_shop: Shop, database: Database
) -> None:
    async with posting(closed_shop, database) as post:
        await post.send("resend", signed("resend", mail_event("email.bounced", "mail_9")))
        await received(database, timedelta(days=1))
        await post.inbox.tell_due()
        assert await endings(post) == [("nobody", "no order knows the mail mail_9")]


async def test_several_inboxes_side_by_side_tell_each_event_once(
    closed_shop: Shop, database: Database
) -> None:
    order_id = await closed_shop.start()  # nobody works on it: what it is told stays countable
    inboxes = [inbox_of(closed_shop, database) for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        post = await stack.enter_async_context(posting(closed_shop, database, inboxes[0]))
        for inbox in inboxes:
            await stack.enter_async_context(inbox.at_work())
        bodies = [parcel_event("parcel.left", order_id, f"par_{n}") for n in range(50)]
        # Each of them comes twice.
        letters = [signed("warehouse", body) for body in [*bodies, *bodies]]
        answers = await asyncio.gather(*(post.send("warehouse", letter) for letter in letters))
        assert {answer.status_code for answer in answers} == {200}
        assert await endings(post) == [("told", "")] * 50
    assert await signals(closed_shop.temporal, order_id) == 50


async def test_while_temporal_is_away_events_are_stored_and_told_once_it_is_back(
    closed_shop: Shop, database: Database, temporal_server: Temporal
) -> None:
    order_id = await closed_shop.start()
    port = free_port()
    inbox = inbox_of(closed_shop, database, orders=await at_port(closed_shop, port))
    async with posting(closed_shop, database, inbox) as post, inbox.at_work():
        await pays(post, order_id)

        async def tried() -> bool:
            [row] = await post.kept()
            return str(row.problem).startswith("Temporal does not answer")

        await eventually(tried)
        [row] = await post.kept()
        assert row.ended_at is None
        assert await signals(closed_shop.temporal, order_id) == 0
        async with await forward(port, temporal_server.port):
            assert (await endings(post))[0][0] == "told"
    assert await signals(closed_shop.temporal, order_id) == 1


async def test_what_could_not_be_told_for_three_days_is_given_up(
    closed_shop: Shop, database: Database
) -> None:
    away = await at_port(closed_shop, free_port())
    inbox = inbox_of(closed_shop, database, orders=away)
    async with posting(closed_shop, database, inbox) as post:
        await pays(post, await closed_shop.place())
        await received(database, timedelta(days=3))
        await inbox.tell_due()
        [(ending, why)] = await endings(post)
    assert ending == "given_up"
    assert why.startswith("Temporal does not answer")


async def test_an_inbox_that_was_stopped_while_telling_leaves_the_event_to_the_next(
    closed_shop: Shop, database: Database
) -> None:
    order_id = await closed_shop.start()
    entered = asyncio.Event()

    class Hanging(OrderClient):
        async def payment_updated(
            self,
            order_id: str,
            change: PaymentChange | None = None,
        ) -> None:
            entered.set()
            await asyncio.Event().wait()

    hanging = inbox_of(
        closed_shop, database, orders=Hanging(closed_shop.temporal, closed_shop.book)
    )
    async with posting(closed_shop, database, hanging) as post:
        async with hanging.at_work():
            await pays(post, order_id)
            await asyncio.wait_for(entered.wait(), 20)
        await lease_ends(database)
        async with inbox_of(closed_shop, database).at_work():
            assert await endings(post) == [("told", "")]
        assert [row.tries for row in await post.kept()] == [2]
    assert await signals(closed_shop.temporal, order_id) == 1


async def test_a_fault_in_telling_one_event_stops_no_other(
    closed_shop: Shop, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await closed_shop.start(), await closed_shop.start()

    class Faulty(OrderClient):
        async def payment_updated(
            self,
            order_id: str,
            change: PaymentChange | None = None,
        ) -> None:
            if order_id == first:
                raise KeyError(order_id)
            await super().payment_updated(order_id, change)

    inbox = inbox_of(closed_shop, database, orders=Faulty(closed_shop.temporal, closed_shop.book))
    async with posting(closed_shop, database, inbox) as post:
        await pays(post, first)
        await pays(post, second)
        assert await inbox.tell_due() == 2
        rows = await post.kept()
    assert [(row.ending, row.tries) for row in rows] == [(None, 1), ("told", 1)]
    assert "KeyError" in rows[0].problem
    assert any(record.exc_info for record in caplog.records)


async def test_the_inbox_goes_on_after_the_database_was_away(
    closed_shop: Shop, database: Database
) -> None:
    order_id = await closed_shop.start()
    inbox = inbox_of(closed_shop, database)
    async with posting(closed_shop, database, inbox) as post:
        await database.engine.dispose()
        async with database.transaction() as connection:
            await connection.execute(text("ALTER TABLE webhook_events RENAME TO elsewhere"))
        try:
            async with inbox.at_work():
                assert (await post.http.get("/healthz")).status_code == 200
                answer = await post.send(
                    "stripe", signed("stripe", stripe_event("charge.refunded", {"order_id": "1"}))
                )
                assert answer.status_code == 503
                async with database.transaction() as connection:
                    await connection.execute(text("ALTER TABLE elsewhere RENAME TO webhook_events"))
                await pays(post, order_id)
                assert await endings(post) == [("told", "")]
        finally:
            async with database.transaction() as connection:
                await connection.execute(
                    text("ALTER TABLE IF EXISTS elsewhere RENAME TO webhook_events")
                )


async def at_port(shop: Shop, port: int) -> OrderClient:
    """The shop's client, of a Temporal at this port; quick to say that nobody is there."""
    brief = RetryConfig(max_elapsed_time_millis=500)
    address = f"127.0.0.1:{port}"
    temporal = await Client.connect(
        address,
        namespace=shop.temporal.namespace,
        lazy=True,
        data_converter=DATA_CONVERTER,
        retry_config=brief,
    )
    return OrderClient(temporal, shop.book)


async def received(database: Database, ago: timedelta) -> None:
    """Let all stored events have come so long ago."""
    async with database.transaction() as connection:
        moved = text("UPDATE webhook_events SET received_at = received_at - CAST(:ago AS interval)")
        await connection.execute(moved, {"ago": ago})


async def lease_ends(database: Database) -> None:
    """Let it be so long ago that somebody took the events that another may."""
    async with database.transaction() as connection:
        moved = text("UPDATE webhook_events SET next_try_at = now() WHERE ended_at IS NULL")
        await connection.execute(moved)
