"""How long an order stands still when its worker is killed, with another worker alive.

The worker that works on the order gets SIGKILL at a random moment of a step. The order *moves on*
when the other worker takes up that order; both moments are on this machine's one clock.
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

from bench import baseline as yardstick
from bench.baseline import Hold, Yardstick
from bench.environment import ORDERS, YARDSTICK, Stage
from orders.ids import workflow_id
from sandbox.fault_client import FaultClient
from store.tables import orders

#: Where a worker is killed, beside the same place of the yardstick.
STEPS: Final = {
    "in a workflow task": yardstick.IN_A_WORKFLOW_TASK,
    "charge in flight": yardstick.FIRST,
    "warehouse in flight": yardstick.SECOND,
}
_ENDPOINTS: Final = {
    "charge in flight": "stripe.payment_intents.confirm",
    "warehouse in flight": "warehouse.fulfillments.create",
}
#: A heartbeat interval and more, so that kills fall anywhere between two beats.
_LONGEST_PAUSE: Final = 2.5

_runs = count(1)


@dataclass(frozen=True)
class Kill:
    """Seconds from SIGKILL until the run moved on, and until it was over."""

    at: str
    moved_on: float
    ended: float


@dataclass
class Recovery:
    """The kills so far."""

    orders: list[Kill] = field(default_factory=list)
    yardstick: list[Kill] = field(default_factory=list)


async def recover(stage: Stage, kills: int, kept: Recovery) -> None:
    """Kill workers of orders one after another, and meanwhile of the yardstick, once per step.

    The yardstick's runs stand still for most of a minute: they do so side by side.
    """
    steps = list(islice(cycle(STEPS), kills))
    await asyncio.gather(stage.add_worker(ORDERS), stage.add_worker(YARDSTICK))
    async with asyncio.TaskGroup() as both:
        both.create_task(_kill_yardsticks(stage, sorted(set(steps), key=steps.index), kept))
        for number, step in enumerate(steps, start=1):
            kept.orders.append(await _kill_order(stage, step))
            if number < len(steps):
                await stage.add_worker(ORDERS)


async def _kill_order(stage: Stage, step: str) -> Kill:
    [order_id] = await stage.place(1)
    run = stage.temporal.get_workflow_handle(workflow_id(order_id))
    async with _held(stage, order_id, step, run) as holder:
        killed = await _kill(stage, holder)
    await stage.orders.result(order_id)
    return await _seen(run, step, holder, killed)


@contextlib.asynccontextmanager
async def _held(
    stage: Stage, order_id: str, step: str, run: WorkflowHandle[Any, Any]
) -> AsyncIterator[str]:
    """Start the order and hold it in the step; yields who holds it. Leaving lets go.

    The request of a killed worker is carried out when the step is let go: the next worker finds
    that the card is charged, or the parcel packed, already.
    """
    if endpoint := _ENDPOINTS.get(step):
        async with FaultClient(stage.stand_in_url) as dials:
            dial = await dials.inject(endpoint, "delay", order_id=order_id, times=1, seconds=60)
            await stage.start(order_id)
            await dials.wait_for_hits(dial, timeout=30)
            yield await _asked(lambda: _worker_of_activity(run))
            await dials.remove(dial)
    else:
        # Reserving stock is a local activity, part of a workflow task, and needs the order's row.
        async with stage.database.transaction() as connection:
            row = select(orders.c.id).where(orders.c.id == order_id).with_for_update()
            await connection.execute(row)
            await stage.start(order_id)
            yield await _asked(lambda: _worker_of_task(run))


async def _kill_yardsticks(stage: Stage, steps: list[str], kept: Recovery) -> None:
    async with asyncio.TaskGroup() as recovering:
        for number, step in enumerate(steps, start=1):
            run, holder, killed = await _kill_yardstick(stage, step)
            recovering.create_task(_recovered(run, step, holder, killed, kept))
            if number < len(steps):
                await stage.add_worker(YARDSTICK)


async def _kill_yardstick(stage: Stage, step: str) -> tuple[WorkflowHandle[Any, Any], str, float]:
    """A run whose worker is killed; which worker, and when."""
    gate, at = stage.directory / f"gate-{next(_runs)}", STEPS[step]
    await asyncio.to_thread(gate.touch)
    run = await stage.temporal.start_workflow(
        Yardstick.run,
        Hold(at, str(gate)),
        id=f"held-{next(_runs)}",
        task_queue=yardstick.TASK_QUEUE,
    )
    await _asked(lambda: asyncio.to_thread(_reached, gate))
    in_task = at == yardstick.IN_A_WORKFLOW_TASK
    holder = await _asked(lambda: _worker_of_task(run) if in_task else _worker_of_activity(run))
    killed = await _kill(stage, holder)
    await asyncio.to_thread(gate.unlink)
    return run, holder, killed


async def _recovered(
    run: WorkflowHandle[Any, Any], step: str, holder: str, killed: float, kept: Recovery
) -> None:
    await run.result()
    kept.yardstick.append(await _seen(run, step, holder, killed))


async def _kill(stage: Stage, worker: str) -> float:
    """Kill the worker after a while; when that was."""
    await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311  not a secret
    killed = time.time()
    await stage.kill(worker)
    return killed


async def _seen(run: WorkflowHandle[Any, Any], step: str, killed: str, at: float) -> Kill:
    """What the history of an ended run tells of the kill."""
    events = [event async for event in run.fetch_history_events()]
    later = [event for event in events if _time(event) > at]
    moved_on = next(event for event in later if _worker(event) not in {"", killed})
    return Kill(step, _time(moved_on) - at, _time(events[-1]) - at)


def _time(event: HistoryEvent) -> float:
    return event.event_time.seconds + event.event_time.nanos / 1e9


def _worker(event: HistoryEvent) -> str:
    """The worker that took a task up, or nothing when the event tells of something else."""
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
    return "yes" if yardstick.reached(gate).exists() else ""


async def _asked(question: Callable[[], Awaitable[str]]) -> str:
    """The answer, once there is one."""
    async with asyncio.timeout(30):
        while not (answer := await question()):  # noqa: ASYNC110  Temporal tells no event of it
            await asyncio.sleep(0.02)
    return answer
