"""Runs whose workflow tasks fail, or that nobody takes: callers are told, and nothing is logged."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from durable_orders.clients.checkout import CheckedOut
from durable_orders.clients.errors import NoWorkerError, UnreachableError
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.clients.workflow_calls import CALL
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.ids import TASK_QUEUE, workflow_id
from durable_orders.domain.payment_status import PaymentPending
from durable_orders.domain.refunds.refund import RefundRequest
from sandbox.ports import free_port
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


#: Calls that start a run and wait for it in one round trip.
CALLS: Final[
    dict[str, Callable[[OrderClient, RefundClient, str, timedelta], Awaitable[object]]]
] = {
    "checkout": lambda orders, _, order_id, wait: orders.checkout(order_id, wait),
    "refund": lambda _, refunds, order_id, wait: refunds.request(
        RefundRequest(order_id, "r1"), wait
    ),
}


@contextlib.asynccontextmanager
async def nothing_left(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Assert that the block leaves no task, and no error that nobody has looked at."""
    before = asyncio.all_tasks()
    yield

    async def is_over() -> bool:
        return asyncio.all_tasks() <= before

    await eventually(is_over)
    gc.collect()  # that is when asyncio tells of errors that nobody has looked at
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("call", CALLS)
async def test_a_wait_that_runs_out_leaves_nothing_behind(
    closed_shop: Shop, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    order_id, refunds = await closed_shop.place(), RefundClient(closed_shop.temporal)
    async with nothing_left(caplog):
        with contextlib.suppress(NoWorkerError):
            answer = await CALLS[call](closed_shop.orders, refunds, order_id, BRIEF)
            assert answer == CheckedOut(workflow_id(order_id), PaymentPending())


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_is_cancelled_leaves_nothing_behind(
    closed_shop: Shop, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    order_id, refunds = await closed_shop.place(), RefundClient(closed_shop.temporal)
    async with nothing_left(caplog):
        for turns in range(40):  # at every moment until it waits for the server
            calling = asyncio.ensure_future(
                CALLS[call](closed_shop.orders, refunds, order_id, CALL)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_while_temporal_is_away_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture, call: str
) -> None:
    nowhere = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    async with nothing_left(caplog):
        with pytest.raises(UnreachableError):
            await CALLS[call](OrderClient(nowhere), RefundClient(nowhere), "1001", CALL)
