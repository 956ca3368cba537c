"""What becomes of a conversation that outlives the local activity which has begun it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.error_types import HANDED_OVER
from activities.handover import Handover
from tests.support.eventually import eventually

SOON = timedelta(milliseconds=20)


class Bank:
    """Answers when it is told to; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self) -> str:
        self.asked += 1
        return await asyncio.shield(self.answers)


async def in_activity(work: Callable[[], Awaitable[str]], *, is_local: bool) -> str:
    async def body() -> str:
        async with asyncio.timeout(10):
            return await work()

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, is_local=is_local)
    return await environment.run(body)


locally = partial(in_activity, is_local=True)
normally = partial(in_activity, is_local=False)


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture
def held() -> list[asyncio.Task[str]]:
    """What the worker is kept open for."""
    return []


@pytest.fixture
async def handover(held: list[asyncio.Task[str]]) -> Handover[str]:
    return Handover(held.append, after=SOON)


async def waits(task: asyncio.Task[str]) -> None:
    """Let the task come to where it waits for the bank."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()


async def joins(again: Coroutine[Any, Any, str], bank: Bank) -> None:
    """See that it hears the answer to the only request."""
    waiting = asyncio.create_task(again)
    await waits(waiting)
    bank.answers.set_result("paid")
    assert await waiting == "paid"
    assert bank.asked == 1


async def hand_over(handover: Handover[str], bank: Bank) -> None:
    with pytest.raises(ApplicationError) as raised:
        await locally(lambda: handover.run("1001", bank.ask))
    assert raised.value.type == HANDED_OVER


async def test_one_that_is_quick_is_over_with_its_activity(
    handover: Handover[str], bank: Bank, held: list[asyncio.Task[str]]
) -> None:
    bank.answers.set_result("paid")
    assert await locally(lambda: handover.run("1001", bank.ask)) == "paid"
    assert held == []


async def test_the_normal_activity_hears_the_answer_of_the_same_request(
    handover: Handover[str], bank: Bank, held: list[asyncio.Task[str]]
) -> None:
    await hand_over(handover, bank)
    assert [task.done() for task in held] == [False]
    await joins(normally(lambda: handover.run("1001", bank.ask)), bank)


async def test_a_workflow_task_that_is_done_again_asks_nobody_twice(
    handover: Handover[str], bank: Bank
) -> None:
    await hand_over(handover, bank)
    await joins(locally(lambda: handover.run("1001", bank.ask)), bank)


async def test_the_worker_is_kept_open_for_one_whose_activity_was_cut_off(
    bank: Bank, held: list[asyncio.Task[str]]
) -> None:
    """By the loss of its workflow task: the request goes on, and the task is done again."""
    handover: Handover[str] = Handover(held.append)
    cut = asyncio.create_task(locally(lambda: handover.run("1001", bank.ask)))
    await waits(cut)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    assert [task.done() for task in held] == [False]

    await joins(locally(lambda: handover.run("1001", bank.ask)), bank)


async def test_another_try_is_another_request(handover: Handover[str], bank: Bank) -> None:
    await hand_over(handover, bank)
    bank.answers.set_result("paid")
    assert await locally(lambda: handover.run("1002", bank.ask)) == "paid"
    assert bank.asked == 2


async def test_its_failure_is_heard_by_who_waits_for_it(
    handover: Handover[str], bank: Bank
) -> None:
    await hand_over(handover, bank)
    waiting = asyncio.create_task(normally(lambda: handover.run("1001", bank.ask)))
    await waits(waiting)
    bank.answers.set_exception(ValueError("no answer"))
    with pytest.raises(ValueError, match="no answer"):
        await waiting


async def test_the_failure_of_one_that_nobody_waits_for_is_no_error_of_the_loop(
    handover: Handover[str], bank: Bank, held: list[asyncio.Task[str]]
) -> None:
    await hand_over(handover, bank)
    bank.answers.set_exception(ValueError("no answer"))

    async def over() -> bool:
        return held[0].done()

    await eventually(over)
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="no answer"):  # asked anew: nothing is kept
        await normally(lambda: handover.run("1001", bank.ask))
    assert bank.asked == 2


async def test_outside_of_an_activity_it_is_just_done(handover: Handover[str], bank: Bank) -> None:
    assert not activity.in_activity()
    bank.answers.set_result("paid")
    assert await handover.run("1001", bank.ask) == "paid"
