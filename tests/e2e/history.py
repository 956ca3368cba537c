"""What Temporal wrote down about the tries of an activity."""

import json
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.history.v1 import HistoryEvent

from demo.environment import DemoEnvironment
from durable_orders.domain.ids import workflow_id


@dataclass(frozen=True)
class Tried:
    """An activity that was answered at try ``attempt``, ``waited`` after it was first wanted, or
    its first try within a workflow task had failed.
    """

    attempt: int
    waited: timedelta


async def tried(environment: DemoEnvironment, order_id: str, activity: str) -> Tried:
    """How often the order's last activity of this name was tried, and how long after the first."""
    history = await environment.temporal.get_workflow_handle(workflow_id(order_id)).fetch_history()
    wanted = {
        event.event_id: event.event_time.ToDatetime()
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name == activity
    }
    locally = [
        event.event_time.ToDatetime()
        for event in history.events
        if _local_activity(event) == activity
    ]
    found: Tried | None = None
    for event in history.events:
        started = event.activity_task_started_event_attributes
        if started.scheduled_event_id in wanted:
            waited = event.event_time.ToDatetime() - min([*wanted.values(), *locally])
            found = Tried(started.attempt, waited)
    assert found, f"{activity} was never tried for order {order_id}"
    return found


def _local_activity(event: HistoryEvent) -> str:
    """The activity that a marker tells of; empty when the event is none."""
    details = event.marker_recorded_event_attributes.details
    if "data" not in details:
        return ""
    return str(json.loads(details["data"].payloads[0].data)["activity_type"])
