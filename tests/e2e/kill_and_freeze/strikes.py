"""Runs cells of the kill-and-freeze table: an order for each, many struck by one blow.

A local step is to be struck within its workflow task, before the SDK renews that. An order of which
that was missed is followed to its end all the same, and its cell gets another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from pathlib import Path
from typing import ClassVar, Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from demo.environment import DemoEnvironment
from demo.invariants import OrderEvidence, check_invariants, violations_of
from demo.worker_process import WorkerProcess
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.store.seed import Product
from tests.e2e.kill_and_freeze.holds import HoldsDirectory, directory_of
from tests.e2e.kill_and_freeze.table import Blow, Cell, News, Part, Way
from tests.e2e.moments import Hold
from tests.support.eventually import eventually

ROOT: Final = Path(__file__).resolve().parents[3]
#: Orders that are held at a time.
BATCH: Final = 36
#: Orders of a healthy worker at a time.
AT_ONCE: Final = 10
#: Orders of one cell, until one is struck in time.
TRIES: Final = 4
#: An order has ended within this time, or will not.
LONG: Final = 60.0

_UNHANDLED: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
_numbers: Final = count(1)


class WorkerWithHolds(WorkerProcess):
    """A worker whose orders can be held."""

    program: ClassVar = "tests/e2e/kill_and_freeze/worker_with_holds.py"


@dataclass(eq=False)
class Trial:
    """An order of one cell."""

    cell: Cell
    order_id: str
    hold: Hold
    #: Whether it was struck, or told, where it was to be.
    in_time: bool = True
    wrong: Exception | None = None


@dataclass(eq=False)
class Strikes:
    """Cells in one environment. ``ended`` has what became of each: None, or what was wrong."""

    environment: DemoEnvironment
    ended: dict[Cell, Exception | None] = field(default_factory=dict)
    order_ids: list[str] = field(default_factory=list)
    tried: dict[Cell, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory: HoldsDirectory = directory_of(self.environment)
        self._standby: tuple[WorkerWithHolds, Path] | None = None
        self._unchecked: list[Trial] = []

    async def run(self, cells: Iterable[Cell]) -> None:
        """Bring all cells to their end."""
        todo = list(cells)
        worker = await self.next_worker()
        while todo:
            missed: list[Trial] = []
            for blow in Blow:
                for batch in _batches([cell for cell in todo if cell.blow is blow]):
                    trials = [await self._place(cell) for cell in batch]
                    if blow is Blow.HEALTHY:
                        await self._stay_healthy(trials)
                    else:
                        worker = await self._strike(blow, worker, trials)
                    self._unchecked += trials
                    missed += [one for one in trials if not one.in_time]
            todo = [one.cell for one in missed if self.tried[one.cell] < TRIES]
        await self._check()

    async def _check(self) -> None:
        """Look at the orders that have ended since the last time."""
        trials, self._unchecked = self._unchecked, []
        await self._each(trials, self._look_whether_right)
        for one in trials:
            if one.wrong is not None:
                self.ended[one.cell] = one.wrong
            elif one.in_time:
                self.ended.setdefault(one.cell, None)

    async def ordinary_activities(self, *, quickly: bool) -> set[tuple[str, Way]]:
        """The activities of an order that nothing befalls, and how each is run."""
        order_id = await self._ping(quickly=quickly)
        ran = self.directory.ran(order_id)
        return {(one.activity, Way.LOCAL if one.is_local else Way.NORMAL) for one in ran}

    # -- workers -----------------------------------------------------------------------------------

    async def next_worker(self) -> WorkerProcess:
        """A worker that has been loaded meanwhile begins to work, and another one stands by."""
        worker, file = self._standby or await self._stand_by()
        file.touch()
        await worker.ready()
        self._standby = await self._stand_by()
        return worker

    async def _stand_by(self) -> tuple[WorkerWithHolds, Path]:
        sandbox = self.environment.sandbox
        number = len(self.environment.workers) + 1
        file = self.directory.path / f"worker-{number}"
        settings = {
            "PYTHONPATH": str(ROOT),
            "HOLDS_DIRECTORY": str(self.directory.path),
            "STANDS_BY_FOR": str(file),
            "DATABASE_POOL_SIZE": "30",
        }
        worker = WorkerWithHolds(
            sandbox.state / "workers" / str(number), sandbox.settings | settings
        )
        self.environment.workers.append(worker)
        await worker.start()
        return worker, file

    # -- blows -------------------------------------------------------------------------------------

    async def _strike(
        self, blow: Blow, victim: WorkerProcess, trials: Sequence[Trial]
    ) -> WorkerProcess:
        """Hold all orders, strike their worker, tell them the news, have another worker carry them
        to their end. Returns the worker that is left.
        """
        held = await self._held(trials)
        if blow is Blow.KILLED:
            await victim.kill()
        else:
            await victim.signal(signal.SIGSTOP)
        async with _going_on_in_the_end(victim):
            await self._each(held, self._look_whether_in_time)
            await self._each(held, self._tell)
            await self._let_go([one for one in held if not one.cell.is_late])
            other = await self.next_worker()
            # The tasks of those that are held time out meanwhile.
            await asyncio.gather(self._each(held, self._closed), self._check())
            await self._let_go([one for one in held if one.cell.is_late])
        left = other
        if blow is Blow.FROZEN:
            await self._settled(victim, held)
            await other.kill()
            await self._ping()  # by the one that was frozen
            await self._settled(victim, held)
            left = victim
        return left

    async def _held(self, trials: Sequence[Trial]) -> list[Trial]:
        """Bring orders to where they are held: those last that are held within a workflow task."""
        for is_local in (False, True):
            some = [one for one in trials if one.cell.row.is_local is is_local]
            await self._each(some, self._begin)
            await self._each(some, self._reaches)
        return [one for one in trials if one.wrong is None]

    async def _stay_healthy(self, trials: Sequence[Trial]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def run(trial: Trial) -> None:
            async with turns:
                await self._begin(trial)
                await self._reaches(trial)
                await self._tell(trial)
                if not trial.cell.is_late:
                    await trial.hold.let_go()
                await self._closed(trial)
                await trial.hold.let_go()
                await self._look_whether_told_in_time(trial)

        await self._each(trials, run)

    # -- one order ---------------------------------------------------------------------------------

    async def _each(
        self, trials: Sequence[Trial], step: Callable[[Trial], Awaitable[None]]
    ) -> None:
        """Do this with every order with which nothing is wrong yet; note with which it is."""

        async def one(trial: Trial) -> None:
            try:
                await step(trial)
            except Exception as error:  # noqa: BLE001 - raised by the cell's own test
                error.add_note(await self._situation(trial.order_id))
                trial.wrong = error

        await asyncio.gather(*(one(trial) for trial in trials if trial.wrong is None))

    async def _let_go(self, trials: Sequence[Trial]) -> None:
        await self._each(trials, lambda trial: trial.hold.let_go())

    async def _place(self, cell: Cell) -> Trial:
        self.tried[cell] = self.tried.get(cell, 0) + 1
        is_normal_charge = cell.row.activity == "charge_card" and cell.row.way is Way.NORMAL
        order_id = await self._order(quickly=not is_normal_charge)
        return Trial(cell, order_id, await cell.row.moment.hold(self.environment, order_id))

    async def _order(self, *, quickly: bool) -> str:
        """Place an order, for a product that no other has: they would wait for each other."""
        order_id = f"f{next(_numbers)}"
        self.order_ids.append(order_id)
        await self.environment.add_product(Product(order_id, order_id, Money(9_00, "EUR"), 10))
        await self.environment.place(order_id, sku=order_id)
        if not quickly:
            self.directory.charge_slowly(order_id)
        return order_id

    async def _begin(self, trial: Trial) -> None:
        await self.environment.orders.start(trial.order_id)

    async def _reaches(self, trial: Trial) -> None:
        """Return once the order is held."""
        await trial.hold.reached()
        if trial.cell.row.way is Way.HANDED_OVER:

            async def is_handed_over() -> bool:
                return EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED in [
                    event.event_type for event in await self._history(trial)
                ]

            await eventually(is_handed_over)

    async def _look_whether_in_time(self, trial: Trial) -> None:
        done = [
            event
            for event in await self._history(trial)
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
        ]
        trial.in_time = trial.cell.row.part.tasks_before in {None, len(done)}

    async def _look_whether_told_in_time(self, trial: Trial) -> None:
        """The news came while the task was run: then they are written down after what it did, and
        it is done again if it was to be the last.
        """
        events, part = await self._history(trial), trial.cell.row.part
        kinds = [event.event_type for event in events]
        if part is Part.CLOSING_TASK:
            trial.in_time = _UNHANDLED in [
                event.workflow_task_failed_event_attributes.cause for event in events
            ]
        if part is Part.FIRST_TASK:
            told = kinds.index(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
            trial.in_time = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED in kinds[:told]

    async def _tell(self, trial: Trial) -> None:
        orders, order_id = self.environment.orders, trial.order_id
        match trial.cell.news:
            case News.NOTHING:
                pass
            case News.CANCELLATION:
                await orders.request_cancel(order_id)
            case News.PAYMENT:
                await orders.payment_updated(order_id)
            case News.PARCEL:
                books = await self.environment.books.order(order_id)
                named = [parcel.id for each in books.fulfillments for parcel in each.parcels]
                parcel_id = named[0] if named else f"parcel-of-{order_id}"
                await orders.parcel_updated(order_id, parcel_id, ParcelStatus.SHIPPED)

    async def _closed(self, trial: Trial) -> None:
        """Return once the order's run has ended."""
        async with asyncio.timeout(LONG):
            await self.environment.orders.result(trial.order_id)

    async def _look_whether_right(self, trial: Trial) -> None:
        """Look whether the order, which has ended, has ended as it should."""
        evidence = await self.environment.evidence(trial.order_id)
        violations = violations_of(check_invariants([evidence], []))
        assert violations == [], violations
        status, ends = evidence.view.order.status, trial.cell.ends
        assert status in ends or not trial.in_time, f"{status}, not {sorted(ends)}"
        _check_effects(evidence)

    async def _settled(self, worker: WorkerProcess, trials: Sequence[Trial]) -> None:
        """Return once the worker runs no activity of these orders any more."""

        async def settled() -> bool:
            ran = (one for trial in trials for one in self.directory.ran(trial.order_id))
            return all(one.is_over for one in ran if one.pid == worker.pid)

        await eventually(settled, within=40)

    async def _ping(self, *, quickly: bool = True) -> str:
        """Have an order completed that nothing befalls; its id."""
        order_id = await self._order(quickly=quickly)
        await self.environment.orders.start(order_id)
        async with asyncio.timeout(LONG):
            outcome = await self.environment.orders.result(order_id)
        assert outcome.status is Status.COMPLETED
        return order_id

    async def _history(self, trial: Trial) -> list[HistoryEvent]:
        run = self.environment.temporal.get_workflow_handle(workflow_id(trial.order_id))
        return list((await run.fetch_history()).events)

    async def _situation(self, order_id: str) -> str:
        view = await self.environment.orders.view(order_id)
        lines = [f"order {order_id} is {view.order.status}"]
        lines += [f"{line.at:%H:%M:%S} {line.event} {line.detail}" for line in view.history]
        lines += [str(one) for one in self.directory.ran(order_id)]
        return "\n".join(lines)


def _batches(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in batches, each with as many that are held within a workflow task. What is handed
    over is together: it takes its time.
    """
    many = ceil(len(cells) / BATCH)
    groups = [
        sorted((cell for cell in cells if cell.row.is_local is is_local), key=_is_handed_over)
        for is_local in (False, True)
    ]
    return [[cell for group in groups for cell in _part(group, at, many)] for at in range(many)]


def _part(group: Sequence[Cell], at: int, many: int) -> Sequence[Cell]:
    size = ceil(len(group) / many)
    return group[at * size : (at + 1) * size]


def _is_handed_over(cell: Cell) -> bool:
    return cell.row.way is Way.HANDED_OVER


@contextlib.asynccontextmanager
async def _going_on_in_the_end(worker: WorkerProcess) -> AsyncIterator[None]:
    """Have a frozen worker go on after the block; nothing for a dead one."""
    try:
        yield
    finally:
        await worker.signal(signal.SIGCONT)


def _check_effects(evidence: OrderEvidence) -> None:
    """What moves money or goods took effect once at most, and the customer has one mail."""
    books = evidence.books
    charges = [charge for payment in books.payments for charge in payment.charges]
    effects = {
        "created": len(books.payments),
        "charged": sum(charge.status == "succeeded" for charge in charges),
        "refunded": len(books.refunds),
        "accepted by the warehouse": len(books.fulfillments),
    }
    assert max(effects.values()) <= 1, effects
    assert evidence.outcome is not None
    assert evidence.outcome.confirmed
    assert len(books.mails) == 1, books.mails
