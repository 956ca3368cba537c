"""`python -m bench.waiting`: many orders that wait, on one worker, and a cold one that takes over.

The orders are shipped and wait for their parcels' delivery, or they wait for an approval. Measured
are the start of all of them, memory and CPU while nothing happens, and what it costs to tell some
of them that the parcel was delivered, or that they are rejected: those that the worker has in its
cache, those that it had to drop from it, and those that another worker left when it was killed.
Temporal is the sandbox's, on SQLite.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import count
from typing import Annotated, Any, Final

import psutil  # type: ignore[import-untyped]
import typer
from sqlalchemy import func, select

from bench.command import (
    EPILOG,
    JsonFile,
    finish,
    measure,
    print_progress,
    print_table,
    run,
)
from bench.environment import ADA, ORDER_WORKER, PRODUCT, BenchEnvironment, Cpu, identity_of
from bench.report import percentile
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.seed import add_products
from durable_orders.store.tables import order_history, orders, parcels
from sandbox.child import Child

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

#: Started, and not waiting yet.
_STARTING: Final = 100
_TELLING: Final = 20
_MEBIBYTE: Final = 2**20
_numbers = count(1)


class WaitFor(StrEnum):
    """What the orders wait for."""

    DELIVERY = "delivery"
    APPROVAL = "approval"


#: Settings of a worker whose orders wait.
_SETTINGS: Final = {
    WaitFor.DELIVERY: {"DELIVERY_DEADLINE_DAYS": "30"},
    WaitFor.APPROVAL: {"APPROVAL_ABOVE": "EUR=1.00", "APPROVAL_TIMEOUT_HOURS": "720"},
}


@dataclass(frozen=True)
class Plan:
    """What and how much to measure."""

    orders: int
    wait_for: WaitFor
    news: int
    cache: int
    idle: float


@dataclass(frozen=True)
class Started:
    """All orders were started, and wait."""

    seconds: float
    cpu: Cpu
    worker_rss: int
    temporal_rss: int


@dataclass(frozen=True)
class Idle:
    """Nothing happened for so long."""

    seconds: float
    cpu: Cpu


@dataclass(frozen=True)
class Told:
    """Some orders were told something; ``took``: seconds until each had ended because of it."""

    whom: str
    seconds: float
    took: list[float]
    cpu: Cpu
    rss_before: int
    rss_after: int


@dataclass
class Measurements:
    """All results so far."""

    started: Started | None = None
    idle: Idle | None = None
    ready_after: float | None = None
    told: list[Told] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@app.command(epilog=EPILOG)
def main(
    *,
    orders: Annotated[
        int, typer.Option(min=10, max=100_000, help="Orders that wait at the same time.")
    ] = 10_000,
    wait_for: Annotated[WaitFor, typer.Option(help="What they wait for.")] = WaitFor.DELIVERY,
    news: Annotated[
        int, typer.Option(min=1, max=5_000, help="Orders that are told something, three times.")
    ] = 300,
    cache: Annotated[
        int, typer.Option(min=1, max=100_000, help="MAX_CACHED_WORKFLOWS of the workers.")
    ] = 1_000,
    idle: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds of looking on while nothing happens.")
    ] = 30,
    limit: Annotated[
        float, typer.Option(min=10, max=7_200, help="Stop after so many seconds.")
    ] = 3_600,
    json_file: JsonFile = None,
) -> None:
    """Measure what orders cost that wait, and what it costs when a cold worker takes them over.

    Everything runs on this machine and is stopped at the end.
    """
    if 3 * news > orders:
        raise typer.BadParameter("three times as many as --orders has are told something")
    plan, measured = Plan(orders, wait_for, news, cache, idle), Measurements()
    errors = measure(lambda environment: _run(environment, plan, measured), limit)
    title = f"{orders} orders that wait for {wait_for}, {cache} in the cache of one worker"
    print_table(title, ("What", "Figure"), list(_rows(plan, measured)))
    finish(errors, {"plan": asdict(plan), **measured.as_json()}, json_file)


async def _run(environment: BenchEnvironment, plan: Plan, measured: Measurements) -> list[str]:
    """Fill ``measured``; return errors, a sentence each."""
    await add_products(environment.database, [PRODUCT])
    settings = _SETTINGS[plan.wait_for] | {"MAX_CACHED_WORKFLOWS": str(plan.cache)}
    worker = await environment.add_worker(ORDER_WORKER, **settings)
    print_progress(f"{plan.orders} orders that wait for {plan.wait_for} …")
    order_ids = [f"waiting-{next(_numbers)}" for _ in range(plan.orders)]
    measured.started = await _start(environment, worker, order_ids, plan.wait_for)
    print_progress(f"Looking on for {plan.idle:.0f} s …")
    measured.idle = await _look_on(environment, worker, plan.idle)

    newest, oldest = order_ids[-plan.news :], order_ids[: plan.news]
    left = order_ids[plan.news : 2 * plan.news]
    print_progress(f"News for {plan.news} of the newest, then of the oldest …")
    measured.told.append(await _tell(environment, worker, "newest", newest, plan.wait_for))
    measured.told.append(await _tell(environment, worker, "oldest", oldest, plan.wait_for))

    print_progress("Another worker takes over …")
    await environment.kill(identity_of(worker))
    began = time.perf_counter()
    worker = await environment.add_worker(ORDER_WORKER, **settings)
    measured.ready_after = time.perf_counter() - began
    told = await _tell(environment, worker, "of a killed worker", left, plan.wait_for)
    measured.told.append(told)
    return await _find_errors(environment, order_ids, {*newest, *oldest, *left})


async def _start(
    environment: BenchEnvironment, worker: Child, order_ids: list[str], wait_for: WaitFor
) -> Started:
    await _each(order_ids, lambda order_id: _place(environment, order_id))
    before, began = environment.cpu(worker), time.perf_counter()
    waiting = started = 0
    while waiting < len(order_ids):
        most = min(len(order_ids), waiting + _STARTING)
        await _each(order_ids[started:most], environment.start)
        started = max(started, most)
        await asyncio.sleep(0.1)
        waiting = await _waiting(environment, wait_for)
    seconds = time.perf_counter() - began
    return Started(
        seconds,
        environment.cpu(worker).since(before),
        _rss(worker),
        sum(map(_rss_of, _temporal())),
    )


async def _place(environment: BenchEnvironment, order_id: str) -> None:
    lines = ((PRODUCT.sku, 1),)
    await environment.orders.place(Basket(order_id, "cus_1", ADA, lines, "pm_card_visa"))


async def _waiting(environment: BenchEnvironment, wait_for: WaitFor) -> int:
    """The number of orders that have come to where they wait."""
    if wait_for is WaitFor.APPROVAL:
        there = select(func.count()).where(orders.c.stock == "reserved")
    else:
        mailed = order_history.c.event == "confirmation_mailed"
        there = select(func.count()).select_from(order_history).where(mailed)
    async with environment.database.statement() as connection:
        return int(await connection.scalar(there) or 0)


async def _look_on(environment: BenchEnvironment, worker: Child, seconds: float) -> Idle:
    await asyncio.sleep(5)  # what came last is settled
    before, began = environment.cpu(worker), time.perf_counter()
    await asyncio.sleep(seconds)
    return Idle(time.perf_counter() - began, environment.cpu(worker).since(before))


async def _tell(
    environment: BenchEnvironment,
    worker: Child,
    whom: str,
    order_ids: list[str],
    wait_for: WaitFor,
) -> Told:
    """Tell each order what it waits for, and wait until it has ended because of it."""
    took: list[float] = []
    parcel_of = await _parcels(environment, order_ids)
    operations = OrderOperations(environment.temporal)

    async def tell(order_id: str) -> None:
        began = time.perf_counter()
        if wait_for is WaitFor.APPROVAL:
            await operations.reject(order_id, "bench")
        else:
            parcel_id = parcel_of[order_id]
            await environment.orders.parcel_updated(order_id, parcel_id, ParcelStatus.DELIVERED)
        await environment.orders.result(order_id)
        took.append(time.perf_counter() - began)

    rss, before, began = _rss(worker), environment.cpu(worker), time.perf_counter()
    await _each(order_ids, tell)
    seconds = time.perf_counter() - began
    cpu = environment.cpu(worker).since(before)
    return Told(whom, seconds, took, cpu, rss, _rss(worker))


async def _parcels(environment: BenchEnvironment, order_ids: list[str]) -> dict[str, str]:
    wanted = select(parcels.c.order_id, parcels.c.parcel_id)
    wanted = wanted.where(parcels.c.order_id.in_(order_ids))
    async with environment.database.statement() as connection:
        return {row.order_id: row.parcel_id for row in await connection.execute(wanted)}


async def _find_errors(
    environment: BenchEnvironment, order_ids: list[str], told: set[str]
) -> list[str]:
    """Errors, a sentence each: who was told has ended, the others wait, and all adds up."""
    errors = await find_inconsistencies(environment.database)
    async with environment.database.statement() as connection:
        rows = (await connection.execute(select(orders.c.id, orders.c.status))).all()
    status_of = {row.id: Status(row.status) for row in rows}
    for order_id in order_ids:
        if status_of[order_id].is_final != (order_id in told):
            whether = "told" if order_id in told else "not told"
            errors.append(f"order {order_id} was {whether}, and is {status_of[order_id]}")
    return errors


async def _each(order_ids: Sequence[str], what: Callable[[str], Awaitable[object]]) -> None:
    left = iter(order_ids)

    async def next_ones() -> None:
        for order_id in left:
            await what(order_id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_TELLING):
            tasks.create_task(next_ones())


def _rss(child: Child) -> int:
    return _rss_of(psutil.Process(child.pid))


def _rss_of(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _temporal() -> list[psutil.Process]:
    """The sandbox's server: this process's grandchild."""
    ours = psutil.Process().children(recursive=True)
    return [process for process in ours if process.name() == "temporal"]


def _rows(plan: Plan, measured: Measurements) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if started := measured.started:
        per, cpu = plan.orders / started.seconds, started.cpu.per(plan.orders)
        rows += [
            ("started, until they wait, per second", f"{per:.1f}"),
            *_cpu_rows("CPU per order until it waits", cpu, 1000, "ms"),
            ("memory of the worker (RSS) when all wait", _size(started.worker_rss)),
            ("memory of Temporal (RSS), on SQLite", _size(started.temporal_rss)),
        ]
    if idle := measured.idle:
        per_second = 1000 / idle.seconds
        rows += _cpu_rows("CPU while nothing happens", idle.cpu, per_second, "ms per second")
    for told in measured.told:
        if told.whom == "of a killed worker" and measured.ready_after is not None:
            rows.append(("the next worker is ready after", f"{measured.ready_after:.1f} s"))
        news = f"news for {len(told.took)}, {told.whom}"
        cpu = told.cpu.per(len(told.took))
        rows += [
            (f"{news}: handled per second", f"{len(told.took) / told.seconds:.1f}"),
            (f"{news}: until handled, p50", f"{statistics.median(told.took):.2f} s"),
            (f"{news}: until handled, p99", f"{percentile(told.took, 0.99):.2f} s"),
            (f"{news}: CPU of the worker, each", f"{cpu.worker * 1000:.1f} ms"),
            (f"{news}: CPU of Temporal, each", f"{cpu.temporal * 1000:.1f} ms"),
            (f"{news}: memory of the worker before", _size(told.rss_before)),
            (f"{news}: memory of the worker after", _size(told.rss_after)),
        ]
    return rows


def _cpu_rows(what: str, cpu: Cpu, factor: float, unit: str) -> list[tuple[str, str]]:
    return [
        (f"{what}: {who}", f"{seconds * factor:.1f} {unit}")
        for who, seconds in (
            ("worker", cpu.worker),
            ("Temporal", cpu.temporal),
            ("PostgreSQL", cpu.postgres),
        )
    ]


def _size(number: int) -> str:
    return f"{number / _MEBIBYTE:.0f} MiB"


if __name__ == "__main__":
    run(app, "bench.waiting")
