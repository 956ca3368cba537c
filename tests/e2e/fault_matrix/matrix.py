"""Runs cells of the fault matrix: an order for each, many at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar, Final

from demo.environment import DemoEnvironment
from demo.invariants import check_invariants, violations_of
from demo.worker_process import WorkerProcess
from durable_orders.domain.money import Money
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.store.seed import Product
from sandbox.fault_client import Fault
from tests.e2e.fault_matrix.courses import LONG, SKU, UNDER_OTHER_TERMS, Courses
from tests.e2e.fault_matrix.plan import FaultPoint, Plan
from tests.e2e.fault_matrix.table import (
    AT_NEIGHBOUR,
    REFUND,
    SLOW,
    Cell,
    FaultKind,
)
from tests.support.eventually import eventually

_numbers: Final = count(1)
ROOT: Final = Path(__file__).resolve().parents[3]

#: Cells that are under way at the same time: more, and the machine is what fails.
AT_ONCE: Final = 24
#: How long a neighbour keeps its answer back, a little longer than it is waited for.
OVERDUE, OVERDUE_BANK = 22.0, 84.0
#: An order has come to its fault within this time, or will not.
SOON: Final = 45.0
#: Orders of these courses keep their workers waiting for a reminder.
REMINDED: Final = frozenset({"approved_after_reminder", "refund_approved_after_reminder"})

#: How the database's own check ends its sentence of an order that a person has settled.
BY_HAND: Final = "given back by hand, as ops-7 says"

#: Terms of orders whose money is held and whose parcels are followed.
OTHER_TERMS: Final = {"CAPTURE": "at_fulfillment", "DELIVERY_DEADLINE_DAYS": "30"}


class WorkerWithFaults(WorkerProcess):
    """A worker that meets the faults of a plan."""

    program: ClassVar = "tests/e2e/fault_matrix/worker_with_faults.py"


@dataclass(eq=False)
class Matrix:
    """Cells in one environment. ``ended`` has what became of each: None, or what was wrong.

    ``orders`` has each cell's order.
    """

    environment: DemoEnvironment
    directory: Path
    #: Half-way, the approver is reminded.
    approval_seconds: float
    audits_at_once: int = 100
    ended: dict[Cell, Exception | None] = field(default_factory=dict)
    orders: dict[Cell, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.courses = Courses(self.environment, asyncio.Semaphore(self.audits_at_once))

    async def prepare(self, cells: Iterable[Cell]) -> Plan:
        """Write the plan of these cells, and begin the orders that need other terms."""
        await self.environment.add_product(Product(SKU, SKU, Money(9_00, "EUR"), 10_000))
        self.orders = {cell: f"m{next(_numbers)}" for cell in cells}
        elsewhere = [order_id for cell, order_id in self.orders.items() if _began_elsewhere(cell)]
        if elsewhere:
            other = await self.environment.start_worker(**OTHER_TERMS)
            await other.ready()
            await asyncio.gather(*map(self.courses.begin_elsewhere, elsewhere))
            await other.kill()
        return Plan.write(self.directory, map(self._point, self.orders))

    def _point(self, cell: Cell) -> FaultPoint:
        overdue = OVERDUE_BANK if cell.endpoint in SLOW else OVERDUE
        seconds = overdue if cell.fault is FaultKind.TIMEOUT else 1.0
        return FaultPoint(self.orders[cell], cell.row.activity, cell.fault, cell.endpoint, seconds)

    async def start_worker(self) -> WorkerWithFaults:
        """Start a worker that meets the faults, and wait until it is ready."""
        hours = f"{self.approval_seconds / 3600:.6f}"
        sandbox = self.environment.sandbox
        settings = {
            "PYTHONPATH": str(ROOT),
            "FAULT_PLAN": str(self.directory),
            "APPROVER_EMAIL": "approver@example.com",
            "APPROVAL_TIMEOUT_HOURS": hours,
            "REFUND_APPROVAL_ABOVE": "EUR=10.00",
            "REFUND_APPROVAL_TIMEOUT_HOURS": hours,
        }
        number = len(self.environment.workers) + 1
        directory = sandbox.state / "workers" / str(number)
        worker = WorkerWithFaults(directory, sandbox.settings | settings)
        self.environment.workers.append(worker)
        await worker.start()
        await worker.ready()
        return worker

    async def side_by_side(self, plan: Plan) -> None:
        """Run all cells: those that mostly wait at once, the others some at a time."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def run(cell: Cell) -> None:
            if cell.fault is FaultKind.TIMEOUT or cell.row.course in REMINDED:
                await self.run(cell, plan)  # mostly waits
            else:
                async with turns:
                    await self.run(cell, plan)

        await asyncio.gather(*map(run, sorted(self.orders, key=_began_elsewhere, reverse=True)))

    async def in_batches(
        self,
        plan: Plan,
        size: int,
        strike: Callable[[], Awaitable[None]],
    ) -> None:
        """Bring so many orders at a time to where they are held, and strike then."""
        running: list[asyncio.Task[None]] = []
        # Those that wait for a reminder wait together.
        cells = sorted(self.orders, key=lambda cell: cell.row.course in REMINDED)
        for at in range(0, len(cells), size):
            batch = cells[at : at + size]
            before, running = running, [asyncio.create_task(self.run(cell, plan)) for cell in batch]
            await asyncio.gather(*(self._reached(cell, plan) for cell in batch), *before)
            await strike()
        await asyncio.gather(*running)

    async def _reached(self, cell: Cell, plan: Plan) -> None:
        """Return once the cell's order is held, or has ended or is stuck without."""

        async def reached() -> bool:
            return plan.has_struck(self.orders[cell]) or cell in self.ended

        with contextlib.suppress(TimeoutError):
            await eventually(reached, within=SOON, pause=0.1)

    async def run(self, cell: Cell, plan: Plan) -> None:
        """Bring one cell's order to its end, and say what was wrong with it."""
        try:
            async with asyncio.timeout(LONG):
                await self._run(cell, plan)
        except Exception as error:  # noqa: BLE001 - raised by the cell's own test
            error.add_note(await self._situation(self.orders[cell]))
            self.ended[cell] = error
        else:
            self.ended[cell] = None

    async def _run(self, cell: Cell, plan: Plan) -> None:
        order_id = self.orders[cell]
        async with asyncio.TaskGroup() as group:
            group.create_task(self.courses.run(cell.row.course, order_id))
            if _needs_person(cell):
                is_undo = cell.row.activity == "refund_card"
                person = self.courses.resolve if is_undo else self.courses.resolve_refund
                group.create_task(person(order_id))
        assert await self._has_struck(cell, plan), "the fault never struck"
        evidence = await self.environment.evidence(order_id)
        assert violations_of(check_invariants([evidence], [])) == []
        assert evidence.view.order.status is cell.status

    async def _has_struck(self, cell: Cell, plan: Plan) -> bool:
        marks = plan.marks(self.orders[cell])
        if cell.fault not in AT_NEIGHBOUR:
            return bool(marks)
        mode, times = AT_NEIGHBOUR[cell.fault]
        hits = [(await self.environment.faults.get(_dial(id_, mode))).hits for id_ in marks]
        return hits == [times]

    async def _situation(self, order_id: str) -> str:
        try:
            view = await self.environment.orders.view(order_id)
        except NoSuchOrderError as error:
            return str(error)
        lines = [f"{line.at:%H:%M:%S} {line.event} {line.detail}" for line in view.history]
        return "\n".join([f"order {order_id} is {view.order.status}", *lines])


async def violations(*matrices: Matrix) -> list[str]:
    """What is wrong with all orders together: the stock, and the database's own check, which names
    each order whose money a person has given back another way.
    """
    orders = {id_: cell for matrix in matrices for cell, id_ in matrix.orders.items()}
    found = violations_of(await matrices[0].environment.check_invariants(orders))
    by_hand = tuple(
        f"order {order_id} is {cell.status}, "
        for order_id, cell in orders.items()
        if cell.row.course == "given_back_by_hand" or _needs_person(cell)
    )
    return [one for one in found if not (one.endswith(BY_HAND) and one.startswith(by_hand))]


def _began_elsewhere(cell: Cell) -> bool:
    return cell.row.course in UNDER_OTHER_TERMS


def _needs_person(cell: Cell) -> bool:
    """Whether nothing but a person can end it: Stripe keeps saying the same for a day."""
    return cell.fault is FaultKind.ERROR_STORED and cell.endpoint == REFUND


def _dial(id_: str, mode: str) -> Fault:
    """A fault of which only the id counts."""
    return Fault(id_, "", mode, None, None, None, 0, None, 0, 0, 0)
