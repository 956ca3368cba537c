"""Money that goes away while its order goes on: a refund or a cancellation in the dashboard."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.operators.commands import offered_commands
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import Approve, PaymentChange, PaymentUpdate, Resolve
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, events
from tests.workflows.test_waiting import reason
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

SILENCE = NoAnswerError("nobody answers")


def payment_of(shop: Shop, handle: Handle) -> str:
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    return charge.payment_id


async def a_person_is_told(handle: Handle) -> str:
    """What a person is told, once one is."""
    problem = ""

    async def told() -> bool:
        nonlocal problem
        attention = (await handle.query(OrderWorkflow.status)).attention
        problem = attention.problem if attention else ""
        return attention is not None

    await eventually(told)
    return problem


async def stopped(shop: Shop, handle: Handle) -> None:
    """The order was stopped, nothing shipped, and a person is told until somebody has seen it."""
    assert "29.00 EUR of 29.00 EUR was given back" in await a_person_is_told(handle)
    assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is True
    attention = (await handle.query(OrderWorkflow.status)).attention
    assert attention is not None
    assert not attention.is_tried
    assert [one.effect for one in offered_commands(attention, "1001")] == ["you have seen to it"]
    # The customer does not wait for that person.
    order_id = handle.id.removeprefix("order-")
    assert (await shop.book.get(order_id)).status is Status.REFUNDED
    [mail] = [sent.mail for sent in shop.mailer.sent if order_id in sent.key]
    assert "its payment was given back before anything was sent" in mail.text
    await handle.execute_update(OrderWorkflow.operate, Resolve("a discount gone wrong", "ops-7"))
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REFUNDED
    assert reason(outcome) is StopReason.PAYMENT_RETURNED
    assert (outcome.taken, outcome.given_back) == (TOTAL, TOTAL)
    assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False


async def test_a_refund_that_the_order_is_told_of_stops_it_before_it_ships(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    # At once, while the warehouse has not answered.
    await stopped(shop, handle)
    gate.release()


async def test_a_refund_during_an_outage_of_the_warehouse_ends_the_trying(shop: Shop) -> None:
    shop.warehouse.fail_until_healed("fulfill", SILENCE)
    handle = await shop.order(waits=True)

    async def tried() -> bool:
        return "fulfill" in shop.warehouse.calls

    await eventually(tried)
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    await stopped(shop, handle)


async def test_a_refund_that_comes_with_the_warehouses_answer_recalls_the_parcel(
    shop: Shop,
) -> None:
    gate = shop.warehouse.hold("fulfill", where="after")
    look = shop.cards.hold("read")
    handle = await shop.order(waits=True)
    await gate.entered()
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    await look.entered()
    gate.release()
    look.release()
    await stopped(shop, handle)


async def test_a_refund_that_nobody_told_of_is_seen_when_the_warehouse_took_its_time(
    shop: Shop,
) -> None:
    shop.warehouse.fail_next("fulfill", SILENCE, times=4)  # 1 + 2 + 4 + 8 seconds
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order()
    await gate.entered()
    shop.cards.refund_by_hand(payment_of(shop, handle))
    gate.release()
    await stopped(shop, handle)


@pytest.mark.parametrize("change", [PaymentChange.PAID, PaymentChange.DECLINED, None])
async def test_news_of_what_is_known_costs_an_order_nothing(
    shop: Shop, change: PaymentChange | None
) -> None:
    """Stripe tells of every payment; only news that may be anything are looked at."""
    ordinary = await shop.order()
    await ordinary.result()
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    calls = list(shop.cards.calls)
    await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(change))
    if change is None:
        await eventually(lambda: _asked(shop, len(calls)))
    gate.release()
    assert (await handle.result()).status is Status.COMPLETED
    looks = 1 if change is None else 0
    assert shop.cards.calls[len(calls) :] == ["read"] * looks
    steps, plain = [
        events(await each.fetch_history()).count("MARKER_RECORDED") for each in (handle, ordinary)
    ]
    assert steps == plain + looks


async def _asked(shop: Shop, before: int) -> bool:
    return len(shop.cards.calls) > before


async def test_an_ordinary_order_asks_the_card_provider_twice(shop: Shop) -> None:
    await shop.check(await (await shop.order()).result())
    assert shop.cards.calls == ["create", "confirm"]


async def test_a_discount_in_the_dashboard_is_for_a_person(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    shop.cards.refund_by_hand(payment_of(shop, handle), Money(5_00, "EUR"))
    await handle.signal(OrderWorkflow.payment_updated)
    problem = await a_person_is_told(handle)
    assert problem.startswith("24.00 EUR of 29.00 EUR is there: 5.00 EUR was given back")
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7", "a discount"))
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    assert (outcome.taken, outcome.given_back) == (TOTAL, Money(5_00, "EUR"))


async def test_a_cancellation_counts_when_it_came_first(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    gate.release()
    outcome = await shop.check(await handle.result())
    assert (outcome.status, reason(outcome)) == (Status.REFUNDED, StopReason.CANCELLED)


async def test_a_parcel_that_had_left_when_the_money_went_is_for_a_person(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await gate.entered()
    order_id = handle.id.removeprefix("order-")
    shop.warehouse.dispatch(order_id)
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    gate.release()
    problem = await a_person_is_told(handle)
    assert problem == "the parcels have left, but their payment was given back at the card provider"
    await handle.execute_update(OrderWorkflow.operate, Resolve("paid by invoice"))
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    assert (outcome.taken, outcome.given_back) == (TOTAL, TOTAL)


async def test_money_that_went_when_the_order_was_kept_already_is_for_a_person(shop: Shop) -> None:
    """A worker wrote down that the order is fulfilled and died before it could tell the server."""
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await gate.entered()
    await shop.inventory.commit(handle.id.removeprefix("order-"))
    shop.cards.refund_by_hand(payment_of(shop, handle))
    await handle.signal(OrderWorkflow.payment_updated)
    gate.release()
    assert "the parcels have left" in await a_person_is_told(handle)
    await handle.execute_update(OrderWorkflow.operate, Resolve("paid by invoice"))
    assert (await handle.result()).status is Status.COMPLETED
    assert shop.warehouse.cancelled == set()


class TestMoneyThatIsOnlyHeld:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    async def test_a_hold_released_in_the_dashboard_stops_the_order(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        handle = await shop.order(waits=True)
        await gate.entered()
        shop.cards.cancel_by_hand(payment_of(shop, handle))
        await handle.signal(OrderWorkflow.payment_updated)
        outcome = await shop.check(await handle.result())
        gate.release()
        assert (outcome.status, reason(outcome)) == (Status.REJECTED, StopReason.HOLD_LAPSED)

    async def test_a_hold_captured_by_hand_pays_the_order(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        handle = await shop.order(waits=True)
        await gate.entered()
        payment_id = payment_of(shop, handle)
        await shop.cards.capture(payment_id, key="a hand in the dashboard")
        await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(PaymentChange.PAID))
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_hold_captured_and_given_back_by_hand_stops_the_order(self, shop: Shop) -> None:
        gate = shop.cards.hold("capture")
        handle = await shop.order(waits=True)
        await gate.entered()
        payment_id = payment_of(shop, handle)
        await shop.cards.capture(payment_id, key="by hand")
        shop.cards.refund_by_hand(payment_id)
        gate.release()
        await stopped(shop, handle)

    async def test_a_hold_captured_and_given_back_after_our_capture_stops_the_order(
        self, shop: Shop
    ) -> None:
        """Both news come with the answer of the capture: nothing is kept before a look."""
        gate = shop.cards.hold("capture", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        shop.cards.refund_by_hand(payment_of(shop, handle))
        for update in (PaymentUpdate(PaymentChange.PAID), PaymentUpdate()):
            await handle.signal(OrderWorkflow.payment_updated, update)
        gate.release()
        await stopped(shop, handle)

    async def test_an_ordinary_hold_is_looked_at_no_more_often(self, shop: Shop) -> None:
        gate = shop.cards.hold("capture", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(PaymentChange.PAID))
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert shop.cards.calls == ["create", "confirm", "capture"]
