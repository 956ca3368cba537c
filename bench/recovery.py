"""Recovery time: how long an order stands still after a kill of its worker, with another one alive.

The order's worker gets SIGKILL at a random moment of a step. The order *moves on* when the other
worker starts a task of it; both moments are from the one clock of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from bench import baseline
from bench.baseline import Baseline, Pause
from bench.environment import BASELINE_WORKER, ORDER_WORKER, BenchEnvironment
from durable_orders.domain.ids import workflow_id
from durable_orders.store.tables import orders
from sandbox.fault_client import FaultClient

#: The step at which a worker is killed, and the corresponding step of the baseline.
STEPS: Final = {
    "in a workflow task": baseline.IN_A_WORKFLOW_TASK,
    "charge in flight": baseline.FIRST,
    "warehouse in flight": baseline.SECOND,
}
_ENDPOINTS: Final = {
    "charge in flight": "stripe.payment_intents.confirm",
    "warehouse in flight": "warehouse.fulfillments.create",
}
#: Longer than a heartbeat interval, so that a kill can be anywhere between two heartbeats.
_LONGEST_PAUSE: Final = 2.5

_runs = count(1)


@dataclass(frozen=True)
class Kill:
    """Seconds from SIGKILL until the run moved on, and until it ended."""

    at: str
    moved_on: float
    ended: float


@dataclass
class Recovery:
    """All kills so far."""

    orders: list[Kill] = field(default_factory=list)
    baseline: list[Kill] = field(default_factory=list)


async def recover(environment: BenchEnvironment, kills: int, results: Recovery) -> None:
    """Kill workers of orders one after another, and meanwhile one baseline worker per step.

    The baseline's runs stand still for most of a minute, so they recover concurrently.
    """
    steps = list(islice(cycle(STEPS), kills))
    await asyncio.gather(
        environment.add_worker(ORDER_WORKER), environment.add_worker(BASELINE_WORKER)
    )
    async with asyncio.TaskGroup() as both:
        both.create_task(
            _kill_baseline_workers(environment, sorted(set(steps), key=steps.index), results)
        )
        for number, step in enumerate(steps, start=1):
            results.orders.append(await _kill_order(environment, step))
            if number < len(steps):
                await environment.add_worker(ORDER_WORKER)


async def _kill_order(environment: BenchEnvironment, step: str) -> Kill:
    [order_id] = await environment.place(1)
    run = environment.temporal.get_workflow_handle(workflow_id(order_id))
    async with _pause_order(environment, order_id, step, run) as victim:
        killed = await _kill(environment, victim)
    await environment.orders.result(order_id)
    return await _kill_from_history(run, step, victim, killed)


@contextlib.asynccontextmanager
async def _pause_order(
    environment: BenchEnvironment, order_id: str, step: str, run: WorkflowHandle[Any, Any]
) -> AsyncIterator[str]:
    """Start the order and pause it in the step; yields the identity of its worker.

    At the end the step continues, and the killed worker's request is executed: the next worker
    finds the card charged, or the parcel packed, already.
    """
    if endpoint := _ENDPOINTS.get(step):
        async with FaultClient(environment.stand_in_url) as faults:
            fault = await faults.inject(endpoint, "delay", order_id=order_id, times=1, seconds=60)
            await environment.start(order_id)
            await faults.wait_for_hits(fault, timeout=30)
            yield await _poll(lambda: _worker_of_activity(run))
            await faults.remove(fault)
    else:
        # Reserving stock is a local activity, part of a workflow task, and locks the order's row.
        async with environment.database.transaction() as connection:
            row = select(orders.c.id).where(orders.c.id == order_id).with_for_update()
            await connection.execute(row)
            await environment.start(order_id)
            yield await _poll(lambda: _worker_of_task(run))


async def _kill_baseline_workers(
    environment: BenchEnvironment, steps: list[str], results: Recovery
) -> None:
    async with asyncio.TaskGroup() as recovering:
        for number, step in enumerate(steps, start=1):
            run, victim, killed = await _kill_baseline_worker(environment, step)
            recovering.create_task(_recovered(run, step, victim, killed, results))
            if number < len(steps):
                await environment.add_worker(BASELINE_WORKER)


async def _kill_baseline_worker(
    environment: BenchEnvironment, step: str
) -> tuple[WorkflowHandle[Any, Any], str, float]:
    """Start a run and kill its worker; the run, the worker's identity and the time."""
    gate, at = environment.directory / f"gate-{next(_runs)}", STEPS[step]
    await asyncio.to_thread(gate.touch)
    run = await environment.temporal.start_workflow(
        Baseline.run,
        Pause(at, str(gate)),
        id=f"paused-{next(_runs)}",
        task_queue=baseline.TASK_QUEUE,
    )
    await _poll(lambda: asyncio.to_thread(_reached, gate))
    in_task = at == baseline.IN_A_WORKFLOW_TASK
    victim = await _poll(lambda: _worker_of_task(run) if in_task else _worker_of_activity(run))
    killed = await _kill(environment, victim)
    await asyncio.to_thread(gate.unlink)
    return run, victim, killed


async def _recovered(
    run: WorkflowHandle[Any, Any], step: str, victim: str, killed: float, results: Recovery
) -> None:
    await run.result()
    results.baseline.append(await _kill_from_history(run, step, victim, killed))


async def _kill(environment: BenchEnvironment, worker: str) -> float:
    """Kill the worker after a random pause; the time of the kill."""
    await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311  not a secret
    killed = time.time()
    await environment.kill(worker)
    return killed


async def _kill_from_history(
    run: WorkflowHandle[Any, Any], step: str, killed: str, at: float
) -> Kill:
    """The recovery times, from the history of an ended run."""
    events = [event async for event in run.fetch_history_events()]
    later = [event for event in events if _time(event) > at]
    moved_on = next(event for event in later if _worker(event) not in {"", killed})
    return Kill(step, _time(moved_on) - at, _time(events[-1]) - at)


def _time(event: HistoryEvent) -> float:
    return event.event_time.seconds + event.event_time.nanos / 1e9


def _worker(event: HistoryEvent) -> str:
    """The identity of the worker that started a task; empty for other events."""
    if event.HasField("activity_task_started_event_attributes"):
        return event.activity_task_started_event_attributes.identity
    return event.workflow_task_started_event_attributes.identity


async def _worker_of_activity(run: WorkflowHandle[Any, Any]) -> str:
    description = (await run.describe()).raw_description
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    for pending in description.pending_activities:
        if pending.state == started:
            return pending.last_worker_identity
    return ""


async def _worker_of_task(run: WorkflowHandle[Any, Any]) -> str:
    workers = [_worker(event) async for event in run.fetch_history_events()]
    return next(filter(None, reversed(workers)), "")


def _reached(gate: Path) -> str:
    return "yes" if baseline.reached(gate).exists() else ""


async def _poll(question: Callable[[], Awaitable[str]]) -> str:
    """Repeat the question until the answer is not empty."""
    async with asyncio.timeout(30):
        while not (answer := await question()):  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.02)
    return answer
