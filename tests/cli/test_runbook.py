"""What docs/runbook.md tells a person to do, done: Temporal's own commands on our runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from durable_orders.clients.errors import StrandedError
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from sandbox.temporal_server import temporal_binary
from tests.support.servers import Temporal
from tests.support.shop import Shop

Command = Callable[..., Awaitable[str]]


@pytest.fixture
def temporal(temporal_server: Temporal) -> Command:
    """Runs Temporal's command line, and fails when it does."""

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            temporal_binary(),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | temporal_server.settings,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said.decode()

    return run


async def test_a_run_terminated_by_mistake_goes_on_where_it_was(
    shop: Shop, temporal: Command
) -> None:
    gate = shop.warehouse.hold("fulfill")
    order_id = await shop.start()
    await gate.entered()
    run = ("--workflow-id", workflow_id(order_id), "--reason", "by mistake")
    await temporal("workflow", "terminate", *run)
    with pytest.raises(StrandedError, match="its run is terminated"):
        await shop.orders.cancel(order_id)

    await temporal("workflow", "reset", *run, "--type", "LastWorkflowTask")
    gate.release()

    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    assert len(shop.cards.charges_of(order_id)) == 1
    assert len(shop.warehouse.parcels[order_id]) == 1


async def test_a_waiting_order_terminated_by_mistake_waits_on(
    shop: Shop, temporal: Command
) -> None:
    order_id = await shop.start(flagged=True)
    await shop.reaches(order_id, "waiting for approval")
    run = ("--workflow-id", workflow_id(order_id), "--reason", "by mistake")
    await temporal("workflow", "terminate", *run)

    await temporal("workflow", "reset", *run, "--type", "LastWorkflowTask")
    await shop.reaches(order_id, "waiting for approval")

    await shop.operations.approve(order_id, "ops-7")
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED


@pytest.mark.parametrize(
    "query",
    [
        "NeedsAttention = true AND ExecutionStatus = 'Running'",
        "WorkflowType = 'Order' AND ExecutionStatus = 'Terminated'",
        "ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL",
    ],
)
async def test_the_searches_are_understood(temporal: Command, query: str) -> None:
    assert "Total" in await temporal("workflow", "count", "--query", query)
