"""`python -m bench`: run the benchmarks and print their tables."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bench import edge
from bench.checks import find_errors
from bench.command import bounded, finish, print_progress, run, temporary_directory
from bench.environment import BASELINE_WORKER, ORDER_WORKER, open_environment
from bench.orders import Amount, count_one, measure_alone, measure_load
from bench.recovery import recover
from bench.report import RECOVERY_TARGET, SYSTEMS, Measurements, tables
from bench.slow_neighbours import measure_slow
from bench.systems import CHECKOUT, EMPTY, Servers, System, systems
from sandbox import SandboxError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# In a file or a pipe: Markdown, as wide as it gets.
_PLAIN: Final = not sys.stdout.isatty()
console = Console(highlight=False, width=200 if _PLAIN else None)


class Part(StrEnum):
    """A part that can be measured by itself."""

    ALONE = "alone"  # orders, one at a time
    LOAD = "load"  # many at a time
    COUNTS = "counts"  # what one order is made of
    SLOW = "slow"  # with slow neighbours
    RECOVERY = "recovery"  # after kill -9 of a worker
    EDGE = "edge"  # checkouts over HTTP, and orders read


#: The parts that compare systems.
_COMPARED: Final = frozenset({Part.ALONE, Part.LOAD, Part.COUNTS, Part.SLOW})


class Name(StrEnum):
    """A system that is measured."""

    OURS = "ours"
    CHECKOUT = "checkout"
    SEED = "seed"
    DBOS = "dbos"
    EMPTY = "empty"


@dataclass(frozen=True)
class Plan:
    """What and how much to measure."""

    parts: frozenset[Part]
    systems: tuple[System, ...]
    orders: int
    in_flight: tuple[int, ...]
    slow_in_flight: tuple[int, ...]
    load: int
    load_seconds: float
    workers: tuple[int, ...]
    answers: tuple[float, ...]
    webhooks: bool
    kills: int
    checkouts: int
    limit: float


@app.command(epilog="Exit codes: 0 measured, 1 an order went wrong or time was up, 130 interrupted")
def main(
    *,
    orders: Annotated[int, typer.Option(min=1, max=1_000, help="Runs one at a time.")] = 50,
    in_flight: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=200,
            help="Runs at a time, may be repeated. [default: 20; with slow neighbours 20, 100]",
        ),
    ] = None,
    load: Annotated[int, typer.Option(min=1, max=2_000, help="Runs per such load.")] = 300,
    load_seconds: Annotated[
        float, typer.Option(min=1, max=120, help="Start no more runs of a load after that.")
    ] = 20,
    workers: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=16,
            help="Workers of each system, may be repeated: the best is shown. [default: 1, 2]",
        ),
    ] = None,
    answer_after: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            max=10,
            help="Seconds until a neighbour answers, may be repeated: a table for each. "
            "[default: 0, 0.3, 1.5]",
        ),
    ] = None,
    webhooks: Annotated[
        bool,
        typer.Option(
            "--webhooks/--no-webhooks", help="Under load, too, an API of ours gets Stripe's."
        ),
    ] = False,
    system: Annotated[
        list[Name] | None,
        typer.Option(help="Measure this system, may be repeated. [default: all]"),
    ] = None,
    checkout: Annotated[
        Path | None,
        typer.Option(help="Another checkout of this project: measure it beside this one."),
    ] = None,
    kills: Annotated[int, typer.Option(min=1, max=50, help="Workers killed.")] = 9,
    checkouts: Annotated[
        int, typer.Option(min=2, max=10_000, help="Orders checked out over HTTP.")
    ] = 1_000,
    only: Annotated[
        list[Part] | None, typer.Option(help="Measure this alone, may be repeated.")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=10, max=3_600, help="Stop after so many seconds.")
    ] = 1_500,
    quick: Annotated[
        bool, typer.Option("--quick", help="A rough picture, in three minutes.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every single figure there too.")
    ] = None,
) -> None:
    """Measure the cost of an order, recovery after a kill, and what the HTTP API takes.

    Everything runs on this machine and is stopped at the end. The times depend on
    the machine; what matters are the ratios to what is measured beside it, in the same run.
    """
    measured = Measurements()
    parts = frozenset(only or Part)
    errors: list[str]
    try:
        plan = Plan(
            parts=parts,
            systems=tuple(_systems(system, checkout)),
            orders=orders,
            in_flight=tuple(in_flight or (20,)),
            slow_in_flight=tuple(in_flight or (20, 100)),
            load=load,
            load_seconds=load_seconds,
            workers=tuple(workers or (1, 2)),
            answers=tuple(answer_after or (0.0, 0.3, 1.5)),
            webhooks=webhooks,
            kills=kills,
            checkouts=checkouts,
            limit=limit,
        )
        if quick:
            plan = _quick(plan)
        errors = bounded(lambda: _measure(plan, measured), plan.limit)
    except SandboxError as error:
        errors = [str(error)]
    for table in tables(measured, plain=_PLAIN):
        console.print(table)
    if measured.recovery.orders:
        console.print(f"The aim is a median of {RECOVERY_TARGET:.0f} s until an order moves on.")
    finish(errors, measured.as_json(), json_file)
    if parts - {Part.EDGE}:
        console.print("Every order was completed: one charge, one parcel and one mail each.")
    if Part.EDGE in parts:
        console.print("Every checkout was accepted, and every order checked out has one run.")


def _systems(wanted: list[Name] | None, checkout: Path | None) -> list[System]:
    """The systems to be measured: all, without what is not here. Raises ``StartError``."""
    names = wanted or [Name(name) for name in SYSTEMS if name != CHECKOUT or checkout]
    if not wanted and find_spec("dbos") is None:
        print_progress("DBOS is not installed (`make bench` installs it): the rest is measured.")
        names.remove(Name.DBOS)
    if wanted and checkout and Name.CHECKOUT not in wanted:
        names = [*names, Name.CHECKOUT]
    return systems([name for name in SYSTEMS if name in names], checkout)


def _quick(plan: Plan) -> Plan:
    return replace(
        plan,
        orders=10,
        slow_in_flight=(20,),
        load=60,
        load_seconds=10,
        workers=(1,),
        answers=(0.0, 0.3),
        kills=3,
        checkouts=100,
        limit=min(plan.limit, 240),
    )


async def _measure(plan: Plan, measured: Measurements) -> list[str]:
    """Fill ``measured``; return errors, a sentence each."""
    parts = (
        (_COMPARED, _compare),
        (frozenset({Part.RECOVERY}), _recovery),
        (frozenset({Part.EDGE}), _edge),
    )
    errors = []
    for named, measure in parts:
        if plan.parts & named:
            with temporary_directory() as directory:
                errors += await measure(plan, measured, directory)
    return errors


async def _compare(plan: Plan, measured: Measurements, directory: Path) -> list[str]:
    """Measure the systems on the same servers."""
    print_progress("Starting Temporal, PostgreSQL and stand-ins …")
    errors: list[str] = []
    async with Servers(directory) as servers:
        await asyncio.gather(*map(servers.prepare, plan.systems))
        if 0.0 in plan.answers:
            errors += await _compare_fast(plan, measured, servers)
        for answer_after in filter(None, plan.answers if Part.SLOW in plan.parts else ()):
            for each in plan.systems:
                if each.name != EMPTY:
                    print_progress(f"{each.name}, each answer after {answer_after:g} s …")
                    amount = Amount(plan.load, plan.load_seconds)
                    slow, found = await measure_slow(
                        servers, each, answer_after, plan.slow_in_flight, amount
                    )
                    measured.slow.setdefault(each.name, []).append(slow)
                    errors += found
    return errors


async def _compare_fast(plan: Plan, measured: Measurements, servers: Servers) -> list[str]:
    """Measure the systems while all neighbours answer at once."""
    errors: list[str] = []
    if Part.COUNTS in plan.parts:
        for each in plan.systems:
            print_progress(f"{each.name}, counting …")
            counts, found = await count_one(servers, each)
            measured.counts[each.name] = counts
            errors += found
            if each.checkout is not None:
                counts, found = await count_one(servers, each, webhooks=True)
                measured.counts_with_webhooks[each.name] = counts
                errors += found
    if Part.ALONE in plan.parts:
        print_progress(f"One at a time, {plan.orders} of each …")
        errors += await measure_alone(servers, plan.systems, plan.orders, measured.alone)
    for in_flight in plan.in_flight if Part.LOAD in plan.parts else ():
        for workers in plan.workers:
            for each in plan.systems:
                print_progress(f"{each.name}, {in_flight} in flight, workers: {workers} …")
                amount = Amount(plan.load, plan.load_seconds)
                load, found = await measure_load(
                    servers, each, workers, in_flight, amount, webhooks=plan.webhooks
                )
                measured.loads.setdefault(each.name, []).append(load)
                errors += found
    return errors


async def _recovery(plan: Plan, measured: Measurements, directory: Path) -> list[str]:
    """Kill workers, in a sandbox of their own."""
    print_progress("Starting the sandbox and a worker of each kind …")
    async with open_environment(directory) as environment:
        await asyncio.gather(
            environment.add_worker(ORDER_WORKER), environment.add_worker(BASELINE_WORKER)
        )
        print_progress(f"{plan.kills} kills; the baseline takes half a minute to recover …")
        await recover(environment, plan.kills, measured.recovery)
        return await find_errors(
            environment.database, environment.stand_in_url, environment.started
        )


async def _edge(plan: Plan, measured: Measurements, directory: Path) -> list[str]:
    """Measure the HTTP API, on a sandbox without workers, so that no order is executed."""
    print_progress("Starting a sandbox without a worker …")
    async with open_environment(directory) as environment:
        print_progress(f"{plan.checkouts} checkouts over HTTP …")
        measured.edge = await edge.measure_checkouts(environment, plan.checkouts)
        return await edge.find_errors(environment, measured.edge)


if __name__ == "__main__":
    run(app, "bench")
