"""Small runs of the benchmarks with a command of their own: what they measure, and how they end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.capacity import count_actions

CHECKOUT = Path(__file__).resolve().parents[2]


async def run(module: str, *arguments: str) -> tuple[int, str, str]:
    """Run the module; its exit code and what it wrote."""
    command = (sys.executable, "-m", module, *arguments)
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def measured(path: Path, module: str, *arguments: str) -> tuple[Any, str]:
    code, output, errors = await run(module, *arguments, "--limit", "300", "--json", str(path))
    assert code == 0, output + errors
    return json.loads(await asyncio.to_thread(path.read_text)), output


@pytest.mark.parametrize("wait_for", ["delivery", "approval"])
async def test_waiting_orders_are_measured(tmp_path: Path, wait_for: str) -> None:
    sizes = ("--orders", "12", "--news", "3", "--cache", "5", "--idle", "1")
    figures, output = await measured(
        tmp_path / "figures", "bench.waiting", *sizes, "--wait-for", wait_for
    )
    assert figures["started"]["worker_rss"] > 0
    assert figures["idle"]["seconds"] >= 1
    assert [len(told["took"]) for told in figures["told"]] == [3, 3, 3]
    assert f"12 orders that wait for {wait_for}, 5 in the cache of one worker" in output


async def test_what_an_order_costs_is_measured(tmp_path: Path) -> None:
    sizes = ("--orders", "10", "--in-flight", "5")
    figures, output = await measured(tmp_path / "figures", "bench.capacity", *sizes)
    rows = {name: table["rows"] for name, table in figures["tables"].items()}
    assert rows["orders"] == rows["order_lines"] == rows["payments"] == 1
    assert rows["order_history"] > 5
    assert rows["webhook_events"] > 0
    assert figures["wal"] > 1_000
    assert 0 < figures["round_trips"] < 15
    assert all(run["actions"] < run["events"] < run["size"] for run in figures["runs"])
    assert figures["archived"]["rows"] == 1
    assert "Temporal Cloud: APS" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bench.waiting", "--orders", "20", "--news", "10"), "three times as many"),
        (("bench.waiting", "--wait-for", "rain"), "'rain' is not one of"),
        (("bench.capacity", "--orders", "0"), "--orders"),
        (("bench.capacity", "--limit", "soon"), "--limit"),
    ],
)
async def test_what_cannot_be_measured_is_refused(arguments: Sequence[str], says: str) -> None:
    code, output, errors = await run(*arguments)
    assert (code, output) == (2, "")
    assert says in errors
    assert "Traceback" not in errors


async def test_it_stops_in_time_and_when_it_is_interrupted() -> None:
    code, output, _ = await run("bench.waiting", "--orders", "100000", "--limit", "10")
    assert code == 1
    assert "Stopped after 10 s (--limit)" in output

    command = (sys.executable, "-m", "bench.waiting", "--orders", "5000")
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, stdout=PIPE, stderr=PIPE)
    assert process.stderr
    async for line in process.stderr:
        if line.startswith(b"5000 orders"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode().endswith("Interrupted.\n")


def happened(kind: str, **attributes: Any) -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
    for name, values in attributes.items():
        for field, value in values.items():
            setattr(getattr(event, name), field, value)
    return event


def marker(task: int) -> HistoryEvent:
    recorded = {"workflow_task_completed_event_id": task}
    return happened("MARKER_RECORDED", marker_recorded_event_attributes=recorded)


@pytest.mark.parametrize(
    ("events", "actions"),
    [
        ([happened("WORKFLOW_EXECUTION_STARTED")], 1),
        ([happened("WORKFLOW_TASK_SCHEDULED"), happened("WORKFLOW_EXECUTION_COMPLETED")], 0),
        ([marker(4), marker(4), marker(4), marker(20)], 2),
        ([happened("ACTIVITY_TASK_SCHEDULED")] * 2, 2),
        (
            [
                happened("ACTIVITY_TASK_SCHEDULED"),
                happened(
                    "ACTIVITY_TASK_STARTED", activity_task_started_event_attributes={"attempt": 3}
                ),
                happened("ACTIVITY_TASK_COMPLETED"),
            ],
            3,
        ),
        ([happened("TIMER_STARTED"), happened("TIMER_FIRED")], 1),
        ([happened("WORKFLOW_EXECUTION_SIGNALED")] * 3, 3),
        ([happened("WORKFLOW_EXECUTION_UPDATE_ACCEPTED")], 1),
        ([happened("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES")] * 3, 3),
        ([happened("START_CHILD_WORKFLOW_EXECUTION_INITIATED")], 2),
    ],
)
def test_actions_are_counted_as_temporal_cloud_does(
    events: list[HistoryEvent], actions: int
) -> None:
    assert count_actions(events) == actions
