"""Activities that no workflow has asked for, at a real worker with its real log."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import ActivityFailureError
from temporalio.exceptions import ApplicationError

from activities.error_types import NOT_FROM_ITS_RUN
from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.activity_messages import OrderRef
from durable_orders.domain.ids import TASK_QUEUE
from durable_orders.domain.lifecycle import Status
from tests.e2e.trials import Trials

SLOTS = 2


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_they_are_refused_and_leave_every_slot_to_the_orders(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, log_format: str
) -> None:
    order_id = await trials.place()
    await worker.kill()
    only = await environment.start_worker(
        MAX_CONCURRENT_ACTIVITIES=str(SLOTS), LOG_FORMAT=log_format
    )
    try:
        await only.ready()
        for number in range(2 * SLOTS):
            with pytest.raises(ActivityFailureError) as failure:
                await environment.temporal.execute_activity(
                    "refund_card",
                    OrderRef(order_id),
                    id=f"stray-{order_id}-{number}",
                    task_queue=TASK_QUEUE,
                    start_to_close_timeout=timedelta(seconds=5),
                    schedule_to_close_timeout=timedelta(seconds=20),
                )
            assert isinstance(failure.value.cause, ApplicationError), failure.value.cause
            assert failure.value.cause.type == NOT_FROM_ITS_RUN
        await environment.orders.start(order_id)
        assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]
        assert "Traceback" not in only.log
    finally:
        await only.kill()  # it has fewer slots than others expect
