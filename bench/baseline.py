"""The baseline of recovery: a workflow of an order's shape on default settings that does nothing.

Four empty activities, one after another and the last two concurrently, with only the one timeout
that Temporal requires (the same as an order's). A run can be paused at one step, so that its worker
can be killed there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio import activity, workflow

TASK_QUEUE: Final = "bench-baseline"
_STEP: Final = timedelta(seconds=30)

#: The steps at which a run can be paused.
IN_A_WORKFLOW_TASK: Final = "in a workflow task"
FIRST: Final = "first"
SECOND: Final = "second"


@dataclass(frozen=True)
class Pause:
    """Wait at step ``at`` while the file ``gate`` exists; see ``reached``."""

    at: str = ""
    gate: str = ""


def reached(gate: Path) -> Path:
    """The file that is created beside ``gate`` once a run waits there."""
    return gate.with_suffix(".reached")


@activity.defn
async def wait_at_gate(pause: Pause) -> None:
    gate = Path(pause.gate)
    while _gate_exists(gate):  # noqa: ASYNC110  the event is in another process
        await asyncio.sleep(0.02)


@activity.defn
async def first(pause: Pause) -> None:
    if pause.at == FIRST:
        await wait_at_gate(pause)


@activity.defn
async def second(pause: Pause) -> None:
    if pause.at == SECOND:
        await wait_at_gate(pause)


@activity.defn
async def third() -> None:
    pass


@activity.defn
async def fourth() -> None:
    pass


ACTIVITIES: Final = (wait_at_gate, first, second, third, fourth)


@workflow.defn
class Baseline:
    """One, two, then three and four concurrently."""

    @workflow.run
    async def run(self, pause: Pause) -> None:
        if pause.at == IN_A_WORKFLOW_TASK:
            await workflow.execute_local_activity(wait_at_gate, pause, start_to_close_timeout=_STEP)
        await workflow.execute_activity(first, pause, start_to_close_timeout=_STEP)
        await workflow.execute_activity(second, pause, start_to_close_timeout=_STEP)
        await asyncio.gather(
            workflow.execute_activity(third, start_to_close_timeout=_STEP),
            workflow.execute_activity(fourth, start_to_close_timeout=_STEP),
        )


def _gate_exists(gate: Path) -> bool:
    if not gate.exists():
        return False
    reached(gate).touch()
    return True
