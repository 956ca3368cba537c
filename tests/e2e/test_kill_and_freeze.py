"""An ordinary order loses its worker at each moment of each step, by SIGKILL or by SIGSTOP, and its
run hears something else before the step is repeated.

Many orders are held at a time, each at its own moment, and one blow strikes all of them. A frozen
worker goes on where it was when another one has brought the orders to their end: it must change
nothing. ``kill_and_freeze.table`` has the rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from demo.environment import DemoEnvironment
from demo.invariants import violations_of
from tests.e2e.conftest import open_sandbox
from tests.e2e.kill_and_freeze.strikes import Strikes
from tests.e2e.kill_and_freeze.table import ROWS, Cell, Way, cells

CELLS = cells()


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoEnvironment]:
    """A sandbox of its own, for workers that hold orders."""
    async with open_sandbox(tmp_path_factory.mktemp("strikes-sandbox")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def strikes(environment: DemoEnvironment) -> Strikes:
    """All cells, each brought to its end."""
    made = Strikes(environment)
    await made.run(CELLS)
    return made


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_an_order_ends_as_it_should_wherever_its_worker_is_lost(
    strikes: Strikes, cell: Cell
) -> None:
    assert cell in strikes.ended, "the machine is too slow: no order was struck in time"
    if (wrong := strikes.ended[cell]) is not None:
        raise wrong


async def test_the_books_of_all_of_them_agree(strikes: Strikes) -> None:
    checked = await strikes.environment.check_invariants(strikes.order_ids)
    assert violations_of(checked) == []


async def test_every_step_of_an_ordinary_order_has_its_rows(strikes: Strikes) -> None:
    """With a charge in the first workflow task, and without."""
    steps = {(row.activity, row.way) for row in ROWS if row.way is not Way.HANDED_OVER}
    quick = await strikes.ordinary_activities(quickly=True)
    slow = await strikes.ordinary_activities(quickly=False)
    assert (quick | slow, quick & slow) == (
        steps,
        {one for one in steps if one[0] != "charge_card"},
    )
