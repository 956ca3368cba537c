"""Updates of one run take turns, and are sent again while the run is asked too much."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.service import RPCError, RPCStatusCode

from durable_orders.clients import update_limiter
from durable_orders.clients.update_limiter import UpdateLimiter

LONG = timedelta(seconds=30)
FULL = RPCError("limit on in-flight updates", RPCStatusCode.RESOURCE_EXHAUSTED, b"")
FORGOTTEN = RPCError("workflow update was aborted", RPCStatusCode.UNAVAILABLE, b"")
FAILED = [
    RPCError(
        f"Unable to perform workflow execution update due to {why}.",
        RPCStatusCode.FAILED_PRECONDITION,
        b"",
    )
    for why in ("Workflow Task in failed state", "unexpected workflow task failure")
]
AWAY = RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_limiter, "_FIRST_PAUSE", 0.001)


async def test_of_one_run_a_few_at_a_time_are_asked_and_all_are_answered() -> None:
    asking, most = 0, 0
    queue = UpdateLimiter()

    async def ask(left: timedelta) -> int:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return asking

    answers = await asyncio.gather(*(queue.send("order-1", ask, LONG) for _ in range(30)))

    assert len(answers) == 30
    assert most == 4


async def test_another_run_is_not_waited_for() -> None:
    queue, held = UpdateLimiter(), asyncio.Event()

    async def silent(left: timedelta) -> None:
        await held.wait()

    async def answer(left: timedelta) -> str:
        return "here"

    waiting = [asyncio.ensure_future(queue.send("order-1", silent, LONG)) for _ in range(4)]
    await asyncio.sleep(0)
    assert await queue.send("order-2", answer, LONG) == "here"
    held.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    "refusal",
    [FULL, FORGOTTEN, *FAILED],
    ids=["too many", "forgotten", "task failed", "task just failed"],
)
async def test_asked_again_while_the_run_does_not_take_it(refusal: RPCError) -> None:
    tries: list[timedelta] = []

    async def ask(left: timedelta) -> str:
        tries.append(left)
        if len(tries) < 4:
            raise refusal
        return "at last"

    assert await UpdateLimiter().send("order-1", ask, LONG) == "at last"
    assert len(tries) == 4
    assert tries == sorted(tries, reverse=True)  # the time it may take only shrinks
    assert tries[0] <= LONG


async def test_a_server_that_is_away_is_told_at_once() -> None:
    tries = 0

    async def ask(left: timedelta) -> None:
        nonlocal tries
        tries += 1
        raise AWAY

    with pytest.raises(RPCError) as raised:
        await UpdateLimiter().send("order-1", ask, LONG)

    assert raised.value is AWAY
    assert tries == 1


async def test_who_is_refused_for_too_long_hears_why() -> None:
    async def ask(left: timedelta) -> None:
        raise FULL

    with pytest.raises(RPCError) as raised:
        await UpdateLimiter().send("order-1", ask, timedelta(milliseconds=20))

    assert raised.value is FULL


async def test_a_turn_that_never_comes_ends_the_wait_and_blocks_nobody() -> None:
    queue, held = UpdateLimiter(), asyncio.Event()

    async def silent(left: timedelta) -> str:
        await held.wait()
        return "late"

    before = [asyncio.ensure_future(queue.send("order-1", silent, LONG)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await queue.send("order-1", silent, timedelta(milliseconds=20))

    held.set()
    assert await asyncio.gather(*before) == ["late"] * 4
    assert await queue.send("order-1", silent, LONG) == "late"


async def test_who_stops_asking_gives_the_turn_back() -> None:
    queue, held = UpdateLimiter(), asyncio.Event()

    async def silent(left: timedelta) -> str:
        await held.wait()
        return "here"

    gone = [asyncio.ensure_future(queue.send("order-1", silent, LONG)) for _ in range(4)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)

    held.set()
    assert await queue.send("order-1", silent, LONG) == "here"
