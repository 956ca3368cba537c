"""`python -m bench`: run the benchmarks and print one table."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from bench import cost, edge
from bench.checks import find_errors
from bench.environment import BASELINE_WORKER, ORDER_WORKER, open_environment
from bench.recovery import recover
from bench.report import RECOVERY_TARGET, Measurements, table
from durable_orders.process import exit_process
from sandbox import SandboxError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# In a file or a pipe: Markdown, as wide as it gets.
_PLAIN: Final = not sys.stdout.isatty()
console = Console(highlight=False, width=120 if _PLAIN else None)

_WARM_UP: Final = 5


class Part(StrEnum):
    """A part that can be measured by itself."""

    ALONE = "alone"  # orders, one at a time
    LOAD = "load"  # many at a time
    RECOVERY = "recovery"  # after kill -9 of a worker
    EDGE = "edge"  # checkouts over HTTP, and orders read


@dataclass(frozen=True)
class Plan:
    """What and how much to measure."""

    parts: frozenset[Part]
    orders: int
    in_flight: tuple[int, ...]
    load: int
    load_seconds: float
    kills: int
    checkouts: int
    limit: float


@app.command(epilog="Exit codes: 0 measured, 1 an order went wrong or time was up, 130 interrupted")
def main(
    *,
    orders: Annotated[int, typer.Option(min=1, max=1_000, help="Runs one at a time.")] = 50,
    in_flight: Annotated[
        list[int] | None,
        typer.Option(min=1, max=200, help="Runs at a time, may be repeated. [default: 20, 100]"),
    ] = None,
    load: Annotated[int, typer.Option(min=1, max=2_000, help="Runs per such load.")] = 200,
    load_seconds: Annotated[
        float, typer.Option(min=1, max=120, help="Start no more runs of a load after that.")
    ] = 20,
    kills: Annotated[int, typer.Option(min=1, max=50, help="Workers killed.")] = 9,
    checkouts: Annotated[
        int, typer.Option(min=2, max=10_000, help="Orders checked out over HTTP.")
    ] = 1_000,
    only: Annotated[
        list[Part] | None, typer.Option(help="Measure this alone, may be repeated.")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=10, max=1_800, help="Stop after so many seconds.")
    ] = 480,
    quick: Annotated[bool, typer.Option("--quick", help="A rough picture in a minute.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every single figure there too.")
    ] = None,
) -> None:
    """Measure recovery after a kill, the cost of an order, and what the HTTP edge takes.

    Everything runs on this machine and is stopped at the end. The times depend on
    the machine; what matters are the ratios to a baseline that does nothing, in the same run.
    """
    parts, at_a_time = frozenset(only or Part), tuple(in_flight or (20, 100))
    plan = Plan(parts, orders, at_a_time, load, load_seconds, kills, checkouts, limit)
    if quick:
        plan = Plan(parts, 10, (20,), 50, 10, 3, 100, min(limit, 120))
    measured = Measurements()
    errors: list[str]
    try:
        errors = asyncio.run(_measure(plan, measured))
    except SandboxError as error:
        errors = [str(error)]
    except (asyncio.CancelledError, KeyboardInterrupt):
        _print_progress("Interrupted.")
        raise typer.Exit(130) from None
    console.print(table(measured, plain=_PLAIN))
    if json_file:
        json_file.write_text(json.dumps(measured.as_json(), indent=2) + "\n")
    if measured.recovery.orders:
        console.print(f"The aim is a median of {RECOVERY_TARGET:.0f} s until an order moves on.")
    for sentence in errors:
        console.print(f"[red]{escape(sentence)}[/]")
    if errors:
        raise typer.Exit(1)
    if parts - {Part.EDGE}:
        console.print("Every order was completed: one charge, one parcel and one mail each.")
    if Part.EDGE in parts:
        console.print("Every checkout was accepted, and every order checked out has one run.")


async def _measure(plan: Plan, measured: Measurements) -> list[str]:
    """Fill ``measured``; return errors, a sentence each."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    for number in (signal.SIGINT, signal.SIGTERM):
        # Cancel only once: a second Ctrl-C must not interrupt the stopping of the processes.
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: task.cancelling() or task.cancel()
        )
    try:
        async with asyncio.timeout(plan.limit):
            errors = []
            if plan.parts - {Part.EDGE}:
                with _temporary_directory() as directory:
                    errors += await _orders(plan, measured, directory)
            if Part.EDGE in plan.parts:
                with _temporary_directory() as directory:
                    errors += await _edge(plan, measured, directory)
            return errors
    except TimeoutError:
        return [f"Stopped after {plan.limit:.0f} s (--limit): the rest was not measured."]


def _temporary_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="durable-orders-bench-")


async def _orders(plan: Plan, measured: Measurements, directory: str) -> list[str]:
    """Measure everything that needs workers."""
    _print_progress("Starting the sandbox and a worker of each kind …")
    async with open_environment(Path(directory)) as environment:
        first = await asyncio.gather(
            environment.add_worker(ORDER_WORKER), environment.add_worker(BASELINE_WORKER)
        )
        await cost.run_sequentially(environment, _WARM_UP, cost.SequentialRuns())
        if Part.ALONE in plan.parts:
            _print_progress(f"One at a time, {plan.orders} of each …")
            await cost.run_sequentially(environment, plan.orders, measured.alone)
            measured.events = await cost.count_events(environment)
        for in_flight in plan.in_flight if Part.LOAD in plan.parts else ():
            _print_progress(f"{plan.load} of each, {in_flight} in flight …")
            loaded = await cost.run_load(
                environment, in_flight, plan.load, plan.load_seconds, first
            )
            measured.loads.append(loaded)
        if Part.RECOVERY in plan.parts:
            _print_progress(f"{plan.kills} kills; the baseline takes half a minute to recover …")
            await recover(environment, plan.kills, measured.recovery)
        return await find_errors(environment)


async def _edge(plan: Plan, measured: Measurements, directory: str) -> list[str]:
    """Measure the HTTP edge, on a sandbox without workers, so that no order is executed."""
    _print_progress("Starting a sandbox without a worker …")
    async with open_environment(Path(directory)) as environment:
        _print_progress(f"{plan.checkouts} checkouts over HTTP …")
        measured.edge = await edge.measure_checkouts(environment, plan.checkouts)
        return await edge.find_errors(environment, measured.edge)


def _print_progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _run(command: Callable[..., object]) -> int:
    try:
        command(prog_name="python -m bench")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    exit_process(_run(app))
