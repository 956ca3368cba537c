"""The cost of an order: one at a time on an idle machine, and under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from bench.baseline import TASK_QUEUE, Baseline, Pause
from bench.environment import BenchEnvironment, Cpu
from durable_orders.domain.ids import workflow_id
from sandbox.child import Child

#: More concurrent starts slow one client down, independent of the number of open runs.
_MAX_STARTS: Final = 20

_runs = count(1)


@dataclass
class SequentialRuns:
    """Seconds from start to end of each run, one run at a time."""

    orders: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """A number of runs under load: the total time, the time of each, and the CPU time of all."""

    done: int
    seconds: float
    took: list[float]
    cpu: Cpu

    @property
    def rate(self) -> float:
        return self.done / self.seconds


@dataclass(frozen=True)
class Load:
    """Orders and baseline runs with ``in_flight`` at a time."""

    in_flight: int
    orders: Batch
    baseline: Batch


async def run_sequentially(
    environment: BenchEnvironment, runs: int, results: SequentialRuns
) -> None:
    """Run orders and baseline runs in turn, so that disturbances of the machine affect both."""
    for order_id in await environment.place(runs):
        results.orders.append(await _timed(lambda: _order(environment, order_id)))  # noqa: B023  awaited here
        results.baseline.append(await _timed(lambda: _baseline(environment)))


async def run_load(
    environment: BenchEnvironment,
    in_flight: int,
    runs: int,
    seconds: float,
    workers: tuple[Child, Child],
) -> Load:
    """Run ``runs`` orders with ``in_flight`` at a time, then as many baseline runs.

    Nothing is started after ``seconds``; runs in flight then are awaited and counted. The rate
    includes the times of ramping up and down.
    """
    order_ids = iter(await environment.place(runs))
    starting = asyncio.Semaphore(_MAX_STARTS)
    starters = [
        lambda: _order(environment, next(order_ids), starting),
        lambda: _baseline(environment, starting),
    ]
    batches = []
    for worker, one in zip(workers, starters, strict=True):
        before = environment.cpu(worker)
        began = time.perf_counter()
        took = await _bounded(one, in_flight, runs, began + seconds)
        elapsed = time.perf_counter() - began
        batches.append(Batch(len(took), elapsed, took, environment.cpu(worker).since(before)))
    return Load(in_flight, batches[0], batches[1])


async def count_events(environment: BenchEnvironment) -> tuple[int, int]:
    """The number of history events of an order and of a baseline run."""
    [order_id] = await environment.place(1)
    await _order(environment, order_id)
    found = []
    for id_ in (workflow_id(order_id), await _baseline(environment)):
        history = await environment.temporal.get_workflow_handle(id_).fetch_history()
        found.append(len(history.events))
    return found[0], found[1]


async def _bounded(
    one: Callable[[], Awaitable[object]], in_flight: int, runs: int, until: float
) -> list[float]:
    left = iter(range(runs))
    took: list[float] = []

    async def run_next() -> None:
        for _ in left:
            if time.perf_counter() > until:
                return
            took.append(await _timed(one))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(run_next())
    return took


async def _timed(one: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await one()
    return time.perf_counter() - began


async def _order(
    environment: BenchEnvironment, order_id: str, starting: asyncio.Semaphore | None = None
) -> None:
    """Start an order and wait for the end of its run: paid, shipped, mailed, stock committed."""
    async with starting or asyncio.Semaphore():
        await environment.start(order_id)
    await environment.orders.result(order_id)


async def _baseline(
    environment: BenchEnvironment, starting: asyncio.Semaphore | None = None
) -> str:
    id_ = f"baseline-{next(_runs)}"
    async with starting or asyncio.Semaphore():
        run = await environment.temporal.start_workflow(
            Baseline.run, Pause(), id=id_, task_queue=TASK_QUEUE
        )
    await run.result()
    return id_
