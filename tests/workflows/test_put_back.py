"""Temporal forgets: its store is put back to an earlier state, the rest of the world is further on.

Here a run that has ended is reset to each of its workflow tasks, and what it was told since is
lost. It goes on from there, and must find everybody as they are: nothing is charged, shipped,
mailed or given back a second time, and the order ends as it had ended. By then the mail service and
the card provider have forgotten all keys. A server whose files are really put back:
tests/e2e/test_put_back.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import TimeSkipper

from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.ids import refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import Approve, ParcelUpdate, Resolve, RetryNow
from tests.support.eventually import eventually
from tests.workflows import refunds
from tests.workflows import test_replay as courses
from tests.workflows.conftest import Shop, ended
from tests.workflows.test_delivery import parcel_of, tell
from tests.workflows.test_replay import APPROVAL, DELIVERY, HOLD, Scenario
from tests.workflows.test_waiting import THREE_D_SECURE, reached
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]


async def short(shop: Shop) -> Handle:
    handle = await courses.short(shop)
    outcome = await handle.result()
    refund = refund_workflow_id(outcome.order_id, "short")
    await shop.patient_client.get_workflow_handle(refund).result()
    return handle


async def sold_out(shop: Shop) -> Handle:
    shop.database.products["MUG"].reserved = shop.database.products["MUG"].on_hand
    handle = await shop.order()
    await handle.result()
    shop.database.products["MUG"].reserved = 0
    return handle


async def cancelled_before_it_was_charged(shop: Shop) -> Handle:
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    await handle.signal(OrderWorkflow.cancel_order)
    return handle


async def approved(shop: Shop) -> Handle:
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    return handle


async def approved_and_cancelled(shop: Shop) -> Handle:
    """Cancelled at the warehouse: a run that waits for approval knows of no charge."""
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await approved(shop)
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    gate.release()
    return handle


async def given_back_by_hand(shop: Shop) -> Handle:
    shop.cards.fail_until_healed("refund", RefusedError("the balance is too low"))
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    handle = await shop.start(order_id, waits=True)

    async def flagged() -> bool:
        return (await handle.query(OrderWorkflow.status)).attention is not None

    await eventually(flagged)
    await handle.execute_update(OrderWorkflow.operate, Resolve("by transfer", "ops-7"))
    await handle.result()
    shop.cards.heal("refund")
    return handle


async def refunded_later(shop: Shop) -> Handle:
    """Completed, and then all of it is returned."""
    handle = await shop.order()
    outcome = await handle.result()
    await refunds.refund(shop, RefundRequest(outcome.order_id, "r1"))
    return handle


async def delivered(shop: Shop) -> Handle:
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.FULFILLED)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    return handle


SCENARIOS = [
    *(
        Scenario(play)
        for play in (
            courses.completed,
            courses.declined,
            courses.cancelled,
            courses.refused,
            courses.unanswered,
            short,
            sold_out,
            given_back_by_hand,
            refunded_later,
        )
    ),
    *(Scenario(play, courses.NEW_CARDS) for play in (courses.tried_again, courses.paid_in_browser)),
    *(
        Scenario(play, courses.PAID_ON_A_PAGE)
        for play in (courses.tried_by_itself, courses.asked, courses.asked_in_vain)
    ),
    *(Scenario(play, HOLD) for play in (courses.lapsed, courses.left)),
    *(
        Scenario(play, APPROVAL)
        for play in (
            courses.undecided,
            cancelled_before_it_was_charged,
            approved,
            approved_and_cancelled,
        )
    ),
    Scenario(delivered, DELIVERY),
]


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    kind: Scenario = request.param
    return kind


@pytest.fixture
def terms(scenario: Scenario) -> ShopTerms:
    return scenario.terms


@dataclass(frozen=True)
class World:
    """What a second course of a run could do again."""

    charges: object
    refunds: object
    parcels: object
    products: object
    mails: object
    row: object

    @classmethod
    def of(cls, shop: Shop, order_id: str) -> World:
        row = shop.database.row(order_id)
        return cls(
            dict(shop.cards.charges),
            dict(shop.cards.refunds),
            dict(shop.warehouse.parcels),
            {sku: (one.on_hand, one.reserved) for sku, one in shop.database.products.items()},
            [(sent.mail.subject, sent.mail.to) for sent in shop.mailer.sent],
            (row.order, row.stock, row.parcel_ids, row.by_hand),
        )


async def test_a_run_that_is_put_back_ends_as_it_had_ended(shop: Shop, scenario: Scenario) -> None:
    handle = await scenario.play(shop)
    order_id = handle.id.removeprefix("order-")
    first = await ended(handle)
    history = await handle.fetch_history()
    tasks = [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    before = World.of(shop, order_id)
    for task in tasks:
        shop.mailer.forget_keys()
        shop.cards.forget_keys()
        again = await put_back(shop, handle, task)
        if scenario.play is delivered:
            # What the warehouse told is lost: it is told again, or an operator settles the parcel.
            update = ParcelUpdate(parcel_of(shop, handle), ParcelStatus.DELIVERED)
            await again.signal(OrderWorkflow.parcel_updated, update)

        outcome = await ended_with_help(shop, again)

        if outcome.status is not Status.COMPLETED:
            # Which parcels were recalled is told by the step that had named them, if at all.
            outcome, first = (replace(one, parcel_ids=()) for one in (outcome, first))
        assert outcome == first, f"put back to {task} of {tasks}"
        assert World.of(shop, order_id) == before, f"put back to {task} of {tasks}"


@pytest.mark.parametrize("scenario", [Scenario(courses.completed)], ids=["confirmed"])
async def test_a_run_put_back_to_where_it_waits_looks_by_itself(shop: Shop) -> None:
    """The books have the order as paid for, so webhooks about that are told nobody any more."""
    gate = shop.cards.hold("read")
    handle = await shop.order(THREE_D_SECURE)
    await gate.entered()
    order_id = handle.id.removeprefix("order-")
    [charge] = shop.cards.charges_of(order_id)
    shop.cards.authenticate(charge.payment_id)
    gate.release()
    first = await ended(handle)
    assert first.status is Status.COMPLETED
    history = await handle.fetch_history()
    [timer] = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_TIMER_STARTED]
    task = timer.timer_started_event_attributes.workflow_task_completed_event_id
    before = World.of(shop, order_id)

    again = await put_back(shop, handle, task)

    async def waits() -> bool:
        return (await again.query(OrderWorkflow.status)).doing == "waiting for the customer's bank"

    await eventually(waits)
    assert (await shop.book.get(order_id)).status is Status.COMPLETED
    await TimeSkipper(shop.patient_client).fast_forward(again)
    assert await ended(again) == first
    assert World.of(shop, order_id) == before


async def ended_with_help(shop: Shop, handle: Handle) -> Outcome:
    """How the order ended; what people have said before, they say again when they are asked."""
    task = asyncio.create_task(ended(handle))

    async def over() -> bool:
        if task.done():
            return True
        progress = await handle.query(OrderWorkflow.status)
        with contextlib.suppress(WorkflowUpdateFailedError):
            if progress.doing == "waiting for approval":
                await handle.execute_update(OrderWorkflow.approve, Approve("ops-8"))
            elif progress.doing in {
                "waiting for another card",
                "waiting for the customer's bank",
                "waiting for the customer to confirm",
            }:
                # A run looks by itself after five minutes.
                await handle.signal(OrderWorkflow.payment_updated)
            elif progress.attention is not None:
                await handle.execute_update(OrderWorkflow.operate, RetryNow("ops-8"))
        return task.done()

    await eventually(over)
    return await task


async def put_back(shop: Shop, handle: WorkflowHandle[Any, Any], task: int) -> Handle:
    """Reset the run to before the workflow task that event ``task`` completed."""
    client = shop.patient_client
    excluded = (
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    )
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(
            workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
        ),
        reason="Temporal was put back",
        workflow_task_finish_event_id=task,
        request_id=f"{handle.id}-{task}",
        reset_reapply_exclude_types=excluded,
    )
    answer = await client.workflow_service.reset_workflow_execution(request)
    return client.get_workflow_handle_for(OrderWorkflow.run, handle.id, run_id=answer.run_id)
