"""A decision that comes in the same turn as what makes it too late, before the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.lifecycle import Stop, StopReason
from durable_orders.domain.workflow_messages import Approve
from workflows.approval import Approval
from workflows.step_runner import StepRunner


class Patient(StepRunner):
    """Waits as the SDK does: it goes on only once every message of the turn was handled."""

    async def wait(self, doing: str, until: Callable[[], bool], limit: timedelta | None) -> bool:
        while not until():  # noqa: ASYNC110 - a turn has no event
            await asyncio.sleep(0)
        return True


async def remind() -> None:
    """Nobody is reminded."""


def cancelled(steps: StepRunner) -> None:
    steps.request_cancel(CancelRequest())


def stopped(steps: StepRunner) -> None:
    steps.request_stop(Stop(StopReason.PAYMENT_RETURNED, "given back"))


@pytest.mark.parametrize("stop", [cancelled, stopped])
async def test_an_approval_after_the_cancellation_of_the_same_turn_is_refused(
    stop: Callable[[StepRunner], None],
) -> None:
    steps = Patient(lambda: None)
    approval = Approval(steps, "refund r1 of order o1", lambda: "being cancelled")
    waiting = asyncio.create_task(approval.wait(timedelta(days=1), remind))
    await asyncio.sleep(0)
    approval.check_open()

    stop(steps)

    with pytest.raises(ApplicationError, match="it is being cancelled") as refusal:
        approval.check_open()
    assert refusal.value.type == NOT_WAITING
    steps.request_cancel(CancelRequest())
    await waiting


async def test_a_second_decision_of_the_same_turn_is_told_about_the_first() -> None:
    steps = Patient(lambda: None)
    approval = Approval(steps, "order o1", lambda: "awaiting approval")
    waiting = asyncio.create_task(approval.wait(timedelta(days=1), remind))
    await asyncio.sleep(0)
    approval.check_open()
    approval.decide(Approve("ops-7"))
    with pytest.raises(ApplicationError, match="ops-7 has approved it"):
        approval.check_open()
    await waiting
