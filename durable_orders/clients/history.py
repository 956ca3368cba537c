"""Follow a workflow by its history: the server pushes, whether a worker is alive or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from temporalio.client import Client, WorkflowHandle


async def steps_begun(
    client: Client,
    run: WorkflowHandle[Any, Any],
    call: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
) -> AsyncIterator[str]:
    """Yield the summary of the activity last scheduled: now, and whenever the history grows.

    Ends with the run, or the last one that it continues as. ``call`` makes each call of the server,
    and may repeat it.
    """
    doing = "starting"
    events = run.fetch_history_events(wait_new_event=True)
    while True:
        await call(events.fetch_next_page)
        next_run = ""
        for event in events.current_page or ():
            summary = event.user_metadata.summary
            if summary.data and event.HasField("activity_task_scheduled_event_attributes"):
                [doing] = await client.data_converter.decode([summary], [str])
            continued = event.workflow_execution_continued_as_new_event_attributes
            next_run = continued.new_execution_run_id
        if next_run:
            following = client.get_workflow_handle(run.id, run_id=next_run)
            events = following.fetch_history_events(wait_new_event=True)
        # A page without a token is the last one there will ever be.
        elif events.next_page_token is None:
            return
        yield doing
