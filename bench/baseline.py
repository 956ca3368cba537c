"""What orders are measured against: a workflow of the same shape, all defaults, that does nothing.

Four empty activities, one after another and the last two side by side, with nothing set but the
one timeout that Temporal insists on (as long as an order's). A run can be held at one place, so
that its worker can be killed there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio import activity, workflow

TASK_QUEUE: Final = "bench-yardstick"
_STEP: Final = timedelta(seconds=30)

#: Where a run can be held.
IN_A_WORKFLOW_TASK: Final = "in a workflow task"
FIRST: Final = "first"
SECOND: Final = "second"


@dataclass(frozen=True)
class Hold:
    """Wait at ``at`` for as long as the file ``gate`` exists; its neighbour tells when it does."""

    at: str = ""
    gate: str = ""


def reached(gate: Path) -> Path:
    """The file that appears beside ``gate`` once a run waits there."""
    return gate.with_suffix(".reached")


@activity.defn
async def hold_here(hold: Hold) -> None:
    gate = Path(hold.gate)
    while _holds(gate):  # noqa: ASYNC110  the event is in another process
        await asyncio.sleep(0.02)


@activity.defn
async def first(hold: Hold) -> None:
    if hold.at == FIRST:
        await hold_here(hold)


@activity.defn
async def second(hold: Hold) -> None:
    if hold.at == SECOND:
        await hold_here(hold)


@activity.defn
async def third() -> None:
    pass


@activity.defn
async def fourth() -> None:
    pass


ACTIVITIES: Final = (hold_here, first, second, third, fourth)


@workflow.defn
class Yardstick:
    """One, two, then three and four side by side."""

    @workflow.run
    async def run(self, hold: Hold) -> None:
        if hold.at == IN_A_WORKFLOW_TASK:
            await workflow.execute_local_activity(hold_here, hold, start_to_close_timeout=_STEP)
        await workflow.execute_activity(first, hold, start_to_close_timeout=_STEP)
        await workflow.execute_activity(second, hold, start_to_close_timeout=_STEP)
        await asyncio.gather(
            workflow.execute_activity(third, start_to_close_timeout=_STEP),
            workflow.execute_activity(fourth, start_to_close_timeout=_STEP),
        )


def _holds(gate: Path) -> bool:
    if not gate.exists():
        return False
    reached(gate).touch()
    return True
