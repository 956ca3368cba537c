"""Words that reach a run in the same workflow task as a cancellation, before it or after."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Protocol

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from durable_orders.clients.errors import NotOperableError, NotWaitingError, UndecidedError
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.ids import refund_workflow_id, workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.refunds.messages import RefundAnswer, ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import Approve, Reject
from tests.fakes.cards import ELEVATED_RISK
from tests.support.eventually import eventually
from tests.support.shop import Shop
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

DECLINED = "pm_card_visa_chargeDeclined"
APPROVAL, ABOUT_THE_PAYMENT = "waiting for approval", "waiting for a decision about the payment"


class Decide(Protocol):
    def __call__(self, shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
        """Tell the order something that it waits for."""


def approve(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.operations.approve(order_id, "ops-7")


def reject(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.operations.reject(order_id, "ops-7", "no")


def pay_with_another_card(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.orders.submit_payment_method(order_id, "pm_card_mastercard")


@pytest.mark.parametrize(
    ("waits_for", "decide"),
    [
        (APPROVAL, approve),
        (APPROVAL, reject),
        (ABOUT_THE_PAYMENT, approve),
        (ABOUT_THE_PAYMENT, reject),
        ("waiting for another card", pay_with_another_card),
    ],
)
async def test_what_comes_after_the_cancellation_is_refused(
    closed_shop: Shop, waits_for: str, decide: Decide
) -> None:
    shop = closed_shop
    order_id = await waiting(shop, waits_for)
    await shop.orders.request_cancel(order_id)
    deciding = asyncio.create_task(decide(shop, order_id))
    async with shop.worker():
        with pytest.raises(NotWaitingError):
            await deciding
        outcome = await shop.orders.result(order_id)
        assert outcome.stop == Stop(StopReason.CANCELLED, "cancelled by customer")


@pytest.mark.parametrize(
    ("waits_for", "decide", "event", "reason"),
    [
        (APPROVAL, approve, "order_approved", StopReason.CANCELLED),
        (APPROVAL, reject, "order_not_approved", StopReason.NOT_APPROVED),
        (ABOUT_THE_PAYMENT, approve, "payment_accepted", StopReason.CANCELLED),
        (ABOUT_THE_PAYMENT, reject, "payment_not_accepted", StopReason.NOT_APPROVED),
    ],
)
async def test_a_decision_that_came_first_is_written_down(
    closed_shop: Shop, waits_for: str, decide: Decide, event: str, reason: StopReason
) -> None:
    """It was accepted, so the order's history has it; what was cancelled after it is undone."""
    shop = closed_shop
    order_id = await waiting(shop, waits_for)
    run = shop.temporal.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))
    send = run.execute_update
    decision = asyncio.create_task(
        send(OrderWorkflow.approve, Approve("ops-7"), id="decision")
        if decide is approve
        else send(OrderWorkflow.reject, Reject("ops-7", "no"), id="decision")
    )
    await is_kept(shop, run.id, "decision")
    cancelling = asyncio.create_task(shop.orders.cancel(order_id))
    await is_kept(shop, run.id, "cancel")
    async with shop.worker():
        await decision
        outcome = await shop.orders.result(order_id)
        await cancelling
    assert outcome.stop is not None
    assert outcome.stop.reason is reason
    [line] = [line for line in (await shop.book.view(order_id)).history if line.event == event]
    assert line.detail["by"] == "ops-7"
    assert shop.cards.taken(order_id) == shop.cards.given_back(order_id)


async def is_kept(shop: Shop, id_: str, update: str) -> None:
    """Temporal has the Update, and hands it to the next worker, in the order that they came in."""
    execution = WorkflowExecution(workflow_id=id_)
    request = PollWorkflowExecutionUpdateRequest(
        namespace=shop.temporal.namespace,
        update_ref=UpdateRef(workflow_execution=execution, update_id=update),
    )

    async def kept() -> bool:
        try:
            await shop.temporal.workflow_service.poll_workflow_execution_update(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    await eventually(kept)


async def waiting(shop: Shop, waits_for: str) -> str:
    """An order that waits for something, and whose worker has gone."""
    shop.terms = ShopTerms(new_card_window=timedelta(hours=1))
    card = ELEVATED_RISK if waits_for == ABOUT_THE_PAYMENT else DECLINED
    async with shop.worker():
        order_id = await shop.start(card=card, flagged=waits_for == APPROVAL)
        await shop.reaches(order_id, waits_for)
    return order_id


# -- what keeps failing ----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["retry_now", "skip_step"])
async def test_a_word_about_a_step_of_an_order_that_is_being_cancelled_came_too_late(
    closed_shop: Shop, word: str
) -> None:
    shop = closed_shop
    soon, never = timedelta(milliseconds=10), timedelta(hours=3)
    shop.warehouse.fail_next("fulfill", NoAnswerError("silence", retry_after=soon), times=6)
    shop.warehouse.fail_next("fulfill", NoAnswerError("silence", retry_after=never))
    async with shop.worker():
        order_id = await shop.start()
        await eventually(lambda: asks(shop, order_id))
        await eventually(lambda: asked_seven_times(shop))
    await shop.orders.request_cancel(order_id)
    operations = shop.operations
    give = (
        operations.retry_now(order_id)
        if word == "retry_now"
        else operations.skip_step(order_id, "burnt down")
    )
    giving = asyncio.create_task(give)
    async with shop.worker():
        with pytest.raises(NotOperableError, match="came too late: fulfill_order is not tried on"):
            await giving
        outcome = await shop.orders.result(order_id)
    assert outcome.stop == Stop(StopReason.CANCELLED, "cancelled by customer")
    events = [line.event for line in (await shop.book.view(order_id)).history]
    assert f"operator_{word}_too_late" in events


async def test_while_a_try_is_in_flight_it_is_not_known_whether_a_word_came_in_time(
    shop: Shop,
) -> None:
    soon = timedelta(milliseconds=10)
    shop.warehouse.fail_next("fulfill", NoAnswerError("silence", retry_after=soon), times=6)
    asking = shop.warehouse.hold("fulfill", where="after", is_cut=False)
    order_id = await shop.start()
    await asking.entered()
    await eventually(lambda: asks(shop, order_id))
    with pytest.raises(UndecidedError, match="the history tells whether it came in time"):
        await shop.operations.skip_step(order_id, "burnt down")
    asking.release()
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    events = [line.event for line in (await shop.book.view(order_id)).history]
    assert "operator_skip_step_too_late" in events


async def asks(shop: Shop, order_id: str) -> bool:
    return (await shop.orders.status(order_id)).attention is not None


async def asked_seven_times(shop: Shop) -> bool:
    return shop.warehouse.calls.count("fulfill") == 7


# -- refunds ---------------------------------------------------------------------------------------


async def waiting_refund(shop: Shop) -> tuple[RefundClient, str]:
    """A refund that waits for approval, and whose worker has gone."""
    shop.refund_terms = ShopRefundTerms(approval_above={"EUR": 0})
    refunds = RefundClient(shop.temporal)
    async with shop.worker():
        order_id = await shop.start()
        await shop.orders.result(order_id)
        await refunds.request(RefundRequest(order_id, "r1"))

        async def waits() -> bool:
            state = (await refunds.status(order_id, "r1")).state
            return state is RefundState.AWAITING_APPROVAL

        await eventually(waits)
    return refunds, order_id


async def test_a_refund_that_is_being_cancelled_takes_no_approval(closed_shop: Shop) -> None:
    shop = closed_shop
    refunds, order_id = await waiting_refund(shop)
    run = run_of(shop, order_id)
    request = CancelRequest("customer")
    cancelling = asyncio.create_task(
        run.execute_update(RefundWorkflow.cancel, request, id="cancel")
    )
    await is_kept(shop, run.id, "cancel")
    approving = asyncio.create_task(refunds.approve(order_id, "r1", "ops-7"))
    async with shop.worker():
        with pytest.raises(NotWaitingError, match="being cancelled"):
            await approving
        assert (await cancelling).state is RefundState.CANCELLED
    assert shop.cards.given_back(order_id) == 0


@pytest.mark.parametrize(
    ("decide", "ends", "event"),
    [
        (approve, RefundState.CANCELLED, "refund_approved"),
        (reject, RefundState.REJECTED, "refund_rejected"),
    ],
)
async def test_a_decision_about_a_refund_that_came_first_is_written_down(
    closed_shop: Shop, decide: Decide, ends: RefundState, event: str
) -> None:
    shop = closed_shop
    _, order_id = await waiting_refund(shop)
    run = run_of(shop, order_id)
    decision = asyncio.create_task(
        run.execute_update(RefundWorkflow.approve, Approve("ops-7"), id="decision")
        if decide is approve
        else run.execute_update(RefundWorkflow.reject, Reject("ops-7", "no"), id="decision")
    )
    await is_kept(shop, run.id, "decision")
    request = CancelRequest("customer")
    cancelling = asyncio.create_task(
        run.execute_update(RefundWorkflow.cancel, request, id="cancel")
    )
    await is_kept(shop, run.id, "cancel")
    async with shop.worker():
        await decision
        assert (await cancelling).state is ends
        await run.result()
    assert shop.cards.given_back(order_id) == 0
    history = (await shop.book.view(order_id)).history
    assert [line.event for line in history if "ops-7" in " ".join(line.detail.values())] == [event]


def run_of(shop: Shop, order_id: str) -> WorkflowHandle[RefundWorkflow, RefundAnswer]:
    id_ = refund_workflow_id(order_id, "r1")
    return shop.temporal.get_workflow_handle_for(RefundWorkflow.run, id_)
