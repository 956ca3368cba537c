"""What a run costs before its first step: the SDK's sandbox loads the workflow anew for each."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest
from temporalio.client import WorkflowHistory

from tests.workflows.conftest import replayed
from tests.workflows.test_replay import HISTORIES


@pytest.mark.parametrize(
    ("recorded", "defined_in"),
    [
        ("completed", "workflows.order"),
        ("refund", "workflows.refund"),
        ("audit", "workflows.reconcile"),
    ],
)
async def test_a_run_loads_its_own_module_anew_and_no_other(
    recorded: str, defined_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = WorkflowHistory.from_json(recorded, (HISTORIES / f"{recorded}.json").read_text())
    await replayed(history)  # now this process has loaded whatever it needs
    loaded: list[str] = []
    load = SourceFileLoader.exec_module

    def told(loader: SourceFileLoader, module: ModuleType) -> None:
        loaded.append(module.__name__)
        load(loader, module)

    monkeypatch.setattr(SourceFileLoader, "exec_module", told)
    await replayed(history)

    assert loaded == ["workflows", defined_in]
