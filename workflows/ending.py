"""Bringing a run to its end, whoever would like to end it earlier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def shield_from_cancellation(
    life: Coroutine[Any, Any, T], *, on_cancel: Callable[[], None], on_end: Callable[[], None]
) -> T:
    """Run ``life`` in a task of its own that no cancellation of the run reaches.

    A cancellation (the Web UI's button) becomes a call of ``on_cancel`` instead of an exception at
    an arbitrary line, so that there is one way to stop an order and undoing is never interrupted.
    Handlers still at work are waited for: their callers get an answer, not an error. ``on_end`` is
    called before, whatever became of ``life``: whoever waits to hear of it may go.

    Calls of the workflow have no place in a ``finally``, hence ``on_end``: that also runs when a
    worker drops a run from its memory, where they are errors.
    """
    task = asyncio.create_task(life)
    while not task.done():
        try:
            await workflow.wait([task])
        except asyncio.CancelledError:
            on_cancel()
    on_end()
    await workflow.wait_condition(workflow.all_handlers_finished)
    return await task


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """End what was done beside something else, and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
