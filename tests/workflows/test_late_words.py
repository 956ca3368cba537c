"""A word that is accepted is acted upon, or its caller is told that it came too late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError

from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import LockedOutError, NoAnswerError, RefusedError
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import (
    OperatorCommand,
    Resolve,
    RetryNow,
    SkipStep,
)
from tests.fakes.script import BlockedCall, Scripted
from tests.workflows import refunds
from tests.workflows.conftest import Shop, ended
from tests.workflows.test_operator import SOON, give, refused, refusing_warehouse, troubled
from tests.workflows.test_waiting import DECLINED, MASTERCARD, wanted
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

RETRY, SKIP = RetryNow("ops-7"), SkipStep("it hangs", "ops-7")
BY_HAND = Resolve("sent by bank transfer", "ops-7")


Word = WorkflowUpdateHandle[Any]


async def send(handle: WorkflowHandle[Any, Any], command: OperatorCommand) -> Word:
    """Give a command; returns once the run has accepted it, whatever becomes of it."""
    workflow = OrderWorkflow if handle.id.startswith("order-") else RefundWorkflow
    return await handle.start_update(
        workflow.operate, command, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )


async def lines(shop: Shop, order_id: str) -> list[tuple[str, str, str]]:
    """What the order's history says of operators' words."""
    return [
        (line.event, line.detail["step"], line.detail["by"])
        for line in (await shop.book.view(order_id)).history
        if line.event.startswith("operator_")
    ]


# -- a try that is in flight succeeds --------------------------------------------------------------


async def in_the_warehouse(shop: Shop) -> tuple[Handle, BlockedCall]:
    """A step that may be given up keeps failing, and the try in flight succeeds."""
    silence = NoAnswerError("nobody answers", retry_after=SOON)
    shop.warehouse.fail_next("fulfill", silence, times=6)
    return await in_flight(shop, shop.warehouse, "fulfill")


async def at_the_bank(shop: Shop) -> tuple[Handle, BlockedCall]:
    """The same, of the step that takes the money."""
    locked = LockedOutError("the key is not accepted", retry_after=SOON)
    shop.cards.fail_next("confirm", locked, times=3)
    return await in_flight(shop, shop.cards, "confirm")


async def in_the_books(shop: Shop) -> tuple[Handle, BlockedCall]:
    """What happened is being recorded: that can only be tried again."""
    shop.inventory.fail_next("commit", NoAnswerError("away", retry_after=SOON), times=5)
    return await in_flight(shop, shop.inventory, "commit")


async def in_flight(shop: Shop, neighbour: Scripted, method: str) -> tuple[Handle, BlockedCall]:
    answering = neighbour.hold(method, where="after", is_cut=False)
    handle = await shop.order(waits=True)
    await answering.entered()
    await troubled(handle)
    return handle, answering


@dataclass(frozen=True)
class Crossing:
    """A step that keeps failing, with a try in flight."""

    begin: Callable[[Shop], Awaitable[tuple[Handle, BlockedCall]]]
    step: str
    command: OperatorCommand


@pytest.mark.parametrize(
    "crossing",
    [
        Crossing(in_the_warehouse, "fulfill_order", SKIP),
        Crossing(in_the_warehouse, "fulfill_order", RETRY),
        Crossing(at_the_bank, "charge_card", SKIP),
        Crossing(at_the_bank, "charge_card", RETRY),
        Crossing(in_the_books, "update_inventory", RETRY),
    ],
    ids=lambda crossing: f"{crossing.step}-{crossing.command.kind}",
)
async def test_a_word_that_crosses_a_success_came_too_late(shop: Shop, crossing: Crossing) -> None:
    handle, answering = await crossing.begin(shop)
    word = await send(handle, crossing.command)
    answering.release()

    sentence = await refused(word.result())

    assert sentence == f"it came too late: {crossing.step} is done, by a try that was in flight"
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    event = f"operator_{crossing.command.kind}_too_late"
    assert await lines(shop, outcome.order_id) == [(event, crossing.step, "ops-7")]


@pytest.mark.parametrize("command", [BY_HAND, RetryNow("ops-8")], ids=lambda each: each.kind)
async def test_what_was_given_back_meanwhile_is_not_given_back_by_hand(
    shop: Shop, command: OperatorCommand
) -> None:
    shop.cards.fail_next("refund", RefusedError("the balance is too low"))
    handle = await refusing_warehouse(shop)
    await troubled(handle)
    answering = shop.cards.hold("refund", where="after", is_cut=False)
    await give(handle, RETRY)
    await answering.entered()

    word = await send(handle, command)
    answering.release()

    sentence = await refused(word.result())
    assert sentence == "it came too late: refund_card is done, by a try that was in flight"
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REFUNDED
    assert (await shop.book.view(outcome.order_id)).given_back_by_hand is None
    assert await lines(shop, outcome.order_id) == [
        ("operator_retry_now", "refund_card", "ops-7"),
        (f"operator_{command.kind}_too_late", "refund_card", command.by),
    ]


async def test_what_was_released_meanwhile_needs_no_hand(shop: Shop) -> None:
    shop.inventory.fail_next("release", RefusedError("the row is broken"))
    handle = await refusing_warehouse(shop)
    assert (await troubled(handle)).step == "release_inventory"
    answering = shop.inventory.hold("release", where="after", is_cut=False)
    await give(handle, RETRY)
    await answering.entered()
    word = await send(handle, Resolve("released in the database"))
    answering.release()
    assert "release_inventory is done" in await refused(word.result())
    await shop.check(await handle.result())


async def test_a_parcel_that_was_recalled_meanwhile_needs_no_telephone(shop: Shop) -> None:
    accepting = shop.warehouse.hold("fulfill", where="after")
    shop.warehouse.fail_next("cancel", RefusedError("no such order"))
    handle = await shop.order(waits=True)
    await accepting.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    accepting.release()
    assert (await troubled(handle)).step == "cancel_fulfillment"
    answering = shop.warehouse.hold("cancel", where="after", is_cut=False)
    await give(handle, RETRY)
    await answering.entered()
    word = await send(handle, Resolve("called back by telephone"))
    answering.release()
    assert "cancel_fulfillment is done" in await refused(word.result())
    await shop.check(await handle.result())


async def test_a_try_that_fails_in_spite_of_the_word_leaves_it_to_the_operator(shop: Shop) -> None:
    """The answer of the try in flight is waited for; it is no success, so the word counts."""
    shop.cards.fail_next("refund", RefusedError("the balance is too low"))
    handle = await refusing_warehouse(shop)
    await troubled(handle)
    asking = shop.cards.hold("refund")
    await give(handle, RETRY)
    await asking.entered()
    await give(handle, BY_HAND)
    outcome = await handle.result()
    view = await shop.book.view(outcome.order_id)
    assert view.given_back_by_hand == outcome.taken
    assert shop.cards.given_back(outcome.order_id) == 0
    assert [event for event, *_ in await lines(shop, outcome.order_id)] == [
        "operator_retry_now",
        "operator_resolve",
    ]


# -- more than one word ----------------------------------------------------------------------------


async def test_a_second_word_does_not_push_the_first_one_out(shop: Shop) -> None:
    handle, answering = await in_the_warehouse(shop)
    first = await send(handle, RETRY)
    second = await refused(give(handle, SkipStep("burnt down", "ops-8")))
    answering.release()
    assert second == "ops-7 has given fulfill_order a retry-now just now"
    assert "is done, by a try that was in flight" in await refused(first.result())
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_a_word_about_an_order_that_is_being_stopped_came_too_late(shop: Shop) -> None:
    silence = NoAnswerError("nobody answers", retry_after=SOON)
    shop.warehouse.fail_next("fulfill", silence, times=6)
    asking = shop.warehouse.hold("fulfill", is_cut=False)
    handle = await shop.order(waits=True)
    await asking.entered()
    await troubled(handle)
    await handle.signal(OrderWorkflow.cancel_order)
    word = await send(handle, SKIP)
    shop.warehouse.refuse(handle.id.removeprefix("order-"), "the roof leaks")
    asking.release()
    assert "it came too late" in await refused(word.result())
    outcome = await shop.check(await ended(handle))
    assert outcome.stop is not None
    assert outcome.stop.reason == "cancelled"


async def test_a_word_is_answered_though_it_cannot_be_written_down_yet(shop: Shop) -> None:
    handle, answering = await in_the_warehouse(shop)
    shop.book.fail_next("note", NoAnswerError("the database is away"), times=6)
    word = await send(handle, RETRY)
    answering.release()
    assert "is done, by a try that was in flight" in await refused(word.result())
    outcome = await shop.check(await handle.result())
    assert [event for event, *_ in await lines(shop, outcome.order_id)] == [
        "operator_retry_now_too_late"
    ]


# -- refunds ---------------------------------------------------------------------------------------


async def test_a_refund_that_was_made_meanwhile_is_not_paid_by_hand(shop: Shop) -> None:
    order_id, id_ = await refunds.paid(shop), refunds.new_id()
    shop.cards.fail_next("refund", RefusedError("the balance is too low"))
    handle = await refunds.begin(shop, RefundRequest(order_id, id_), waits=True)
    await refunds.needs_a_person(handle)
    answering = shop.cards.hold("refund", where="after", is_cut=False)
    await handle.execute_update(RefundWorkflow.operate, RETRY)
    await answering.entered()

    word = await send(handle, BY_HAND)
    answering.release()

    sentence = await refused(word.result())
    assert sentence == "it came too late: issue_refund is done, by a try that was in flight"
    assert (await refunds.ended(shop, handle, order_id)).state is RefundState.SUCCEEDED
    assert ("operator_resolve_too_late", "issue_refund", "ops-7") in await lines(shop, order_id)


async def test_pieces_that_were_put_back_meanwhile_are_put_back_once(shop: Shop) -> None:
    order_id, id_ = await refunds.paid(shop), refunds.new_id()
    shop.refunds.fail_next("restock", RefusedError("the row is broken"))
    request = RefundRequest(order_id, id_, restock=True)
    handle = await refunds.begin(shop, request, waits=True)
    await refunds.needs_a_person(handle)
    answering = shop.refunds.hold("restock", where="after", is_cut=False)
    await handle.execute_update(RefundWorkflow.operate, RETRY)
    await answering.entered()
    word = await send(handle, RetryNow("ops-8"))
    answering.release()
    assert "restock_refund is done, by a try that was in flight" in await refused(word.result())
    assert (await refunds.ended(shop, handle, order_id)).restocked


# -- another card ----------------------------------------------------------------------------------


class TestAnotherCard:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=2))

    async def test_a_card_that_crosses_a_payment_in_the_browser_is_refused(
        self, shop: Shop
    ) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        [charge] = shop.cards.charges.values()
        shop.cards.fail_next("read", NoAnswerError("silence", retry_after=SOON), times=5)
        looking = shop.cards.hold("read", where="after")
        shop.cards.confirm_in_browser(charge.payment_id)
        await handle.signal(OrderWorkflow.payment_updated)
        await looking.entered()
        card = await handle.start_update(
            OrderWorkflow.submit_payment_method,
            MASTERCARD,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
        )
        looking.release()

        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await card.result()

        assert isinstance(refusal.value.cause, ApplicationError)
        assert refusal.value.cause.type == NOT_WAITING
        assert "has gone on without it" in refusal.value.cause.message
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
