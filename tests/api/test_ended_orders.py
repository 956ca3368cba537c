"""Events about the payments of orders that have ended: each has the order examined, or is known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from durable_orders.api.webhook_inbox import Inbox
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.audit.messages import Examination
from durable_orders.domain.ids import UNDO_REFUND_ID, examination_workflow_id, refund_workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, CardRefund, CardRefundState, ChargeState
from durable_orders.domain.refunds.refund import RefundState
from durable_orders.domain.webhooks import is_known_by_end
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.seed import DEMO, add_products
from durable_orders.store.webhook_events import PostgresMailLog, PostgresWebhookEventRepository
from tests.api.posting import ALL, Post, posting
from tests.contracts.signing import signed, stripe_event
from tests.support.charges import announce, record
from tests.support.shop import Shop, basket

STOP = Stop(StopReason.CANCELLED, "cancelled")


class Ended:
    """Orders in PostgreSQL that have ended, with an inbox; nobody works in the shop."""

    def __init__(self, shop: Shop, database: Database) -> None:
        self.shop, self.database = shop, database
        self.orders = PostgresOrderRepository(database)
        self.ledger = PostgresPaymentLedger(database)
        self.refunds = PostgresRefundBook(database)
        self.order_ids: list[str] = []

    def inbox(self) -> Inbox:
        return Inbox(
            readers=ALL,
            events=PostgresWebhookEventRepository(self.database),
            mails=PostgresMailLog(self.database),
            payments=self.ledger,
            orders=OrderClient(self.shop.temporal, self.orders),
            refunds=RefundClient(self.shop.temporal, self.refunds),
            audits=AuditClient(self.shop.temporal),
            risks=PaymentRiskClient(self.shop.temporal, PostgresDisputeRepository(self.database)),
        )

    async def order(self, status: Status = Status.COMPLETED) -> str:
        """An order that was paid and has ended like this; its id."""
        order_id = f"ended-{len(self.order_ids)}-{datetime.now(UTC).timestamp():.6f}"
        order = await self.orders.place(basket(order_id), datetime.now(UTC))
        self.order_ids.append(order_id)
        await announce(self.ledger, order)
        nothing = Money(0, "EUR")
        state = ChargeState.CAPTURED
        taken = order.total
        if status in {Status.CANCELLED, Status.REJECTED}:
            state, taken = ChargeState.CANCELLED, nothing
        charge = CardCharge(f"pi_{order_id}", state, order.total, taken, nothing)
        await record(self.ledger, order_id, charge, answers=1)
        path = {
            Status.COMPLETED: (Status.PAID, Status.FULFILLED, Status.COMPLETED),
            Status.REFUNDED: (Status.PAID, Status.REFUNDED),
        }
        for step in path.get(status, (status,)):
            stop = STOP if step is status and status is not Status.COMPLETED else None
            await self.orders.move(order_id, step, stop, datetime.now(UTC))
        return order_id

    async def undone(self, state: CardRefundState | None) -> str:
        """An undone order whose refund is like this at the provider; None: it is being made."""
        order_id = await self.order(Status.REFUNDED)
        total, now = Money(29_00, "EUR"), datetime.now(UTC)
        entry = await self.refunds.reserve_undo(order_id, f"pi_{order_id}", total, now)
        assert entry is not None
        if state is not None:
            refund = CardRefund(f"re_{order_id}", total, state)
            await self.refunds.tell(order_id, UNDO_REFUND_ID, 1, refund, now)
        return order_id

    def examination(self, order_id: str) -> WorkflowHandle[object, object]:
        return self.shop.temporal.get_workflow_handle(examination_workflow_id(order_id))

    async def is_examined(self, order_id: str) -> bool:
        with contextlib.suppress(RPCError):
            run = await self.examination(order_id).describe()
            return run.status is WorkflowExecutionStatus.RUNNING
        return False

    async def clear(self) -> None:
        for order_id in self.order_ids:
            refund = refund_workflow_id(order_id, UNDO_REFUND_ID)
            for run in (examination_workflow_id(order_id), refund):
                with contextlib.suppress(RPCError):
                    await self.shop.temporal.get_workflow_handle(run).terminate()


@pytest.fixture
async def ended(closed_shop: Shop, database: Database) -> AsyncIterator[Ended]:
    await add_products(database, DEMO)
    made = Ended(closed_shop, database)
    yield made
    await made.clear()


@pytest.fixture
async def post(ended: Ended) -> AsyncIterator[Post]:
    async with posting(ended.shop, ended.database, ended.inbox()) as open_:
        yield open_
        await open_.forget()


async def told(post: Post, type_: str, **of_object: object) -> tuple[str | None, str]:
    """How the delivery of such an event ended; an empty text: it was not even stored."""
    metadata = of_object.pop("metadata", {"installation": ""})
    assert isinstance(metadata, dict)
    body = json.loads(stripe_event(type_, metadata))
    body["data"]["object"] |= of_object
    before = len(await post.kept())
    await post.send("stripe", signed("stripe", json.dumps(body).encode()))
    await post.inbox.tell_due()
    rows = (await post.kept())[before:]
    return (rows[-1].ending, rows[-1].problem) if rows else ("", "")


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.REFUNDED, Status.CANCELLED])
async def test_a_refund_in_the_dashboard_after_the_end_has_the_order_examined(
    ended: Ended, post: Post, status: Status
) -> None:
    order_id = await ended.order(status)
    ending, why = await told(post, "charge.refunded", metadata={"order_id": order_id})
    assert (ending, why.endswith("it is examined")) == ("told", True)
    assert await ended.is_examined(order_id)


async def test_several_events_about_an_order_are_one_examination(ended: Ended, post: Post) -> None:
    order_id = await ended.order()
    for _ in range(3):
        await told(post, "charge.refunded", metadata={"order_id": order_id})
    history = await ended.examination(order_id).fetch_history()
    signals = [
        e for e in history.events if e.HasField("workflow_execution_signaled_event_attributes")
    ]
    assert len(signals) == 3
    started = history.events[0].workflow_execution_started_event_attributes
    assert json.loads(started.input.payloads[0].data)["order_id"] == order_id
    assert Examination(order_id).order_id == order_id


@pytest.mark.parametrize("type_", ["refund.updated", "refund.failed", "charge.refund.updated"])
async def test_a_refund_without_our_mark_is_found_by_its_payment(
    ended: Ended, post: Post, type_: str
) -> None:
    order_id = await ended.order()
    ending, why = await told(post, type_, payment_intent=f"pi_{order_id}")
    assert (ending, why.endswith("it is examined")) == ("told", True)
    assert await ended.is_examined(order_id)


@pytest.mark.parametrize("payment_intent", ["pi_of_another_application", None])
async def test_a_refund_of_another_application_is_not_even_stored(
    post: Post, payment_intent: str | None
) -> None:
    assert await told(post, "refund.failed", payment_intent=payment_intent) == ("", "")


@pytest.mark.parametrize(
    ("type_", "status", "is_examined"),
    [
        ("payment_intent.succeeded", Status.COMPLETED, False),
        ("payment_intent.succeeded", Status.REFUNDED, False),
        ("payment_intent.succeeded", Status.CANCELLED, True),
        ("payment_intent.succeeded", Status.REJECTED, True),
        ("payment_intent.amount_capturable_updated", Status.COMPLETED, False),
        ("payment_intent.amount_capturable_updated", Status.CANCELLED, True),
        ("payment_intent.payment_failed", Status.REJECTED, False),
        ("payment_intent.payment_failed", Status.COMPLETED, False),
        ("payment_intent.canceled", Status.CANCELLED, True),
    ],
)
async def test_what_an_order_knew_when_it_ended_needs_no_examination(
    ended: Ended, post: Post, type_: str, status: Status, *, is_examined: bool
) -> None:
    order_id = await ended.order(status)
    ending, why = await told(post, type_, metadata={"order_id": order_id})
    assert await ended.is_examined(order_id) is is_examined
    assert ending == ("told" if is_examined else "nobody")
    assert ("knew of it" in why) is not is_examined


def test_news_that_may_be_anything_are_never_known() -> None:
    assert not any(is_known_by_end(None, status) for status in Status)
    assert all(is_known_by_end(PaymentChange.DECLINED, status) for status in Status)


@pytest.mark.parametrize("state", [CardRefundState.PENDING, CardRefundState.SUCCEEDED])
async def test_news_of_the_refund_that_undid_an_order_start_its_run(
    ended: Ended, post: Post, state: CardRefundState
) -> None:
    order_id = await ended.undone(state)
    key = f"testshop:order-{order_id}:charge:pi_{order_id}:undo"
    metadata = {"order_id": order_id, "refund_key": key}
    for type_ in ("refund.failed", "refund.updated"):
        assert await told(post, type_, metadata=metadata) == ("told", "")
    run = ended.shop.temporal.get_workflow_handle(refund_workflow_id(order_id, UNDO_REFUND_ID))
    assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
    assert not await ended.is_examined(order_id)


async def test_news_of_a_refund_that_the_order_makes_just_now_wait(
    ended: Ended, post: Post
) -> None:
    order_id = await ended.undone(None)
    key = f"testshop:order-{order_id}:charge:pi_{order_id}:undo"
    metadata = {"order_id": order_id, "refund_key": key}
    ending, why = await told(post, "refund.updated", metadata=metadata)
    assert (ending, "is being made by the order itself" in why) == (None, True)


async def test_news_of_a_refund_that_was_settled_by_hand_have_the_order_examined(
    ended: Ended, post: Post
) -> None:
    order_id = await ended.undone(CardRefundState.FAILED)
    now, settled = datetime.now(UTC), RefundState.SETTLED
    await ended.refunds.move(order_id, UNDO_REFUND_ID, settled, now, "settled by hand")
    key = f"testshop:order-{order_id}:charge:pi_{order_id}:undo"
    metadata = {"order_id": order_id, "refund_key": key}
    ending, why = await told(post, "refund.updated", metadata=metadata)
    assert (ending, why.endswith("the order is examined")) == ("told", True)
    assert await ended.is_examined(order_id)


async def test_news_of_a_refund_that_our_books_lack_have_the_order_examined(
    ended: Ended, post: Post
) -> None:
    order_id = await ended.order()
    key = f"testshop:order-{order_id}:refund:r9:1"
    metadata = {"order_id": order_id, "refund_key": key}
    ending, why = await told(post, "refund.failed", metadata=metadata)
    assert (ending, why) == (
        "told",
        f"order {order_id} has no refund r9: the order is examined",
    )
    assert await ended.is_examined(order_id)


async def test_an_order_whose_run_was_lost_is_examined(ended: Ended, post: Post) -> None:
    order_id = await ended.order(Status.COMPLETED)
    stranded = f"stranded-{order_id}"
    await ended.orders.place(basket(stranded), datetime.now(UTC))
    ended.order_ids.append(stranded)
    await ended.orders.move(stranded, Status.PAID, None, datetime.now(UTC))
    ending, why = await told(post, "charge.refunded", metadata={"order_id": stranded})
    assert (ending, why.endswith("it is examined")) == ("told", True)
    assert await ended.is_examined(stranded)
