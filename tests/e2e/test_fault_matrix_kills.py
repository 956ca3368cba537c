"""Every activity loses its worker before, when and after it is done; and Temporal meanwhile.

A batch of orders is held at a time, each in its own activity, and one blow strikes all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment
from tests.e2e.conftest import open_sandbox
from tests.e2e.fault_matrix.matrix import Matrix, violations
from tests.e2e.fault_matrix.table import KILLS, Cell, FaultKind, cells
from tests.e2e.test_killed_servers import kill

KILLED = tuple(cells(*KILLS))
RESTARTED = tuple(cells(FaultKind.TEMPORAL_RESTARTED))
#: Of orders held at a time.
BATCH = 16


async def killed(environment: DemoEnvironment, directory: Path) -> Matrix:
    """Each order's worker is killed, and the next one takes over."""
    matrix = Matrix(environment, directory, approval_seconds=50)
    plan = await matrix.prepare(KILLED)
    worker = await matrix.start_worker()

    async def strike() -> None:
        nonlocal worker
        await worker.kill()
        worker = await matrix.start_worker()

    await matrix.in_batches(plan, BATCH, strike)
    await worker.kill()
    return matrix


async def restarted(environment: DemoEnvironment, directory: Path) -> Matrix:
    """Temporal is killed and comes back; the worker stays."""
    matrix = Matrix(environment, directory, approval_seconds=50)
    plan = await matrix.prepare(RESTARTED)
    worker = await matrix.start_worker()

    async def strike() -> None:
        temporal = environment.sandbox.temporal
        await kill(temporal.child)
        await temporal.stop()
        await temporal.start()
        plan.release()

    await matrix.in_batches(plan, len(RESTARTED), strike)
    await worker.kill()
    return matrix


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoEnvironment]:
    """A sandbox of its own: what operators settle by hand stays flagged in its database."""
    async with open_sandbox(tmp_path_factory.mktemp("matrix-sandbox")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def matrices(
    environment: DemoEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> dict[Cell, Matrix]:
    """All cells, each brought to its end."""
    directory = tmp_path_factory.mktemp("matrix")
    made = [
        await killed(environment, directory / "killed"),
        await restarted(environment, directory / "restarted"),
    ]
    return {cell: matrix for matrix in made for cell in matrix.ended}


@pytest.mark.parametrize("cell", KILLED + RESTARTED, ids=str)
async def test_an_order_ends_as_it_should_whatever_is_killed(
    matrices: dict[Cell, Matrix], cell: Cell
) -> None:
    if (wrong := matrices[cell].ended[cell]) is not None:
        raise wrong


async def test_the_books_of_all_of_them_agree(matrices: dict[Cell, Matrix]) -> None:
    assert await violations(*set(matrices.values())) == []
