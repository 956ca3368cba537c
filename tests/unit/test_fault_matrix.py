"""The fault matrix has a row for each activity, and a reason for each cell that it leaves out."""

from __future__ import annotations

import pytest

from activities.origins import ORIGINS
from sandbox.world.faults import ENDPOINTS, MODES
from tests.e2e.fault_matrix.courses import UNDER_OTHER_TERMS, Courses
from tests.e2e.fault_matrix.table import AT_NEIGHBOUR, ROWS, FaultKind, Row, cells


def test_there_is_a_row_for_each_activity_that_a_worker_has() -> None:
    """``ORIGINS`` has them all: tests/workflows/test_origins.py compares it with the worker's."""
    assert sorted(row.activity for row in ROWS) == sorted(ORIGINS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.activity)
def test_every_fault_is_met_or_there_is_a_reason(row: Row) -> None:
    met = {cell.fault for cell in cells(*FaultKind) if cell.row is row}
    for fault in set(FaultKind) - met:
        reasons = [row.reason_against(fault, endpoint) for endpoint in row.endpoints or ("",)]
        assert all(reasons), f"{row.activity} does not meet {fault}, and nothing says why"


def test_every_row_can_be_played() -> None:
    for row in ROWS:
        assert callable(getattr(Courses, row.course))
        assert set(row.endpoints) <= set(ENDPOINTS)
    assert {mode for mode, _ in AT_NEIGHBOUR.values()} <= set(MODES)
    assert {row.course for row in ROWS} >= UNDER_OTHER_TERMS


def test_cells_have_names_of_their_own() -> None:
    names = [str(cell) for cell in cells(*FaultKind)]
    assert len(set(names)) == len(names)
