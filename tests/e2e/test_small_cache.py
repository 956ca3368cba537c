"""A worker that keeps fewer orders in memory than wait: it reads the others' histories again."""

from __future__ import annotations

import asyncio

from demo.environment import DemoEnvironment
from durable_orders.domain.lifecycle import Status
from tests.e2e.test_long_lives import Shift, shift
from tests.e2e.trials import Trials

__all__ = ["shift"]


async def test_orders_that_a_worker_had_to_forget_go_on_as_those_that_it_remembers(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    worker = await shift.begins(MAX_CACHED_WORKFLOWS="1", APPROVAL_ABOVE="EUR=1.00")
    order_ids = [await trials.start() for _ in range(6)]
    await asyncio.gather(*map(environment.wait_until_waiting, order_ids))
    for order_id in order_ids:
        await environment.operations.approve(order_id, "ops-7")
    outcomes = [await trials.outcome(order_id) for order_id in order_ids]
    assert [outcome.status for outcome in outcomes] == [Status.COMPLETED] * 6
    await trials.outcomes()
    assert worker.running
