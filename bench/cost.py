"""What an order costs: alone on an idle machine, and many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from bench.baseline import TASK_QUEUE, Hold, Yardstick
from bench.environment import Cpu, Stage
from orders.ids import workflow_id
from sandbox.child import Child

#: More starts than that at a time make one client slower, whatever the number of open runs.
_STARTS: Final = 20

_runs = count(1)


@dataclass
class Alone:
    """Seconds from the start to the end of one run at a time."""

    orders: list[float] = field(default_factory=list)
    yardstick: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Pass:
    """So many runs done in so many seconds; how long each took, and what all of them cost."""

    done: int
    seconds: float
    took: list[float]
    cpu: Cpu

    @property
    def rate(self) -> float:
        return self.done / self.seconds


@dataclass(frozen=True)
class Load:
    """Orders, and yardstick runs, with so many in flight."""

    in_flight: int
    orders: Pass
    yardstick: Pass


async def alone(stage: Stage, runs: int, kept: Alone) -> None:
    """An order, a yardstick run, an order …: what disturbs the machine meanwhile disturbs both."""
    for order_id in await stage.place(runs):
        kept.orders.append(await _timed(lambda: _order(stage, order_id)))  # noqa: B023  awaited here
        kept.yardstick.append(await _timed(lambda: _yardstick(stage)))


async def load(
    stage: Stage, in_flight: int, runs: int, seconds: float, workers: tuple[Child, Child]
) -> Load:
    """``runs`` orders with ``in_flight`` at a time, then as many yardstick runs.

    Nothing is started after ``seconds``; what is in flight then is waited for and counts. The times
    of filling up and running dry are in the rate.
    """
    order_ids = iter(await stage.place(runs))
    starting = asyncio.Semaphore(_STARTS)
    carry = [
        lambda: _order(stage, next(order_ids), starting),
        lambda: _yardstick(stage, starting),
    ]
    passes = []
    for worker, one in zip(workers, carry, strict=True):
        before = stage.cpu(worker)
        began = time.perf_counter()
        took = await _bounded(one, in_flight, runs, began + seconds)
        elapsed = time.perf_counter() - began
        passes.append(Pass(len(took), elapsed, took, stage.cpu(worker).since(before)))
    return Load(in_flight, passes[0], passes[1])


async def events(stage: Stage) -> tuple[int, int]:
    """Events in the history of an order, and of a yardstick run."""
    [order_id] = await stage.place(1)
    await _order(stage, order_id)
    found = []
    for id_ in (workflow_id(order_id), await _yardstick(stage)):
        history = await stage.temporal.get_workflow_handle(id_).fetch_history()
        found.append(len(history.events))
    return found[0], found[1]


async def _bounded(
    one: Callable[[], Awaitable[object]], in_flight: int, runs: int, until: float
) -> list[float]:
    left = iter(range(runs))
    took: list[float] = []

    async def lane() -> None:
        for _ in left:
            if time.perf_counter() > until:
                return
            took.append(await _timed(one))

    async with asyncio.TaskGroup() as lanes:
        for _ in range(in_flight):
            lanes.create_task(lane())
    return took


async def _timed(one: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await one()
    return time.perf_counter() - began


async def _order(stage: Stage, order_id: str, starting: asyncio.Semaphore | None = None) -> None:
    """From ``OrderClient.start`` to the end of the run: paid, shipped, mailed, stock taken."""
    async with starting or asyncio.Semaphore():
        await stage.start(order_id)
    await stage.orders.result(order_id)


async def _yardstick(stage: Stage, starting: asyncio.Semaphore | None = None) -> str:
    id_ = f"yardstick-{next(_runs)}"
    async with starting or asyncio.Semaphore():
        run = await stage.temporal.start_workflow(
            Yardstick.run, Hold(), id=id_, task_queue=TASK_QUEUE
        )
    await run.result()
    return id_
