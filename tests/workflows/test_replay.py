"""Runs started by code of yesterday go on with code of today.

`histories/` holds what real runs recorded. A change of the workflow that makes one of them fail
would strand every order in flight at the deploy: guard it with ``workflow.patched``, or record the
histories again (`pytest tests/workflows/test_replay.py --record-histories`) while nothing is
deployed yet. See docs/operations.md.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult

from orders.messages import Outcome
from orders.ports import NoAnswerError
from tests.workflows.conftest import Shop, ended
from workflows.order import OrderWorkflow
from workflows.runner import DATA_CONVERTER, RUNNER

Handle = WorkflowHandle[OrderWorkflow, Outcome]

HISTORIES = Path(__file__).parent / "histories"


async def completed(shop: Shop) -> Handle:
    return await shop.order()


async def declined(shop: Shop) -> Handle:
    return await shop.order("pm_card_visa_chargeDeclined")


async def cancelled(shop: Shop) -> Handle:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order()
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    return handle


async def refused(shop: Shop) -> Handle:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    return await shop.start(order_id)


async def unanswered(shop: Shop) -> Handle:
    shop.cards.fail_until_healed("create", NoAnswerError("nobody answers"))
    return await shop.order()


async def outage(shop: Shop) -> Handle:
    shop.inventory.fail_next("reserve", NoAnswerError("nobody answers"), times=6)
    shop.warehouse.fail_next("fulfill", NoAnswerError("nobody answers"), times=8)
    return await shop.order()


LIVES: list[Callable[[Shop], Awaitable[Handle]]] = [
    completed,
    declined,
    cancelled,
    refused,
    unanswered,
    outage,
]


@pytest.mark.parametrize("live", LIVES)
async def test_a_run_can_be_replayed(
    shop: Shop, live: Callable[[Shop], Awaitable[Handle]], request: pytest.FixtureRequest
) -> None:
    handle = await live(shop)
    await ended(handle)
    history = await handle.fetch_history()
    await replayed(history)
    if request.config.getoption("--record-histories"):
        HISTORIES.mkdir(exist_ok=True)
        # Stack traces name files; where this checkout lies is nobody's business.
        text = history.to_json().replace(f"{Path.cwd()}/", "").replace(f"{sys.prefix}/", "")
        (HISTORIES / f"{live.__name__}.json").write_text(text + "\n")


@pytest.fixture(params=sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> WorkflowHistory:
    """A history that was recorded before."""
    path: Path = request.param
    return WorkflowHistory.from_json(f"order-{path.stem}", path.read_text())


async def test_a_run_recorded_before_can_be_replayed(recorded: WorkflowHistory) -> None:
    await replayed(recorded)


def test_every_kind_of_life_is_recorded() -> None:
    assert {live.__name__ for live in LIVES} <= {path.stem for path in HISTORIES.glob("*.json")}


async def replayed(history: WorkflowHistory) -> WorkflowReplayResult:
    replayer = Replayer(
        workflows=[OrderWorkflow], workflow_runner=RUNNER, data_converter=DATA_CONVERTER
    )
    return await replayer.replay_workflow(history)
