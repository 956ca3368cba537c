"""Temporal's store is put back to an earlier state, as a failover to a replica that lags behind.

Each run goes on from there, while the database, Stripe, the warehouse and the mail service are
further on. Nothing is done twice, and each order ends as it had ended.
"""

import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status, StopReason
from tests.e2e.moments import Asking, Committing, Moment
from tests.e2e.test_killed_servers import kill
from tests.e2e.trials import Trials

CONFIRM, SHIP = "stripe.payment_intents.confirm", "warehouse.fulfillments.create"
MAIL = "resend.emails.send"

#: Where Temporal is put back to: what it knew when an order was held there.
MOMENTS: list[Moment] = [
    Asking(CONFIRM, "delay"),
    Asking(CONFIRM, "delay_after"),
    Committing("payment_captured"),
    Asking(SHIP, "delay"),
    Asking(SHIP, "delay_after"),
]

Course = Callable[[DemoEnvironment, Trials], Awaitable[None]]


async def goes_on(environment: DemoEnvironment, trials: Trials) -> None:
    """Nobody cancels the orders."""


async def is_cancelled(environment: DemoEnvironment, trials: Trials) -> None:
    """The orders are cancelled where they are: after the charge, and at the warehouse."""
    for order_id in trials.order_ids:
        await environment.orders.request_cancel(order_id)


@pytest.mark.parametrize("worker_survives", [False, True], ids=["another worker", "same worker"])
@pytest.mark.parametrize("course", [goes_on, is_cancelled])
async def test_orders_end_as_they_had_ended(
    environment: DemoEnvironment,
    worker: WorkerProcess,
    trials: Trials,
    course: Course,
    *,
    worker_survives: bool,
) -> None:
    moments = MOMENTS if course is is_cancelled else [*MOMENTS, Asking(MAIL, "delay_after")]
    for at, moment in enumerate(moments):
        await trials.start_and_hold(moment, sku=await trials.product(str(at)))
    await trials.reached()
    remembered = remember(environment)
    await course(environment, trials)
    await trials.let_go()
    first = await trials.outcomes()

    if not worker_survives:
        await worker.kill()
    await put_back(environment, remembered)
    if not worker_survives:
        for order_id in trials.order_ids:
            run = environment.temporal.get_workflow_handle(workflow_id(order_id))
            assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
        await environment.start_worker()

    again = await trials.outcomes()
    assert [(one.status, one.taken, one.given_back, one.stop) for one in again] == [
        (one.status, one.taken, one.given_back, one.stop) for one in first
    ]
    if course is goes_on:
        assert {outcome.status for outcome in again} == {Status.COMPLETED}
    else:
        assert {outcome.stop.reason for outcome in again if outcome.stop} == {StopReason.CANCELLED}


def remember(environment: DemoEnvironment) -> Path:
    """Copy what Temporal has on its disk now; it goes on meanwhile."""
    copy = environment.sandbox.state / "remembered.db"
    copy.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(_store(environment))) as store,
        closing(sqlite3.connect(copy)) as to,
    ):
        store.backup(to)
    return copy


async def put_back(environment: DemoEnvironment, remembered: Path) -> None:
    """Kill Temporal and start it with what it had on its disk then."""
    temporal = environment.sandbox.temporal
    await kill(temporal.child)
    await temporal.stop()
    store = _store(environment)
    for file in store.parent.glob(f"{store.name}*"):
        file.unlink()
    shutil.copy(remembered, store)
    await temporal.start()


def _store(environment: DemoEnvironment) -> Path:
    return environment.sandbox.state / "temporal" / "temporal.db"
