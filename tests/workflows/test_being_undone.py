"""It is written down that an order is undone before anybody is asked to undo anything.

A worker that was cut off (killed inside a COMMIT, frozen just before it) is played by a call of its
activity while another one undoes the order.
"""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowHandle

from activities.fulfillment import FulfillmentActivities
from activities.payments import PaymentActivities
from durable_orders.domain.activity_messages import (
    CancelRequest,
    ChargeRequest,
    OrderRef,
    OrderUndone,
    Outcome,
    StockCommitted,
)
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from tests.fakes.script import BlockedCall
from tests.support.eventually import eventually
from tests.workflows.conftest import Shop
from tests.workflows.test_waiting import reached
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

CANCELLED = Stop(StopReason.CANCELLED, "cancelled by customer")
REFUSED = OrderUndone(CANCELLED)


async def cancelled_at_the_warehouse(shop: Shop) -> Handle:
    """An order that is cancelled while the warehouse accepts it."""
    accepting = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await accepting.entered()
    await handle.signal(OrderWorkflow.cancel_order, CancelRequest())
    accepting.release()
    return handle


def order_of(handle: Handle) -> str:
    return handle.id.removeprefix("order-")


async def events_of(shop: Shop, handle: Handle) -> list[str]:
    return [line.event for line in (await shop.book.view(order_of(handle))).history]


async def test_stock_that_is_committed_late_stays_where_it_is(shop: Shop) -> None:
    """Frozen just before the stock's commit; the recall is under way."""
    recall = shop.warehouse.hold("cancel")
    handle = await cancelled_at_the_warehouse(shop)
    await recall.entered()

    late = await shop.inventory.commit(order_of(handle))

    recall.release()
    outcome = await shop.check(await handle.result())
    assert late == REFUSED
    assert (outcome.status, outcome.stop) == (Status.REFUNDED, CANCELLED)


async def test_a_recall_whose_answer_is_lost_does_not_overrule_itself(shop: Shop) -> None:
    """The stock is committed late between its two tries: the parcel is recalled already."""
    shop.warehouse.lose_answer_next("cancel")
    handle = await cancelled_at_the_warehouse(shop)

    async def recalled() -> bool:
        return order_of(handle) in shop.warehouse.cancelled

    await eventually(recalled)
    late = await shop.inventory.commit(order_of(handle))

    outcome = await shop.check(await handle.result())
    assert late == REFUSED
    assert (outcome.status, outcome.stop) == (Status.REFUNDED, CANCELLED)
    assert shop.warehouse.calls.count("cancel") == 2


async def test_an_order_whose_stock_was_committed_first_is_not_recalled(shop: Shop) -> None:
    """Killed inside the stock's COMMIT, which PostgreSQL carried out."""
    accepting = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await accepting.entered()
    assert await shop.inventory.commit(order_of(handle)) == StockCommitted()
    await handle.signal(OrderWorkflow.cancel_order)
    accepting.release()

    assert (await shop.check(await handle.result())).status is Status.COMPLETED
    assert "cancel" not in shop.warehouse.calls
    assert "undo_begun" not in await events_of(shop, handle)


async def test_a_parcel_that_had_left_ends_the_undoing(shop: Shop) -> None:
    """Until the warehouse has said so nothing is committed, and afterwards all of it."""
    recall = shop.warehouse.hold("cancel")
    handle = await cancelled_at_the_warehouse(shop)
    await recall.entered()
    assert await shop.inventory.commit(order_of(handle)) == REFUSED
    shop.warehouse.dispatch(order_of(handle))
    recall.release()

    assert (await shop.check(await handle.result())).status is Status.COMPLETED
    events = await events_of(shop, handle)
    assert events.index("undo_begun") < events.index("order_kept") < events.index("order_fulfilled")


async def test_it_is_written_down_before_the_warehouse_is_asked(shop: Shop) -> None:
    recall = shop.warehouse.hold("cancel")
    handle = await cancelled_at_the_warehouse(shop)
    await recall.entered()
    events = await events_of(shop, handle)
    view = await shop.book.view(order_of(handle))
    recall.release()
    assert "undo_begun" in events
    assert (view.order.status, view.order.reason) == (Status.PAID, StopReason.CANCELLED)
    await shop.check(await handle.result())


async def test_nobody_is_asked_while_it_cannot_be_written_down(shop: Shop) -> None:
    shop.book.fail_next("begin_undo", NoAnswerError("the database is away"), times=7)
    handle = await cancelled_at_the_warehouse(shop)

    async def flagged() -> bool:
        return (await handle.query(OrderWorkflow.status)).attention is not None

    await eventually(flagged)
    assert "cancel" not in shop.warehouse.calls
    assert (await shop.check(await handle.result())).status is Status.REFUNDED


async def test_an_order_that_is_being_undone_is_not_handed_over(shop: Shop) -> None:
    """By a worker that was cut off before it looked at the order; nobody recalls it any more."""
    undoing = shop.cards.hold("refund")
    handle = await cancelled_at_the_warehouse(shop)
    await undoing.entered()
    asked = shop.warehouse.calls.count("fulfill")
    late = FulfillmentActivities(shop.warehouse, shop.book)
    assert await late.fulfill_order(OrderRef(order_of(handle))) == REFUSED
    assert shop.warehouse.calls.count("fulfill") == asked
    undoing.release()
    assert (await shop.check(await handle.result())).status is Status.REFUNDED


class TestMoneyThatIsOnlyHeld:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    async def test_an_order_that_is_being_undone_is_not_captured(self, shop: Shop) -> None:
        recall = shop.warehouse.hold("cancel")
        handle = await cancelled_at_the_warehouse(shop)
        await recall.entered()
        late = PaymentActivities(shop.cards, shop.ledger, shop.book, shop.refunds)
        assert await late.capture_payment(OrderRef(order_of(handle))) == REFUSED
        assert await late.check_payment(OrderRef(order_of(handle))) == REFUSED
        assert "capture" not in shop.cards.calls
        recall.release()
        outcome = await shop.check(await handle.result())
        assert (outcome.status, outcome.taken.amount) == (Status.CANCELLED, 0)

    async def test_what_had_left_is_captured_once_the_undoing_has_ended(self, shop: Shop) -> None:
        recall = shop.warehouse.hold("cancel")
        handle = await cancelled_at_the_warehouse(shop)
        await recall.entered()
        shop.warehouse.dispatch(order_of(handle))
        recall.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED


class TestBeforeAnythingIsCharged:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(approval_above={"EUR": 0})

    @pytest.fixture
    async def releasing(self, shop: Shop) -> BlockedCall:
        return shop.inventory.hold("release")

    async def test_an_order_of_which_only_the_stock_is_released_is_not_charged(
        self, shop: Shop, releasing: BlockedCall
    ) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.signal(OrderWorkflow.cancel_order)
        await releasing.entered()

        late = PaymentActivities(shop.cards, shop.ledger, shop.book, shop.refunds)
        assert await late.charge_card(ChargeRequest(order_of(handle))) == REFUSED
        assert await shop.inventory.reserve(order_of(handle)) == REFUSED

        releasing.release()
        assert (await shop.check(await handle.result())).status is Status.CANCELLED
        assert shop.cards.charges == {}
