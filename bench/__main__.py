"""`python -m bench`: measure, and print one table."""

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
from bench.checks import wrongs
from bench.environment import ORDERS, YARDSTICK, stage
from bench.recovery import recover
from bench.report import RECOVERY_TARGET, Measured, table
from processes import leave
from sandbox import SandboxError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# In a file or a pipe: Markdown, as wide as it gets.
_PLAIN: Final = not sys.stdout.isatty()
console = Console(highlight=False, width=120 if _PLAIN else None)

_WARM_UP: Final = 5


class Part(StrEnum):
    """What can be measured by itself."""

    ALONE = "alone"  # orders, one at a time
    LOAD = "load"  # many at a time
    RECOVERY = "recovery"  # after kill -9 of a worker
    EDGE = "edge"  # checkouts over HTTP


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    parts: frozenset[Part]
    orders: int
    in_flight: tuple[int, ...]
    load: int
    load_seconds: float
    kills: int
    checkouts: int
    edge_processes: tuple[int, ...]
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
        int, typer.Option(min=2, max=10_000, help="Orders checked out over HTTP, twice.")
    ] = 1_000,
    edge_processes: Annotated[
        list[int] | None,
        typer.Option(min=1, max=16, help="Processes of the edge, may be repeated. [default: 1, 2]"),
    ] = None,
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

    Everything runs on this machine and is stopped at the end. The times are this machine's; what to
    look at are the ratios to a yardstick that does nothing, measured in the same run.
    """
    parts, at_a_time = frozenset(only or Part), tuple(in_flight or (20, 100))
    edges = tuple(edge_processes or (1, 2))
    plan = Plan(parts, orders, at_a_time, load, load_seconds, kills, checkouts, edges, limit)
    if quick:
        plan = Plan(parts, 10, (20,), 50, 10, 3, 100, edges, min(limit, 120))
    measured = Measured()
    found: list[str]
    try:
        found = asyncio.run(_measure(plan, measured))
    except SandboxError as error:
        found = [str(error)]
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("Interrupted.")
        raise typer.Exit(130) from None
    console.print(table(measured, plain=_PLAIN))
    if json_file:
        json_file.write_text(json.dumps(measured.as_json(), indent=2) + "\n")
    if measured.recovery.orders:
        console.print(f"The aim is a median of {RECOVERY_TARGET:.0f} s until an order moves on.")
    for sentence in found:
        console.print(f"[red]{escape(sentence)}[/]")
    if found:
        raise typer.Exit(1)
    if parts - {Part.EDGE}:
        console.print("Every order was completed: one charge, one parcel and one mail each.")
    if Part.EDGE in parts:
        console.print("Every checkout was accepted, and every order checked out has one run.")


async def _measure(plan: Plan, measured: Measured) -> list[str]:
    """Fill ``measured``; what went wrong, a sentence each."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    for number in (signal.SIGINT, signal.SIGTERM):
        # Once: a second Ctrl-C must not keep the processes from being stopped.
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: task.cancelling() or task.cancel()
        )
    try:
        async with asyncio.timeout(plan.limit):
            found = []
            if plan.parts - {Part.EDGE}:
                with _a_directory() as directory:
                    found += await _orders(plan, measured, directory)
            if Part.EDGE in plan.parts:
                with _a_directory() as directory:
                    found += await _edge(plan, measured, directory)
            return found
    except TimeoutError:
        return [f"Stopped after {plan.limit:.0f} s (--limit): the rest was not measured."]


def _a_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="durable-orders-bench-")


async def _orders(plan: Plan, measured: Measured, directory: str) -> list[str]:
    """Everything that is about orders under way."""
    _say("Starting the sandbox and a worker of each kind …")
    async with stage(Path(directory)) as on:
        first = await asyncio.gather(on.add_worker(ORDERS), on.add_worker(YARDSTICK))
        await cost.alone(on, _WARM_UP, cost.Alone())
        if Part.ALONE in plan.parts:
            _say(f"One at a time, {plan.orders} of each …")
            await cost.alone(on, plan.orders, measured.alone)
            measured.events = await cost.events(on)
        for in_flight in plan.in_flight if Part.LOAD in plan.parts else ():
            _say(f"{plan.load} of each, {in_flight} in flight …")
            loaded = await cost.load(on, in_flight, plan.load, plan.load_seconds, first)
            measured.loads.append(loaded)
        if Part.RECOVERY in plan.parts:
            _say(f"{plan.kills} kills; the yardstick takes half a minute to recover …")
            await recover(on, plan.kills, measured.recovery)
        return await wrongs(on)


async def _edge(plan: Plan, measured: Measured, directory: str) -> list[str]:
    """A sandbox of its own, for no worker may be there to take the orders up."""
    _say("Starting a sandbox without a worker …")
    async with stage(Path(directory)) as on:
        for processes in plan.edge_processes:
            _say(f"{plan.checkouts} checkouts over HTTP, processes of the edge: {processes} …")
            measured.edge.append(await edge.press(on, plan.checkouts, processes))
        return await edge.wrongs(on, measured.edge)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _run(command: Callable[..., object]) -> int:
    try:
        command(prog_name="python -m bench")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    leave(_run(app))
