"""News that the books hold already: nobody is signalled, and whoever may wait for it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from durable_orders.api.metrics import Metrics
from durable_orders.api.webhook_inbox import Inbox
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import UndoRequest
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.webhooks import RECORDED_WITHIN
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import DEMO, add_products
from sandbox.fault_client import FaultClient
from sandbox.webhook_endpoints import webhook_endpoints
from tests.api.api_clients import OPERATOR
from tests.api.posting import Post, endings, inbox_of, posting, signals
from tests.api.real import RealShop, real, served
from tests.contracts.signing import signed, stripe_event
from tests.support.charges import announce, record
from tests.support.eventually import eventually
from tests.support.shop import Shop, basket

__all__ = ["real"]

PAID = "payment_intent.succeeded"
HELD = "payment_intent.amount_capturable_updated"
DECLINED = "payment_intent.payment_failed"
CANCELLED = "payment_intent.canceled"
STOP = Stop(StopReason.CANCELLED, "cancelled")
CONFIRM = "stripe.payment_intents.confirm"
BANK_TAKES_TIME = "pm_sandbox_processing"
_numbers = count(1)


class Books:
    """Orders in PostgreSQL that have begun; nobody works on them, so that what they are told stays
    countable.
    """

    def __init__(self, shop: Shop, database: Database) -> None:
        self.shop, self.database = shop, database
        self.orders = PostgresOrderRepository(database)
        self.ledger = PostgresPaymentLedger(database)
        self.client = OrderClient(shop.temporal, self.orders)
        self.order_ids: list[str] = []

    def inbox(self, metrics: Metrics | None = None) -> Inbox:
        return inbox_of(self.shop, self.database, orders=self.client, metrics=metrics)

    async def started(self) -> str:
        """An order whose run is started; its id."""
        order_id = f"known-{next(_numbers)}"
        await self.orders.place(basket(order_id), datetime.now(UTC))
        await self.client.start(order_id)
        self.order_ids.append(order_id)
        return order_id

    async def asking(self) -> str:
        """An order whose card a worker has announced, which has no answer yet; its id."""
        order_id = await self.started()
        await announce(self.ledger, await self.orders.get(order_id))
        return order_id

    async def record(self, order_id: str, state: ChargeState, *statuses: Status) -> None:
        """The charge is in this state now, and the order goes through these."""
        total = (await self.orders.get(order_id)).total
        taken = total if state is ChargeState.CAPTURED else Money(0, "EUR")
        charge = CardCharge(f"pi_{order_id}", state, total, taken, Money(0, "EUR"))
        await record(self.ledger, order_id, charge, answers=1)
        for status in statuses:
            await self.orders.move(order_id, status, None, datetime.now(UTC))

    async def at(self, state: ChargeState, *statuses: Status) -> str:
        """An order that has come so far; its id."""
        order_id = await self.asking()
        await self.record(order_id, state, *statuses)
        return order_id

    async def undone(self, state: ChargeState) -> str:
        """An order that is being undone, whose charge is in this state; its id."""
        order_id = await self.asking()
        await self.orders.begin_undo(UndoRequest(order_id, STOP), datetime.now(UTC))
        await self.record(order_id, state)
        return order_id


@pytest.fixture
async def books(closed_shop: Shop, database: Database) -> AsyncIterator[Books]:
    await add_products(database, DEMO)
    made = Books(closed_shop, database)
    yield made
    for order_id in made.order_ids:
        await closed_shop.temporal.get_workflow_handle(f"order-{order_id}").terminate()


@pytest.fixture
async def post(books: Books) -> AsyncIterator[Post]:
    """The edge at work on these books."""
    async with posting(books.shop, books.database, books.inbox()) as open_:
        async with open_.inbox.at_work():
            yield open_
        await open_.forget()


async def send(post: Post, type_: str, order_id: str, payment_id: str | None = None) -> None:
    """Stripe tells of the order's payment, or of another one with its mark."""
    payment_id = f"pi_{order_id}" if payment_id is None else payment_id
    body = stripe_event(type_, {"order_id": order_id}, payment_id=payment_id)
    if type_ == "charge.refunded":
        event_ = json.loads(body)
        event_["data"]["object"]["payment_intent"] = payment_id
        body = json.dumps(event_).encode()
    assert (await post.send("stripe", signed("stripe", body))).status_code == 200


async def ending_of(post: Post) -> str | None:
    """How the delivery of the only event ended, once it has."""
    [(ending, _)] = await endings(post)
    return ending


# -- what the order has moved past -----------------------------------------------------------------

ON_ITS_WAY = (Status.PAID, Status.FULFILLED, Status.SHIPPED)


@pytest.mark.parametrize(
    ("type_", "state", "statuses"),
    [
        *((PAID, ChargeState.CAPTURED, ON_ITS_WAY[:n]) for n in (1, 2, 3)),
        (PAID, ChargeState.CAPTURED, (*ON_ITS_WAY, Status.COMPLETED)),
        (HELD, ChargeState.HELD, (Status.HELD,)),
        (HELD, ChargeState.CAPTURED, ON_ITS_WAY[:1]),
        # Of an earlier card, or of 3-D Secure before it passed.
        (DECLINED, ChargeState.CAPTURED, ON_ITS_WAY[:1]),
        ("payment_intent.requires_action", ChargeState.HELD, (Status.HELD,)),
    ],
)
async def test_what_the_order_has_moved_past_signals_nobody(
    books: Books, post: Post, type_: str, state: ChargeState, statuses: Sequence[Status]
) -> None:
    order_id = await books.at(state, *statuses)
    await send(post, type_, order_id)
    assert await endings(post) == [
        ("already_known", f"order {order_id} is {statuses[-1]}, its payment {state}")
    ]
    assert await signals(books.shop.temporal, order_id) == 0


async def test_a_cancellation_of_ours_signals_nobody(books: Books, post: Post) -> None:
    order_id = await books.undone(ChargeState.CANCELLED)
    await send(post, CANCELLED, order_id)
    assert await ending_of(post) == "already_known"
    assert await signals(books.shop.temporal, order_id) == 0


# -- what the books do not hold, or whose run may wait ---------------------------------------------


@pytest.mark.parametrize(
    ("type_", "state", "statuses"),
    [
        # The customer has confirmed, the bank has decided, another card was used in the browser.
        (PAID, ChargeState.NEEDS_CUSTOMER, (Status.AWAITING_PAYMENT,)),
        (PAID, ChargeState.PROCESSING, (Status.AWAITING_PAYMENT,)),
        (PAID, ChargeState.DECLINED, (Status.AWAITING_PAYMENT,)),
        (HELD, ChargeState.NEEDS_CUSTOMER, (Status.AWAITING_PAYMENT,)),
        # The books hold it, but the run waits: it may know less than they do.
        (DECLINED, ChargeState.DECLINED, (Status.AWAITING_PAYMENT,)),
        (
            "payment_intent.requires_action",
            ChargeState.NEEDS_CUSTOMER,
            (Status.AWAITING_PAYMENT,),
        ),
        # By a person in the dashboard, or by the bank.
        (PAID, ChargeState.HELD, (Status.HELD,)),
        (CANCELLED, ChargeState.HELD, (Status.HELD,)),
        (CANCELLED, ChargeState.NEEDS_CUSTOMER, (Status.AWAITING_PAYMENT,)),
        ("charge.refunded", ChargeState.CAPTURED, (Status.PAID,)),
        ("refund.failed", ChargeState.CAPTURED, (Status.PAID,)),
    ],
)
async def test_what_the_books_do_not_hold_is_told_at_once(
    books: Books, post: Post, type_: str, state: ChargeState, statuses: Sequence[Status]
) -> None:
    order_id = await books.at(state, *statuses)
    with statements() as made:
        await send(post, type_, order_id)
        assert await ending_of(post) == "told"
    assert not [one for one in made if is_look(one)]
    assert await signals(books.shop.temporal, order_id) == 1


@pytest.mark.parametrize("payment_id", ["pi_another", ""])
async def test_news_of_a_payment_that_the_books_do_not_have_are_told(
    books: Books, post: Post, payment_id: str
) -> None:
    """A second payment with our mark, made by hand say; or one that the event does not name."""
    order_id = await books.at(ChargeState.CAPTURED, Status.PAID)
    await send(post, PAID, order_id, payment_id)
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, order_id) == 1


async def test_the_payment_of_another_order_does_not_make_news_known(
    books: Books, post: Post
) -> None:
    paid = await books.at(ChargeState.CAPTURED, Status.PAID)
    other = await books.started()
    await send(post, PAID, other, f"pi_{paid}")
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, other) == 1


async def test_a_payment_that_an_undone_order_got_after_all_is_told(
    books: Books, post: Post
) -> None:
    order_id = await books.undone(ChargeState.NEEDS_CUSTOMER)
    await send(post, PAID, order_id)
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, order_id) == 1


# -- what a worker is about to record --------------------------------------------------------------


async def waits(post: Post) -> None:
    """Return once the event is looked up a second time: it waits."""

    async def stored() -> bool:
        return bool(await post.kept())

    await eventually(stored)
    assert [(row.ending, row.tries) for row in await post.kept()] == [(None, 1)]


async def test_what_a_worker_records_in_the_next_moment_signals_nobody(
    books: Books, post: Post
) -> None:
    order_id = await books.asking()
    await send(post, PAID, order_id)
    await waits(post)
    await books.record(order_id, ChargeState.CAPTURED, Status.PAID)
    assert await ending_of(post) == "already_known"
    assert await signals(books.shop.temporal, order_id) == 0


async def test_what_is_in_the_charges_row_alone_waits_for_the_orders(
    books: Books, post: Post
) -> None:
    order_id = await books.at(ChargeState.CAPTURED)
    await send(post, PAID, order_id)
    await waits(post)
    await books.record(order_id, ChargeState.CAPTURED, Status.PAID)
    assert await ending_of(post) == "already_known"
    assert await signals(books.shop.temporal, order_id) == 0


async def test_an_answer_older_than_the_news_is_no_reason_to_drop_them(
    books: Books, post: Post
) -> None:
    """The bank had not decided when it answered the worker; it has by now."""
    order_id = await books.asking()
    await send(post, PAID, order_id)
    await waits(post)
    await books.record(order_id, ChargeState.PROCESSING, Status.AWAITING_PAYMENT)
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, order_id) == 1


async def test_a_cancellation_that_is_being_recorded_signals_nobody(
    books: Books, post: Post
) -> None:
    order_id = await books.undone(ChargeState.DECLINED)
    await send(post, CANCELLED, order_id)
    await waits(post)
    await books.record(order_id, ChargeState.CANCELLED)
    assert await ending_of(post) == "already_known"
    assert await signals(books.shop.temporal, order_id) == 0


@pytest.mark.parametrize("type_", [PAID, HELD, DECLINED, CANCELLED])
async def test_news_are_told_all_the_same_when_the_worker_was_killed(
    books: Books, post: Post, type_: str
) -> None:
    order_id = await books.asking()
    with statements() as made:
        await send(post, type_, order_id)
        assert await ending_of(post) == "told"
    assert len([one for one in made if is_look(one)]) == len(RECORDED_WITHIN)
    assert sum(RECORDED_WITHIN, timedelta(0)) < timedelta(seconds=3)
    assert await signals(books.shop.temporal, order_id) == 1


async def test_a_charge_that_the_audit_has_recorded_is_told_to_the_run_that_waits(
    books: Books, post: Post
) -> None:
    order_id = await books.at(ChargeState.NEEDS_CUSTOMER, Status.AWAITING_PAYMENT)
    await books.record(order_id, ChargeState.CAPTURED)
    await send(post, PAID, order_id)
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, order_id) == 1


@pytest.mark.parametrize(
    ("type_", "waited", "state", "status"),
    [
        (PAID, ChargeState.NEEDS_CUSTOMER, ChargeState.CAPTURED, Status.PAID),
        (PAID, ChargeState.PROCESSING, ChargeState.CAPTURED, Status.PAID),
        (PAID, ChargeState.DECLINED, ChargeState.CAPTURED, Status.PAID),
        (HELD, ChargeState.NEEDS_CUSTOMER, ChargeState.HELD, Status.HELD),
    ],
)
async def test_a_run_that_has_waited_is_told_although_the_order_has_moved_on(
    books: Books, post: Post, type_: str, waited: ChargeState, state: ChargeState, status: Status
) -> None:
    """By a worker that was frozen, say, and whose answer nobody gets: the run waits still."""
    order_id = await books.at(waited, Status.AWAITING_PAYMENT)
    await books.record(order_id, state, status)
    await send(post, type_, order_id)
    assert await ending_of(post) == "told"
    assert await signals(books.shop.temporal, order_id) == 1


async def test_a_run_that_has_waited_and_gone_on_is_not_told(books: Books, post: Post) -> None:
    order_id = await books.at(ChargeState.NEEDS_CUSTOMER, Status.AWAITING_PAYMENT)
    await books.record(order_id, ChargeState.CAPTURED, Status.PAID, Status.FULFILLED)
    await send(post, PAID, order_id)
    assert await ending_of(post) == "already_known"
    assert await signals(books.shop.temporal, order_id) == 0


async def test_an_edge_that_stops_tells_what_it_waits_with(books: Books) -> None:
    order_id = await books.asking()
    async with posting(books.shop, books.database, books.inbox()) as post:
        async with post.inbox.at_work():
            await send(post, PAID, order_id)
            await waits(post)
        [row] = await post.kept()
        assert (row.ending, row.tries) == ("told", 1)
        await post.forget()
    assert await signals(books.shop.temporal, order_id) == 1


async def test_more_events_than_an_edge_waits_with_are_each_told_once(
    books: Books, post: Post
) -> None:
    order_id = await books.asking()
    most = 80
    await asyncio.gather(*(send(post, PAID, order_id) for _ in range(most)))
    assert await endings(post) == [("told", "")] * most
    assert {row.tries for row in await post.kept()} == {1}
    assert await signals(books.shop.temporal, order_id) == most


# -- round trips and metrics -----------------------------------------------------------------------


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are sent to PostgreSQL during the block, but for the polls for events of
    other processes.
    """
    made: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "SKIP LOCKED" not in statement:
            made.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield made
    event.remove(Engine, "before_cursor_execute", note)


def is_look(statement: str) -> bool:
    return statement.lstrip().startswith("SELECT") and "payment_tries" in statement


async def delivered(post: Post) -> None:
    """Return once the only event has ended, without asking the database for it meanwhile."""
    await eventually(lambda: _counted(post))


async def _counted(post: Post) -> bool:
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    shown = (await post.http.get("/metrics", headers=headers)).text
    return "durable_orders_webhook_events_total{" in shown


@pytest.fixture
async def counted(books: Books) -> AsyncIterator[Post]:
    """The edge at work on these books, whose metrics are its inbox's."""
    metrics = Metrics()
    inbox = books.inbox(metrics)
    async with posting(books.shop, books.database, inbox, metrics=metrics) as open_:
        async with inbox.at_work():
            yield open_
        await open_.forget()


async def test_an_event_costs_two_statements(books: Books, counted: Post) -> None:
    order_id = await books.at(ChargeState.CAPTURED, Status.PAID)
    with statements() as made:
        await send(counted, PAID, order_id)
        await delivered(counted)
    assert [one.split()[0] for one in made] == ["WITH", "UPDATE"]
    [row] = await counted.kept()
    assert (row.ending, row.tries) == ("already_known", 1)
    # Nobody else had to take it: it was claimed as it was stored.
    assert row.next_try_at - row.received_at > timedelta(seconds=10)


async def test_an_event_that_waits_costs_one_more_for_each_look(
    books: Books, counted: Post
) -> None:
    order_id = await books.asking()
    with statements() as made:
        await send(counted, PAID, order_id)
        await delivered(counted)
    looks = len(RECORDED_WITHIN)
    assert [one.split()[0] for one in made] == ["WITH", *["SELECT"] * looks, "UPDATE"]


async def test_metrics_count_how_deliveries_ended(books: Books, counted: Post) -> None:
    known = await books.at(ChargeState.CAPTURED, Status.PAID)
    new = await books.at(ChargeState.NEEDS_CUSTOMER, Status.AWAITING_PAYMENT)
    for order_id in (known, known, new, "nobody"):
        await send(counted, PAID, order_id)
    await endings(counted)
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    shown = (await counted.http.get("/metrics", headers=headers)).text
    for result, number in (("already_known", 2), ("told", 1), ("nobody", 1)):
        line = f'durable_orders_webhook_events_total{{result="{result}",type="{PAID}"}} {number}.0'
        assert line in shown


# -- with a worker, and the real SDK on the stand-in -----------------------------------------------


@pytest.fixture
async def edge(real: RealShop, database: Database) -> AsyncIterator[Post]:
    """The edge of the shop with a worker, at work; Stripe tells it nothing but what a test does."""
    inbox = real.edge.inbox
    assert inbox is not None
    async with inbox.at_work():
        post = Post(real.http, inbox, database)
        yield post
        await post.forget()


@pytest.fixture
async def faults(real: RealShop) -> AsyncIterator[FaultClient]:
    async with FaultClient(str(real.world.base_url)) as client:
        yield client
        await client.clear()


async def signals_of(real: RealShop, order_id: str) -> int:
    """How many signals the order's run has got."""
    return await signals(real.temporal, order_id)


@asynccontextmanager
async def asking_stripe(real: RealShop, faults: FaultClient, order_id: str) -> AsyncIterator[str]:
    """Stripe has done what it was asked for the order, and its answer is on its way until the end
    of the block; the payment's id.
    """
    late = await faults.inject(CONFIRM, "delay_after", order_id=order_id, seconds=30)
    try:
        yield await confirmed(real, faults, late, order_id)
    finally:
        await faults.remove(late)


async def confirmed(real: RealShop, faults: FaultClient, late: Any, order_id: str) -> str:
    if not (await real.edge.orders.view(order_id)).payments:
        await real.edge.orders.start(order_id)
    await faults.wait_for_hits(late)
    [payment] = (await real.edge.orders.view(order_id)).payments
    return payment.payment_id


async def test_stripes_own_news_of_an_ordinary_order_signal_nobody(
    real: RealShop, database: Database
) -> None:
    inbox = real.edge.inbox
    assert inbox is not None
    async with served(real.app) as address, inbox.at_work():
        post = Post(real.http, inbox, database)
        await real.world.post("/sandbox/webhooks", json=webhook_endpoints(address))
        try:
            order_ids = [await real.completed() for _ in range(3)]

            async def all_came() -> bool:
                return len(await post.kept()) == len(order_ids)

            await eventually(all_came)
            assert [ending for ending, _ in await endings(post)] == ["already_known"] * 3
        finally:
            await real.world.post("/sandbox/webhooks", json={})
        await post.forget()
    assert [await signals_of(real, order_id) for order_id in order_ids] == [0] * 3


async def test_news_that_overtake_stripes_answer_signal_nobody(
    real: RealShop, edge: Post, faults: FaultClient
) -> None:
    order_id = await real.place()
    async with asking_stripe(real, faults, order_id) as payment_id:
        await send(edge, PAID, order_id, payment_id)
        await waits(edge)
    assert (await real.edge.orders.result(order_id)).status is Status.COMPLETED
    assert await ending_of(edge) == "already_known"
    assert await signals_of(real, order_id) == 0


async def test_a_bank_that_decides_while_stripes_answer_is_under_way_is_heard(
    real: RealShop, edge: Post, faults: FaultClient
) -> None:
    """The answer says that it has not decided: without the news the run would look in 5 minutes."""
    order_id = await real.place(BANK_TAKES_TIME)
    async with asking_stripe(real, faults, order_id) as payment_id:
        settle = f"/sandbox/payment_intents/{payment_id}/settle"
        (await real.world.post(settle, json={"outcome": "succeed"})).raise_for_status()
        await send(edge, PAID, order_id, payment_id)
        await waits(edge)
    outcome = await asyncio.wait_for(real.edge.orders.result(order_id), 30)
    assert outcome.status is Status.COMPLETED
    assert await ending_of(edge) == "told"
    assert await signals_of(real, order_id) == 1


async def test_a_late_decline_of_the_first_card_is_nothing_to_an_order_that_the_second_has_paid(
    real: RealShop, edge: Post, faults: FaultClient
) -> None:
    order_id = await real.place("pm_card_visa_chargeDeclinedInsufficientFunds")
    checkout = {"order_id": order_id, "wait_seconds": 15}
    told = (await real.http.post("/checkout", json=checkout)).json()["payment"]
    assert told["state"] == "declined"
    [payment] = (await real.edge.orders.view(order_id)).payments
    # While it waits for another card it is told: it may have been another try, in the browser.
    await send(edge, DECLINED, order_id, payment.payment_id)
    assert await ending_of(edge) == "told"
    await edge.forget()

    late = await faults.inject(CONFIRM, "delay_after", order_id=order_id, seconds=30)
    await real.edge.orders.submit_payment_method(order_id, "pm_card_visa")
    await faults.wait_for_hits(late)
    await send(edge, DECLINED, order_id, payment.payment_id)
    await waits(edge)
    await faults.remove(late)
    assert (await real.edge.orders.result(order_id)).status is Status.COMPLETED
    assert await ending_of(edge) == "already_known"
    assert await signals_of(real, order_id) == 1


async def test_a_customer_who_confirms_at_the_bank_is_heard_at_once(
    real: RealShop, edge: Post
) -> None:
    order_id = await real.place("pm_card_authenticationRequired")
    asked = await real.http.post("/checkout", json={"order_id": order_id, "wait_seconds": 15})
    payment_id = asked.json()["payment"]["payment_id"]
    authenticate = f"/sandbox/payment_intents/{payment_id}/authenticate"
    (await real.world.post(authenticate, json={"outcome": "succeed"})).raise_for_status()
    await send(edge, PAID, order_id, payment_id)
    outcome = await asyncio.wait_for(real.edge.orders.result(order_id), 30)
    assert outcome.status is Status.COMPLETED
    assert await ending_of(edge) == "told"
    # Told once more, it has nothing to say.
    await send(edge, PAID, order_id, payment_id)
    assert [ending for ending, _ in await endings(edge)] == ["told", "already_known"]
    assert await signals_of(real, order_id) == 1


async def test_the_cancellation_that_undoes_a_declined_order_signals_nobody(
    real: RealShop, edge: Post
) -> None:
    order_id = await real.place("pm_card_authenticationRequired")
    await real.http.post("/checkout", json={"order_id": order_id, "wait_seconds": 15})
    [payment] = (await real.edge.orders.view(order_id)).payments
    await real.edge.orders.cancel(order_id)
    assert (await real.edge.orders.result(order_id)).status is Status.CANCELLED
    await send(edge, CANCELLED, order_id, payment.payment_id)
    assert await ending_of(edge) == "already_known"
    assert await signals_of(real, order_id) == 0
