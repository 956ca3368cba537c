"""The life of an order, branch by branch, on the real Temporal server."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.payments import PaymentActivities
from durable_orders.contracts.error_types import ALREADY_CARRIED, NO_SUCH_ORDER
from durable_orders.contracts.search_attributes import NEEDS_ATTENTION, ORDER_STATUS
from durable_orders.domain.activity_messages import ChargeRequest
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.ports import (
    ChargeState,
    DatabaseAwayError,
    LockedOutError,
    NoAnswerError,
    RefusedError,
)
from tests.support.eventually import eventually
from tests.workflows.conftest import HOURS_OF_SILENCE, QUANTITY, TOTAL, Shop, ended, events
from workflows.order import OrderWorkflow

SILENCE = NoAnswerError("nobody answers")


async def test_an_order_is_charged_fulfilled_confirmed_and_taken_off_stock(shop: Shop) -> None:
    handle = await shop.order()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    assert outcome.taken == TOTAL
    assert outcome.confirmed


async def test_the_database_learns_every_status_in_order(shop: Shop) -> None:
    outcome = await (await shop.order()).result()
    view = await shop.book.view(outcome.order_id)
    told = [line.event for line in view.history if line.event.startswith("order_")]
    assert told == ["order_placed", "order_paid", "order_fulfilled", "order_completed"]


async def test_an_order_out_of_stock_is_rejected_and_no_card_is_touched(shop: Shop) -> None:
    shop.database.products["MUG"].on_hand = QUANTITY - 1
    handle = await shop.order()
    outcome = await handle.result()
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.OUT_OF_STOCK
    assert shop.cards.charges == {}
    assert shop.database.products["MUG"].reserved == 0


async def test_a_declined_card_rejects_the_order_and_gives_the_stock_back(shop: Shop) -> None:
    handle = await shop.order("pm_card_visa_chargeDeclinedInsufficientFunds")
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.CARD_DECLINED
    assert "insufficient_funds" in outcome.stop.message


async def test_a_declined_charge_cannot_be_confirmed_later_from_a_browser(shop: Shop) -> None:
    outcome = await (await shop.order("pm_card_visa_chargeDeclined")).result()
    [charge] = shop.cards.charges_of(outcome.order_id)
    assert charge.state is ChargeState.CANCELLED


async def test_a_warehouse_that_refuses_gets_the_customer_the_money_back(shop: Shop) -> None:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    outcome = await shop.check(await (await shop.start(order_id)).result())
    assert outcome.status is Status.REFUNDED
    assert outcome.given_back == TOTAL
    assert outcome.stop is not None
    assert outcome.stop.message == (
        "the warehouse does not ship it (cannot_fulfill): the order's history has its words"
    )
    [said] = [
        line.detail
        for line in (await shop.book.view(order_id)).history
        if line.event == "warehouse_said"
    ]
    assert said == {"about": "fulfil, refused", "words": "the roof leaks"}


async def test_a_charge_without_an_answer_is_tried_three_times_then_the_order_fails(
    shop: Shop,
) -> None:
    shop.cards.fail_until_healed("create", SILENCE)
    handle = await shop.order()
    with pytest.raises(WorkflowFailureError, match="Workflow execution failed"):
        await handle.result()
    outcome = await shop.check(await ended(handle))
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.NO_ANSWER
    assert shop.cards.calls.count("create") == 3


async def test_two_silent_tries_of_the_charge_are_forgiven(shop: Shop) -> None:
    shop.cards.fail_next("confirm", SILENCE, times=2)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED


async def test_a_charge_that_happened_three_times_unheard_is_refunded_once(shop: Shop) -> None:
    """The money was taken and every answer lost: the undo finds it and gives it back."""
    shop.cards.lose_answer_next("confirm")
    shop.cards.fail_next("read", SILENCE, times=2)
    outcome = await shop.check(await ended(await shop.order()))
    assert outcome.status is Status.REFUNDED
    assert outcome.given_back == TOTAL
    assert len(shop.cards.refunds) == 1


@pytest.mark.parametrize("method", ["create", "confirm"])
async def test_a_charge_whose_answer_is_lost_is_made_once(shop: Shop, method: str) -> None:
    shop.cards.lose_answer_next(method)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED
    assert len(shop.cards.charges_of(outcome.order_id)) == 1


async def test_orders_survive_a_rotated_key(shop: Shop) -> None:
    shop.cards.fail_next("create", LockedOutError("the key is wrong"), times=8)
    handle = await shop.order()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    upserts = events(await handle.fetch_history()).count("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES")
    assert upserts == 4  # first of all, with attention on, with attention off, and at the end


async def test_our_own_database_being_away_does_not_use_up_the_charges_tries(shop: Shop) -> None:
    shop.ledger.fail_next("announce", DatabaseAwayError("the database gave no answer"), times=8)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED
    assert len(shop.cards.charges_of(outcome.order_id)) == 1


async def test_a_request_the_provider_refuses_outright_is_not_repeated(shop: Shop) -> None:
    shop.cards.fail_until_healed("create", RefusedError("no such parameter"))
    outcome = await shop.check(await ended(await shop.order()))
    assert outcome.status is Status.REJECTED
    assert shop.cards.calls.count("create") == 1


async def test_a_silent_warehouse_is_waited_for_hours_because_the_card_is_charged(
    shop: Shop,
) -> None:
    shop.warehouse.fail_next("fulfill", SILENCE, times=12)
    handle = await shop.order()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED


async def test_a_warehouse_silent_for_too_long_gets_the_customer_the_money_back(
    shop: Shop,
) -> None:
    shop.warehouse.fail_until_healed("fulfill", SILENCE)
    handle = await shop.order()
    outcome = await shop.check(await ended(handle))
    assert outcome.status is Status.REFUNDED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.NO_ANSWER
    described = await handle.describe()
    assert described.close_time is not None
    assert described.close_time - described.start_time > timedelta(hours=3)  # skipped, not waited


async def test_a_silent_warehouse_that_did_ship_keeps_its_order(shop: Shop) -> None:
    """Hours without an answer, then the recall hears that the parcel left: it was sold."""
    order_id = await shop.place()
    shop.warehouse.lose_answer_next("fulfill")
    shop.warehouse.fail_until_healed("fulfill", HOURS_OF_SILENCE)
    gate = shop.warehouse.hold("cancel")
    handle = await shop.start(order_id)
    await gate.entered()
    shop.warehouse.dispatch(order_id)
    gate.release()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    assert outcome.parcel_ids


async def test_a_database_away_for_a_while_delays_the_order_and_nothing_else(shop: Shop) -> None:
    shop.inventory.fail_next("reserve", SILENCE, times=12)
    shop.inventory.fail_next("commit", SILENCE, times=12)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED


@pytest.mark.parametrize(
    ("neighbour", "method"),
    [("inventory", "release"), ("ledger", "close"), ("cards", "refund"), ("warehouse", "cancel")],
)
@pytest.mark.parametrize("problem", [SILENCE, RefusedError("our own mistake")])
async def test_an_undo_that_keeps_failing_shows_itself_and_is_never_dropped(
    shop: Shop, neighbour: str, method: str, problem: Exception
) -> None:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    getattr(shop, neighbour).fail_next(method, problem, times=8)
    handle = await shop.start(order_id)
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REFUNDED
    described = await handle.describe()
    assert described.typed_search_attributes[NEEDS_ATTENTION] is False


async def test_a_mail_service_that_is_down_neither_fails_nor_delays_the_order(shop: Shop) -> None:
    gate = shop.mailer.hold("send")
    handle = await shop.order()
    await gate.entered()
    order_id = handle.id.removeprefix("order-")

    async def completed() -> bool:
        return (await shop.book.get(order_id)).status is Status.COMPLETED

    await eventually(completed)
    gate.release()
    await shop.check(await handle.result())


async def test_a_mail_that_cannot_be_sent_for_a_day_is_given_up_and_the_order_stands(
    shop: Shop,
) -> None:
    shop.mailer.fail_until_healed("send", HOURS_OF_SILENCE)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED
    assert not outcome.confirmed


async def test_a_refused_address_costs_the_customer_the_mail_only(shop: Shop) -> None:
    shop.mailer.refuse("ada@example.com")
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED
    assert not outcome.confirmed


async def test_a_run_for_an_order_nobody_placed_fails_at_once(shop: Shop) -> None:
    handle = await shop.start("nobody-placed-this")
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == NO_SUCH_ORDER


async def test_a_second_run_of_an_ended_order_changes_nothing(shop: Shop) -> None:
    handle = await shop.order()
    first = await handle.result()
    again = await shop.start(first.order_id)
    with pytest.raises(WorkflowFailureError) as failure:
        await again.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == ALREADY_CARRIED
    await shop.check(first)


async def test_a_late_charge_finds_the_order_closed_and_takes_nothing(shop: Shop) -> None:
    """A worker that was cut off wakes up long after the order was undone."""
    shop.cards.fail_until_healed("create", SILENCE)
    outcome = await ended(await shop.order())
    shop.cards.heal("create")
    late = PaymentActivities(shop.cards, shop.ledger, shop.book, shop.refunds)
    answer = await late.charge_card(ChargeRequest(outcome.order_id))
    assert answer.kind == "order_undone"
    await shop.check(outcome)


async def test_a_run_shows_itself_to_a_person(shop: Shop) -> None:
    handle = await shop.order()
    await handle.result()
    progress = await handle.query(OrderWorkflow.status)
    assert progress.status is Status.COMPLETED
    described = await handle.describe()
    attributes = {
        pair.key.name: pair.value for pair in described.typed_search_attributes.search_attributes
    }
    assert attributes["OrderStatus"] == "completed"
    assert attributes["CustomerId"] == "cus_1"
    assert attributes["OrderTotal"] == TOTAL.amount


async def test_history_holds_no_personal_data(shop: Shop) -> None:
    outcome = await (await shop.order()).result()
    handle = shop.client.get_workflow_handle(f"order-{outcome.order_id}")
    raw = (await handle.fetch_history()).to_json()
    for private in ("Ada", "Lovelace", "ada@example.com", "St James", "pm_card"):
        assert private not in raw


async def test_an_order_of_a_worker_that_knows_no_charge_is_one_activity_more(shop: Shop) -> None:
    handle = await shop.order()
    await handle.result()
    told = events(await handle.fetch_history())
    assert len(told) <= 23  # 22 when its client says whose it is
    assert told.count("WORKFLOW_TASK_COMPLETED") == 3


async def test_the_attribute_shows_the_statuses_that_last(shop: Shop) -> None:
    handle = await shop.order()
    await handle.result()
    shown = []
    for event in (await handle.fetch_history()).events:
        upserted = event.upsert_workflow_search_attributes_event_attributes.search_attributes
        if ORDER_STATUS.name in upserted.indexed_fields:
            shown.append(json.loads(upserted.indexed_fields[ORDER_STATUS.name].data))
    assert shown == [Status.PAID, Status.COMPLETED]  # fulfilled is over in milliseconds


async def test_a_mail_service_that_asks_for_patience_keeps_no_workflow_task_open(
    shop: Shop,
) -> None:
    patience = timedelta(seconds=30)
    shop.mailer.fail_next("send", NoAnswerError("too many", retry_after=patience))
    handle = await shop.order()
    assert (await shop.check(await handle.result())).confirmed
    assert shop.mailer.calls == ["send"] * 2
    told = events(await handle.fetch_history())
    assert "TIMER_FIRED" in told
