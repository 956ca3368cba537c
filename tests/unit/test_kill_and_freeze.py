"""The kill-and-freeze table is the one that people read, and every cell has a name of its own."""

from __future__ import annotations

from pathlib import Path

from sandbox.world.faults import ENDPOINTS
from tests.e2e.kill_and_freeze.table import ROWS, cells, markdown
from tests.e2e.moments import Asking

PAGE = Path(__file__).resolve().parents[2] / "docs/decisions/quick-steps-are-local-activities.md"


def test_the_page_has_the_table_as_it_is_tested() -> None:
    assert f"\n\n{markdown()}\n\n" in PAGE.read_text()


def test_cells_have_names_of_their_own() -> None:
    names = [str(cell) for cell in cells()]
    assert len(set(names)) == len(names)


def test_every_neighbour_that_is_asked_is_there() -> None:
    asked = [row.moment.endpoint for row in ROWS if isinstance(row.moment, Asking)]
    assert set(asked) <= set(ENDPOINTS)
