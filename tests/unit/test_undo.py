"""The undo block."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError, CancelledError

from orders.lifecycle import Reason, Stop
from workflows.undo import Compensation, OrderStopped, Saga

STOP = Stop(Reason.CANCELLED, "asked for")


class Steps:
    """Notes the undos that ran."""

    def __init__(self) -> None:
        self.undone: list[str] = []

    def undo(self, name: str, *, possible: bool = True) -> Compensation:
        async def run() -> bool:
            self.undone.append(name)
            return possible

        return run


async def test_a_block_that_is_kept_undoes_nothing() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.undo("reserve"))
        saga.commit()
    assert steps.undone == []
    assert not saga.compensated


async def test_a_block_left_without_keeping_is_undone_newest_first() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.undo("reserve"))
        saga.add_compensation(steps.undo("charge"))
    assert steps.undone == ["charge", "reserve"]
    assert saga.compensated


async def test_a_stop_is_undone_and_remembered_quietly() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.undo("reserve"))
        raise OrderStopped(STOP)
    assert steps.undone == ["reserve"]
    assert saga.stop == STOP
    assert saga.failure is None


@pytest.mark.parametrize(
    "failure", [ApplicationError("no answer"), CancelledError("stop"), asyncio.CancelledError()]
)
async def test_a_failed_step_and_a_cancellation_are_undone(failure: BaseException) -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.undo("charge"))
        raise failure
    assert steps.undone == ["charge"]
    assert saga.failure is failure


async def test_a_bug_of_ours_undoes_nothing_so_that_mended_code_can_go_on() -> None:
    steps = Steps()

    async def a_block_with_a_bug() -> None:
        async with Saga() as saga:
            saga.add_compensation(steps.undo("charge"))
            raise KeyError("typo")

    with pytest.raises(KeyError):
        await a_block_with_a_bug()
    assert steps.undone == []


async def test_an_undo_that_is_too_late_leaves_everything_before_it_standing() -> None:
    steps = Steps()
    async with Saga() as saga:
        saga.add_compensation(steps.undo("charge"))
        saga.add_compensation(steps.undo("fulfil", possible=False))
        raise OrderStopped(STOP)
    assert steps.undone == ["fulfil"]
    assert not saga.compensated
