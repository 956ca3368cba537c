"""Webhooks: believed when they are signed, acknowledged once they are stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from durable_orders.api.dependencies import ApiLimits
from durable_orders.domain.ids import payment_risk_workflow_id
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order, Recipient
from durable_orders.domain.webhooks import WebhookSource
from durable_orders.store.database import Database, connect
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import Product, add_products
from sandbox.ports import free_port
from tests.api.api_clients import is_problem
from tests.api.posting import Post, inbox_of, posting
from tests.contracts.signing import (
    READERS,
    SignedRequest,
    a_body,
    mail_event,
    parcel_event,
    risk_event,
    signed,
    stripe_event,
)
from tests.support.charges import announce
from tests.support.servers import Postgres, Temporal
from tests.support.shop import Shop

SENDERS = sorted(READERS)


async def placed(database: Database, order_id: str) -> Order:
    """An order of one mug in this database."""
    await add_products(database, [Product("MUG", "Mug", Money(29_00, "EUR"), 100)])
    recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
    basket = Basket(order_id, "cus_1", recipient, (("MUG", 1),), "pm_card_visa")
    return await PostgresOrderRepository(database).place(basket, datetime.now(UTC))


@pytest.fixture(scope="module")
async def opened(temporal_server: Temporal, database: Database) -> AsyncIterator[Post]:
    """The edge of a shop where nobody works, so that nothing is told unless a test does."""
    shop = Shop(await temporal_server.connect())
    async with posting(shop, database) as open_:
        yield open_


@pytest.fixture
async def post(opened: Post) -> AsyncIterator[Post]:
    """The same for one test: nothing is kept yet."""
    yield opened
    await opened.forget()


async def test_a_genuine_event_is_stored_and_acknowledged(post: Post) -> None:
    for sender in SENDERS:
        answer = await post.send(sender, signed(sender, a_body(sender)))
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    kept = await post.kept()
    assert [(row.source, row.event_id) for row in kept] == [
        ("resend", "msg_1"),
        ("stripe", "evt_x"),
        ("warehouse", "wev_x"),
    ]
    assert kept[1].news == {
        "kind": "payment",
        "order_id": "1001",
        "change": "paid",
        "payment_id": "pi_1",
    }
    assert all(row.ended_at is None for row in kept)


async def test_an_event_that_comes_again_is_acknowledged_and_not_stored_again(post: Post) -> None:
    body = a_body("stripe")
    letters = [signed("stripe", body, age=age) for age in (0, 0, 60)]
    answers = await asyncio.gather(*(post.send("stripe", letter) for letter in letters))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await post.kept()) == 1


async def test_an_event_of_the_warehouse_is_known_by_its_webhook_id(post: Post) -> None:
    """Sent again it has a new time, and may have been written anew; the id stays."""
    body = a_body("warehouse")
    written_anew = body.replace(b"\n", b" ")
    letters = [
        signed("warehouse", body, event_id="msg_1"),
        signed("warehouse", body, event_id="msg_1", age=120),
        signed("warehouse", written_anew, event_id="msg_1", age=-60),
    ]
    answers = await asyncio.gather(*(post.send("warehouse", letter) for letter in letters))
    assert {answer.status_code for answer in answers} == {200}
    assert [row.event_id for row in await post.kept()] == ["msg_1"]

    other = signed("warehouse", body, event_id="msg_2")
    assert (await post.send("warehouse", other)).status_code == 200
    assert [row.event_id for row in await post.kept()] == ["msg_1", "msg_2"]


async def test_an_event_that_is_played_again_under_another_id_is_refused(post: Post) -> None:
    good = signed("warehouse", a_body("warehouse"), event_id="msg_1")
    assert (await post.send("warehouse", good)).status_code == 200
    again = SignedRequest({**good.headers, "webhook-id": "msg_2"}, good.body)
    is_problem(await post.send("warehouse", again), 400, "does not fit")
    assert len(await post.kept()) == 1


@pytest.mark.parametrize("sender", SENDERS)
async def test_what_is_forged_old_or_changed_on_the_way_is_refused_and_not_stored(
    post: Post, sender: str
) -> None:
    good = signed(sender, a_body(sender))
    for letter in (
        SignedRequest({}, good.body),
        SignedRequest(good.headers, good.body.replace(b"1001", b"1002")),
        signed(sender, good.body, age=3600),
        signed(sender, good.body, age=-3600),
        SignedRequest({name: f"é{value}" for name, value in good.headers.items()}, good.body),
    ):
        headers = [(n.encode(), value.encode("latin-1")) for n, value in letter.headers.items()]
        answer = await post.http.post(f"/webhooks/{sender}", content=letter.body, headers=headers)
        is_problem(answer, 400, "ignature")
        assert answer.json()["type"] == "/problems/bad-signature"
    assert await post.kept() == []


@pytest.mark.parametrize("sender", SENDERS)
async def test_what_is_signed_and_is_no_event_is_malformed(post: Post, sender: str) -> None:
    for body in (b"{", b"[]", b"[" * 100_000, b'{"type": 1}'):
        answer = await post.send(sender, signed(sender, body))
        is_problem(answer, 422, "this is no event")
        assert answer.json()["type"] == "/problems/malformed-request"
    assert await post.kept() == []


@pytest.mark.parametrize("sender", SENDERS)
async def test_a_megabyte_is_refused_before_it_is_looked_at(post: Post, sender: str) -> None:
    letter = signed(sender, a_body(sender) + b" " * 1_000_000)
    is_problem(await post.send(sender, letter), 413, "larger than 262144 bytes")

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, len(letter.body), 65_536):
            yield letter.body[start : start + 65_536]

    answer = await post.http.post(
        f"/webhooks/{sender}", content=unannounced(), headers=letter.headers
    )
    is_problem(answer, 413, "larger than 262144 bytes")
    assert await post.kept() == []


async def test_the_largest_event_that_stripe_sends_is_taken(post: Post) -> None:
    body = a_body("stripe")
    body += b" " * (262_144 - len(body))
    assert (await post.send("stripe", signed("stripe", body))).status_code == 200
    assert len(await post.kept()) == 1


@pytest.mark.parametrize(
    ("sender", "body"),
    [
        ("stripe", stripe_event("customer.created", {"order_id": "1001"})),
        ("stripe", stripe_event("payment_intent.succeeded", {})),
        ("warehouse", parcel_event("parcel.admired", "1001", "par_1")),
        ("resend", mail_event("email.delivery_delayed", "mail_1")),
        ("resend", mail_event("contact.created", "mail_1")),
    ],
)
async def test_an_event_that_is_for_nobody_is_acknowledged_and_not_kept(
    post: Post, sender: str, body: bytes
) -> None:
    assert (await post.send(sender, signed(sender, body))).status_code == 200
    assert await post.kept() == []


THEIRS = [
    (
        "stripe",
        stripe_event("payment_intent.succeeded", {"order_id": "1001", "installation": "othershop"}),
    ),
    ("warehouse", parcel_event("parcel.left", "1001", "par_1", installation="othershop")),
    ("resend", mail_event("email.bounced", "mail_1", tags={"installation": "othershop"})),
]


@pytest.mark.parametrize(("sender", "body"), THEIRS)
async def test_an_event_of_another_installation_is_acknowledged_and_not_kept(
    post: Post, sender: str, body: bytes
) -> None:
    answer = await post.send(sender, signed(sender, body))
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert await post.kept() == []


async def test_a_dispute_is_kept_when_its_payment_is_ours_and_in_no_other_case(post: Post) -> None:
    order = await placed(post.database, "disputed-1")
    await announce(PostgresPaymentLedger(post.database), order, payment_id="pi_ours")
    for type_ in ("charge.dispute.created", "radar.early_fraud_warning.created", "review.opened"):
        for payment_id in ("pi_ours", "pi_of_another_application", None):
            letter = signed("stripe", risk_event(type_, payment_id))
            answer = await post.send("stripe", letter)
            assert (answer.status_code, answer.json()) == (200, {"received": True})
    kept = await post.kept()
    assert [row.type for row in kept] == [
        "charge.dispute.created",
        "radar.early_fraud_warning.created",
        "review.opened",
    ]
    assert {str(row.news) for row in kept} == {
        str({"kind": "payment_risk", "payment_id": "pi_ours"})
    }


async def test_a_dispute_wakes_the_run_that_follows_it_once_for_all_events(
    closed_shop: Shop, database: Database
) -> None:
    order = await placed(database, "disputed-2")
    await announce(PostgresPaymentLedger(database), order, payment_id="pi_2")
    async with posting(closed_shop, database) as post:
        for type_ in ("charge.dispute.closed", "charge.dispute.created"):
            for _ in range(2):
                body = risk_event(type_, "pi_2", f"evt_{type_}")
                await post.send("stripe", signed("stripe", body))
        assert await post.inbox.tell_due() == 2
        assert {row.ending for row in await post.kept()} == {"told"}
        await post.forget()
    run = closed_shop.temporal.get_workflow_handle(payment_risk_workflow_id(order.id))
    events = [event async for event in run.fetch_history_events()]
    heard = [one for one in events if one.HasField("workflow_execution_signaled_event_attributes")]
    assert len(heard) == 2
    await run.terminate()


async def test_events_under_a_former_name_are_still_ours_and_in_a_copy_no_more(
    closed_shop: Shop, postgres: Postgres
) -> None:
    database = connect(await postgres.migrated())
    installations = PostgresInstallationRepository(database)
    await installations.rename("othershop")
    await installations.rename("third")
    async with posting(closed_shop, database) as post:
        for sender, body in THEIRS:
            await post.send(sender, signed(sender, body))
        assert len(await post.kept()) == 3
        await post.forget()
        await installations.adopt("staging")
        for sender, body in THEIRS:
            assert (await post.send(sender, signed(sender, body))).status_code == 200
        assert await post.kept() == []
    await database.close()


@pytest.mark.parametrize(
    ("sender", "setting"),
    [
        ("stripe", "STRIPE_WEBHOOK_SECRET"),
        ("warehouse", "FULFILLMENT_WEBHOOK_SECRET"),
        ("resend", "RESEND_WEBHOOK_SECRET"),
    ],
)
async def test_without_its_secret_a_neighbour_is_told_to_come_back(
    closed_shop: Shop, database: Database, sender: str, setting: str
) -> None:
    others = {WebhookSource(name): READERS[name] for name in SENDERS if name != sender}
    deaf = inbox_of(closed_shop, database, readers=others)
    async with posting(closed_shop, database, deaf) as post:
        answer = await post.send(sender, signed(sender, a_body(sender)))
    is_problem(answer, 503, f"{setting} is not set")


async def test_an_edge_without_an_inbox_listens_to_nobody(closed: httpx.AsyncClient) -> None:
    is_problem(await closed.post("/webhooks/stripe"), 503, "STRIPE_WEBHOOK_SECRET is not set")


async def test_no_key_is_asked_for(post: Post) -> None:
    assert "Authorization" not in post.http.headers
    assert (await post.send("stripe", signed("stripe", a_body("stripe")))).status_code == 200


async def test_while_the_database_is_away_the_sender_is_told_to_come_back(
    closed_shop: Shop,
) -> None:
    nowhere = connect(f"postgresql://nobody@127.0.0.1:{free_port()}/none", connect_timeout=1)
    async with posting(closed_shop, nowhere) as post:
        answer = await post.send("stripe", signed("stripe", a_body("stripe")))
    is_problem(answer, 503, "ask again")
    await nowhere.close()


async def test_bad_signatures_are_limited_and_keep_no_good_one_out(
    temporal_server: Temporal, database: Database
) -> None:
    shop = Shop(await temporal_server.connect())
    async with posting(shop, database, limits=ApiLimits(failures_per_minute=3)) as post:
        bad = [
            (await post.send(sender, SignedRequest({}, b"{}"))).status_code
            for sender in SENDERS * 3
        ]
        assert bad == [400] * 3 + [429] * 6
        for sender in SENDERS:
            assert (await post.send(sender, signed(sender, a_body(sender)))).status_code == 200
        await post.forget()
