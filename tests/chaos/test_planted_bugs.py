"""Each kind of bug, planted in a worker, fails a run of chaos; without one the run passes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

import pytest
from rich.console import Console

from chaos.plan import Capture, FaultKind, OrderKind, PlannedFault, plan
from chaos.run import ChaosResult, run_chaos
from demo.worker_process import WorkerProcess
from tests.chaos.faulty_worker import BUGS

_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Trial:
    """Orders of these kinds, and what is to be said of the bug."""

    kinds: frozenset[OrderKind]
    said: str
    faults: tuple[PlannedFault, ...] = ()
    #: Some order never ends.
    is_endless: bool = False


_LOST_ANSWER: Final = PlannedFault(
    0.0, FaultKind.NEIGHBOUR, "stripe.payment_intents.create", 10.0, "hang_up_after", 2
)
TRIALS: Final = {
    "random_key": Trial(frozenset({OrderKind.ORDINARY}), "live_charge", (_LOST_ANSWER,)),
    "no_undo": Trial(frozenset({OrderKind.NOT_FULFILLABLE}), "has not ended", is_endless=True),
    "stock_not_atomic": Trial(frozenset({OrderKind.OUT_OF_STOCK}), "CUP: 3 set aside"),
    "lost_signal": Trial(
        frozenset({OrderKind.ORDINARY}), "waiting for the parcels", is_endless=True
    ),
    "refund_not_followed": Trial(frozenset({OrderKind.REFUND_PENDING}), "its refund r1 is pending"),
    "mail_before_its_time": Trial(frozenset({OrderKind.ORDINARY}), "came before its time"),
    "dispute_not_booked": Trial(frozenset({OrderKind.DISPUTE_LOST}), "its disputes are {}"),
}
ORDERS: Final = 3
#: Seconds that customers have.
PATIENCE: Final = 15.0
#: Seconds that a run waits for its last order, on a busy machine; where one never ends, fewer.
SETTLE: Final = 180.0
SETTLE_ENDLESS: Final = 30.0


class FaultyWorker(WorkerProcess):
    """A worker process with a planted bug."""

    program: ClassVar = "tests/chaos/faulty_worker.py"


async def _run(trial: Trial, state: Path, bug: str | None, settle: float = SETTLE) -> ChaosResult:
    drawn = plan(
        orders=ORDERS,
        seed=1,
        capture=Capture.AT_CHECKOUT,
        workers=1,
        apis=1,
        shortest=3.0,
        kinds=trial.kinds,
        with_faults=False,
    )

    def faulty(directory: Path, settings: Mapping[str, str]) -> WorkerProcess:
        if bug is None:
            return WorkerProcess(directory, settings)
        planted = {"PLANTED_BUG": bug, "PYTHONPATH": str(_ROOT)}
        return FaultyWorker(directory, {**settings, **planted})

    return await run_chaos(
        replace(drawn, faults=trial.faults),
        state,
        Console(file=sys.stdout),  # shown when the test fails
        settle_limit=SETTLE_ENDLESS if trial.is_endless else settle,
        patience=PATIENCE,
        worker_factory=faulty,
    )


@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_bug_fails_the_run(bug: str, tmp_path: Path) -> None:
    result = await _run(TRIALS[bug], tmp_path / "state", bug)

    assert any(TRIALS[bug].said in violation for violation in result.violations), result.violations


async def test_without_a_bug_the_same_orders_keep_every_promise(tmp_path: Path) -> None:
    everything = Trial(
        frozenset().union(*(trial.kinds for trial in TRIALS.values())), "", (_LOST_ANSWER,)
    )

    result = await _run(everything, tmp_path / "state", None)

    assert result.violations == []
    assert result.figures.orders == ORDERS


async def test_who_is_not_through_in_time_fails_the_run(tmp_path: Path) -> None:
    pending = TRIALS["refund_not_followed"]

    result = await _run(pending, tmp_path / "state", None, settle=0.0)

    late = result.results[0]
    for order in range(1, ORDERS + 1):
        assert any(f"order c{order} " in violation for violation in late.violations), late
