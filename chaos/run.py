"""Carries out a plan on a fresh sandbox, waits until all orders are over, checks and reports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from sqlalchemy import text
from temporalio.service import RPCError

from chaos.checks import check
from chaos.customers import MADE_TO_WAIT, Customers
from chaos.environment import PATIENCE, ChaosEnvironment, default_worker, open_chaos
from chaos.faults import Faults
from chaos.plan import Plan
from chaos.processes import ProcessFactory
from chaos.report import Figures, recovery_times, show_report
from demo.invariants import InvariantResult
from durable_orders.domain.ids import order_id_of

#: Orders that are under way at a time: the next customer comes when one is over.
_MOST_OPEN: Final = 200
_TALLY_EVERY: Final = 5.0
_SLOWEST_SHOWN: Final = 5
_OPEN_RUNS: Final = 'ExecutionStatus = "Running"'
#: Placing an order needs no worker.
_PROGRESS: Final = text(
    "SELECT extract(epoch FROM at)::float8 FROM order_history "
    "WHERE event <> 'order_placed' ORDER BY at"
)


@dataclass(frozen=True)
class ChaosResult:
    """What a run has measured, and what it has found."""

    figures: Figures
    results: Sequence[InvariantResult]

    @property
    def violations(self) -> list[str]:
        return [violation for result in self.results for violation in result.violations]


async def run_chaos(
    plan: Plan,
    state: Path,
    console: Console,
    *,
    settle_limit: float = 900.0,
    patience: float = PATIENCE,
    worker_factory: ProcessFactory = default_worker,
) -> ChaosResult:
    """Run the plan in ``state``, a directory that is emptied, and report on ``console``.

    After the faults it waits for ``settle_limit`` seconds at most until all orders are over.
    """
    console.print(f"[bold]Chaos[/]: {len(plan.orders)} orders, {len(plan.faults)} faults; starting")
    async with open_chaos(
        plan, state, worker_factory=worker_factory, patience=patience
    ) as environment:
        run = _Run(plan, environment, console)
        async with (
            contextlib.aclosing(run.customers),
            _beside(run.tally()),
            _beside(run.customers.approve_refunds()),
        ):
            await run.carry_out()
            unfinished = await run.settle(settle_limit)
        console.print("Checking every order …")
        results = await check(environment, run.customers.all, unfinished)
        figures = await run.figures()
    show_report(plan, figures, results, console)
    return ChaosResult(figures, results)


class _Run:
    """One run: the customers and the faults, at their times."""

    def __init__(self, plan: Plan, environment: ChaosEnvironment, console: Console) -> None:
        self._plan = plan
        self._environment = environment
        self._console = console
        self._faults = Faults(environment)
        demo = environment.demo
        self.customers = Customers(
            environment.shop,
            environment.observer,
            demo.faults,
            demo.operations,
            demo.sandbox.stand_in_url,
        )
        #: What each customer does, by the order's id.
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._started = time.time()
        self._faults_ended = 0.0
        self._all_over = 0.0

    async def carry_out(self) -> None:
        """Have every customer come and every fault happen; return when the last fault has ended."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._let_customers_come())
            both.create_task(self._let_faults_happen())
        await self._environment.heal()
        self._faults_ended = time.time()
        self._say("No more faults.")

    async def settle(self, limit: float) -> list[str]:
        """Wait until every order is over; sentences about those that are not, after ``limit``."""
        lives = self._lives.values()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                if lives:
                    await asyncio.wait(lives)
                # Refunds, what follows disputes, late mails.
                while await self._open_runs():  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.5)
        self._all_over = time.time()
        unfinished = await self._unfinished()
        for life in lives:
            life.cancel()
        ended = await asyncio.gather(*lives, return_exceptions=True)
        failed = [e for e in ended if isinstance(e, Exception)]
        if failed:
            raise ExceptionGroup("customers failed", failed)
        return unfinished

    async def figures(self) -> Figures:
        """What was measured."""
        demo, shop = self._environment.demo, self._environment.shop
        async with demo.database.statement() as connection:
            progress = list(await connection.scalars(_PROGRESS))
        figures = Figures(
            orders=len(self.customers.all),
            ends=self._environment.observer.ends,
            seconds=self._faults_ended - self._started,
            settled_after=self._all_over - self._faults_ended,
            requests=shop.requests,
            repeated=shop.repeated,
            starts=sum(slot.starts for slot in self._environment.slots.values()),
            ended_by_themselves=[
                each for slot in self._environment.slots.values() for each in slot.ended_by_itself
            ],
            recovery=recovery_times(self._faults.happened, progress),
        )
        for books in (await demo.books.all()).values():
            figures.captured += books.captured
            figures.refunded += books.refunded
            figures.withdrawn += books.withdrawn
            figures.parcels += len(books.parcels)
            figures.mails += len(books.mails)
        await self._measure_settling(figures)
        return figures

    async def tally(self) -> None:
        """Print now and then how far the orders are, until cancelled."""
        while True:
            await asyncio.sleep(_TALLY_EVERY)
            self._say(self._tally())

    # -- what happens --------------------------------------------------------------------------

    async def _let_customers_come(self) -> None:
        few = asyncio.Semaphore(_MOST_OPEN)
        for order in self._plan.orders:
            await self._until(order.at)
            await few.acquire()
            life = asyncio.create_task(self.customers.live(order))
            life.add_done_callback(lambda _: few.release())
            self._lives[order.order_id] = life

    async def _let_faults_happen(self) -> None:
        async with asyncio.TaskGroup() as happening:
            for fault in self._plan.faults:
                await self._until(fault.at)
                happening.create_task(self._faults.carry_out(fault))

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._started + at - time.time()))

    # -- what is left --------------------------------------------------------------------------

    async def _open_runs(self) -> list[str]:
        """The ids of the runs that are open, up to a second ago."""
        with contextlib.suppress(RPCError):
            runs = self._environment.demo.temporal.list_workflows(_OPEN_RUNS)
            return [run.id async for run in runs]
        return ["unknown"]

    async def _unfinished(self) -> list[str]:
        """Sentences about orders that are not over, customers who are not through, runs that are
        open.
        """
        observer = self._environment.observer
        found, still_open = [], sorted(observer.open)
        for order_id in still_open:
            seen = observer.last_seen(order_id)
            progress = await self._environment.demo.orders.status(order_id)
            kind = self.customers.all[order_id].order.kind
            found.append(
                f"order {order_id} ({kind}) is {seen.status if seen else 'unknown'}, "
                f"{progress.doing}: {progress.attention}"
            )
        found += [
            f"order {order_id} ({self.customers.all[order_id].order.kind}): "
            "its customer is not through"
            for order_id, life in self._lives.items()
            if not life.done() and order_id not in still_open
        ]
        over = {f"order-{order_id}" for order_id in still_open}
        found += [f"run {id_} is still open" for id_ in await self._open_runs() if id_ not in over]
        return found

    async def _measure_settling(self, figures: Figures) -> None:
        """How long each order took after the faults had ended and nobody did anything more."""
        ended: dict[str, float] = {}
        async for run in self._environment.demo.temporal.list_workflows():
            if (order_id := order_id_of(run.id)) in self.customers.all and run.close_time:
                ended[order_id] = max(ended.get(order_id, 0.0), run.close_time.timestamp())
        slowest = []
        for order_id, at in ended.items():
            customer = self.customers.all[order_id]
            if at <= self._faults_ended:
                continue
            took = max(0.0, at - max(self._faults_ended, customer.acted_at))
            if customer.order.kind in MADE_TO_WAIT:
                figures.waiting.append(took)
            else:
                figures.settling.append(took)
                slowest.append((took, f"order {order_id} ({customer.order.kind}): {took:.1f} s"))
        figures.slowest = [said for _, said in sorted(slowest, reverse=True)[:_SLOWEST_SHOWN]]

    # -- progress ------------------------------------------------------------------------------

    def _tally(self) -> str:
        tally = self._environment.observer.tally
        over = ("completed", "rejected", "cancelled", "refunded")
        ended = ", ".join(f"{tally[status]} {status}" for status in over if tally[status])
        happened = Counter(each.fault.kind.value for each in self._faults.happened)
        worst = ", ".join(f"{number} {kind}" for kind, number in happened.most_common(3))
        return (
            f"{sum(tally.values())} of {len(self._plan.orders)} orders placed, "
            f"{len(self._environment.observer.open)} under way, {ended or 'none over'}; "
            f"{sum(happened.values())} of {len(self._plan.faults)} faults ({worst})"
        )

    def _say(self, sentence: str) -> None:
        self._console.print(f"[dim]{time.time() - self._started:6.0f} s[/]  {escape(sentence)}")


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have ``work`` done beside the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
