"""Every activity meets every fault of its neighbours and of the database, each with its own order.

All orders are under way at the same time; ``fault_matrix.table`` has the rows and columns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from demo.environment import DemoEnvironment
from tests.e2e.conftest import open_sandbox
from tests.e2e.fault_matrix.matrix import Matrix, violations
from tests.e2e.fault_matrix.table import AT_NEIGHBOUR, DATABASE, Cell, cells

CELLS = tuple(cells(*AT_NEIGHBOUR, *DATABASE))


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoEnvironment]:
    """A sandbox of its own: what operators settle by hand stays flagged in its database."""
    async with open_sandbox(tmp_path_factory.mktemp("matrix-sandbox")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def matrix(
    environment: DemoEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Matrix]:
    """All cells, each brought to its end."""
    directory = tmp_path_factory.mktemp("matrix") / "faults"
    made = Matrix(environment, directory, approval_seconds=80, audits_at_once=1)
    plan = await made.prepare(CELLS)
    worker = await made.start_worker()
    await made.side_by_side(plan)
    yield made
    await worker.kill()


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_an_order_ends_as_it_should_whatever_its_neighbours_do(
    matrix: Matrix, cell: Cell
) -> None:
    if (wrong := matrix.ended[cell]) is not None:
        raise wrong


async def test_the_books_of_all_of_them_agree(matrix: Matrix) -> None:
    assert await violations(matrix) == []
