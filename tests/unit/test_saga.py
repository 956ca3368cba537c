"""The saga."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError, CancelledError

from durable_orders.domain.lifecycle import Stop, StopReason
from workflows.saga import Compensation, OrderStopped, Saga

STOP = Stop(StopReason.CANCELLED, "asked for")


class Steps:
    """Notes the compensations that ran."""

    def __init__(self) -> None:
        self.compensated: list[str] = []

    def compensation(self, name: str, *, possible: bool = True) -> Compensation:
        async def run() -> bool:
            self.compensated.append(name)
            return possible

        return run


async def test_a_committed_saga_compensates_nothing() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.compensation("reserve"))
        saga.commit()
    assert steps.compensated == []
    assert not saga.compensated


async def test_a_saga_left_uncommitted_is_compensated_newest_first() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.compensation("reserve"))
        saga.add_compensation(steps.compensation("charge"))
    assert steps.compensated == ["charge", "reserve"]
    assert saga.compensated


async def test_a_stop_is_compensated_and_remembered_quietly() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.compensation("reserve"))
        raise OrderStopped(STOP)
    assert steps.compensated == ["reserve"]
    assert saga.stop == STOP
    assert saga.failure is None


@pytest.mark.parametrize(
    "failure", [ApplicationError("no answer"), CancelledError("stop"), asyncio.CancelledError()]
)
async def test_a_failed_step_and_a_cancellation_are_compensated(failure: BaseException) -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.compensation("charge"))
        raise failure
    assert steps.compensated == ["charge"]
    assert saga.failure is failure


async def test_a_bug_of_ours_compensates_nothing_so_that_mended_code_can_go_on() -> None:
    steps = Steps()

    async def a_saga_with_a_bug() -> None:
        async with Saga() as saga:
            saga.add_compensation(steps.compensation("charge"))
            raise KeyError("typo")

    with pytest.raises(KeyError):
        await a_saga_with_a_bug()
    assert steps.compensated == []


async def test_a_compensation_that_is_too_late_leaves_everything_before_it_standing() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.compensation("charge"))
        saga.add_compensation(steps.compensation("fulfil", possible=False))
        raise OrderStopped(STOP)
    assert steps.compensated == ["fulfil"]
    assert not saga.compensated
