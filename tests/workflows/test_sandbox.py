"""What the SDK's sandbox costs a run, and what a run may not do that has none."""

from __future__ import annotations

import sys
from collections import deque
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from durable_orders.contracts.data_converter import DATA_CONVERTER
from tests.workflows.conftest import replayed
from tests.workflows.test_replay import HISTORIES, read_history
from workflows import order, sandbox
from workflows.audit import ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow


@pytest.mark.parametrize(
    ("recorded", "kind"),
    [("completed", OrderWorkflow), ("refund", RefundWorkflow), ("audit", ReconcileWorkflow)],
)
async def test_a_run_loads_its_own_module_anew_and_no_other(
    recorded: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = read_history(recorded)
    replayer = Replayer(
        workflows=[kind], workflow_runner=sandbox.RUNNER, data_converter=DATA_CONVERTER
    )
    await replayer.replay_workflow(history)  # now this process has loaded whatever it needs
    loaded: list[str] = []
    load = SourceFileLoader.exec_module

    def told(loader: SourceFileLoader, module: ModuleType) -> None:
        loaded.append(module.__name__)
        load(loader, module)

    monkeypatch.setattr(SourceFileLoader, "exec_module", told)
    await replayer.replay_workflow(history)

    # The SDK tries a workflow once before it runs any.
    assert loaded == ["workflows", kind.__module__] * 2


def shared_state() -> dict[str, object]:
    """What workflow modules hold that a run could leave to the next one: by module and name, also
    what is in containers and in classes.
    """
    state: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "workflows":
            continue
        for kept, value in vars(module).items():
            if kept.startswith("__"):
                continue
            state[f"{name}.{kept}"] = id(value)
            if isinstance(value, dict | list | set | deque):
                state[f"{name}.{kept} holds"] = repr(value)
            if isinstance(value, type) and value.__module__ == name:
                state[f"{name}.{kept} has"] = {
                    one: id(attribute)
                    for one, attribute in vars(value).items()
                    if not one.startswith("__")
                }
    return state


async def test_runs_outside_of_it_leave_nothing_to_each_other() -> None:
    names = sorted(path.stem for path in HISTORIES.glob("*.json"))
    await replayed(read_history(names[0]), UnsandboxedWorkflowRunner())
    before = shared_state()

    for name in names:
        await replayed(read_history(name), UnsandboxedWorkflowRunner())

    assert shared_state() == before


def test_what_a_run_leaves_is_seen() -> None:
    before = shared_state()
    order.remembered = ["1001"]  # type: ignore[attr-defined]
    try:
        assert shared_state() != before
    finally:
        del order.remembered  # type: ignore[attr-defined]
