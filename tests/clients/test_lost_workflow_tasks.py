"""Runs whose workflow tasks fail, or that nobody takes: callers are told, and nothing is logged."""

from __future__ import annotations

import gc
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from durable_orders.clients.errors import NoWorkerError
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.ids import TASK_QUEUE, workflow_id
from durable_orders.domain.payment_status import PaymentPending
from tests.support.eventually import eventually
from tests.support.shop import Shop

BRIEF = timedelta(milliseconds=300)


@workflow.defn(name="Order")
class BrokenOrder:
    """A run that gets nowhere: each of its workflow tasks fails."""

    @workflow.run
    async def run(self, order: Any) -> None:
        raise ValueError("a bug of ours")


@pytest.fixture
async def stuck(closed_shop: Shop) -> str:
    """An order whose workflow task has failed so often that Temporal takes no Update for it."""
    order_id = await closed_shop.start()
    run = closed_shop.temporal.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))

    async def is_stuck() -> bool:
        try:
            await run.execute_update(OrderWorkflow.cancel, CancelRequest("us"), rpc_timeout=BRIEF)
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return False
        except RPCError as error:
            return error.status is RPCStatusCode.FAILED_PRECONDITION
        return False

    async with Worker(
        closed_shop.temporal,
        task_queue=TASK_QUEUE,
        workflows=[BrokenOrder],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await eventually(is_stuck)
    return order_id


async def test_a_run_that_takes_no_update_has_no_worker(closed_shop: Shop, stuck: str) -> None:
    with pytest.raises(NoWorkerError):
        await closed_shop.orders.cancel(stuck)
    with pytest.raises(NoWorkerError):
        await closed_shop.operations.approve(stuck, "ops")


async def test_checking_it_out_again_is_answered_all_the_same(
    closed_shop: Shop, stuck: str, brief_queries: None
) -> None:
    told = await closed_shop.orders.checkout(stuck, timedelta(seconds=2))

    assert told.payment == PaymentPending()


async def test_a_checkout_that_nobody_answers_leaves_nothing_in_the_log(
    closed_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    told = await closed_shop.orders.checkout(await closed_shop.place(), BRIEF)

    assert told.payment == PaymentPending()
    gc.collect()  # that is when asyncio tells of errors that nobody has looked at
    assert "never retrieved" not in caplog.text
