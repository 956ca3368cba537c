"""Shielding: run a workflow to its end in spite of a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def shield_from_cancellation(
    process: Coroutine[Any, Any, T],
    *,
    on_cancel: Callable[[], None],
    on_end: Callable[[], None],
    is_idle: Callable[[], bool] = lambda: True,
) -> T:
    """Run ``process`` in a task of its own that no cancellation of the run reaches.

    A cancellation (the Web UI's button) becomes a call of ``on_cancel`` instead of an exception at
    an arbitrary line, so that there is one way to stop an order and no compensation is interrupted.
    Handlers that still run are waited for: their callers get an answer, not an error. ``on_end`` is
    called before that, however ``process`` ended, so that handlers which wait for the end return.
    What they have begun is waited for too: until ``is_idle``.

    A ``finally`` in ``process`` would not do instead of ``on_end``: it also runs when a worker
    evicts the run from its cache, where calls of the workflow API are errors.
    """
    task = asyncio.create_task(process)
    while not task.done():
        try:
            await workflow.wait([task])
        except asyncio.CancelledError:
            on_cancel()
    on_end()
    await workflow.wait_condition(lambda: workflow.all_handlers_finished() and is_idle())
    return await task


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
