"""`python -m bench`: measure, and print one table."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from bench import cost
from bench.audit import wrongs
from bench.recovery import recover
from bench.report import RECOVERY_TARGET, Measured, table
from bench.stage import ORDERS, YARDSTICK, stage
from connection import leave
from sandbox import SandboxError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# In a file or a pipe: Markdown, as wide as it gets.
_PLAIN: Final = not sys.stdout.isatty()
console = Console(highlight=False, width=120 if _PLAIN else None)

_WARM_UP: Final = 5


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    orders: int
    in_flight: tuple[int, ...]
    load: int
    load_seconds: float
    kills: int
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
    limit: Annotated[
        float, typer.Option(min=10, max=1_800, help="Stop after so many seconds.")
    ] = 360,
    quick: Annotated[bool, typer.Option("--quick", help="A rough picture in a minute.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every single figure there too.")
    ] = None,
) -> None:
    """Measure recovery after a kill and the cost of an order, beside a yardstick.

    Everything runs on this machine and is stopped at the end. The times are this machine's; the
    ratios to a workflow of four empty activities, measured in the same run, are what to look at.
    """
    plan = Plan(orders, tuple(in_flight or (20, 100)), load, load_seconds, kills, limit)
    if quick:
        plan = Plan(10, (20,), 50, 10, 3, min(limit, 90))
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
    console.print("Every order was completed: one charge, one parcel and one mail each.")


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
            return await _in_a_directory(plan, measured)
    except TimeoutError:
        return [f"Stopped after {plan.limit:.0f} s (--limit): the rest was not measured."]


async def _in_a_directory(plan: Plan, measured: Measured) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="durable-orders-bench-") as directory:
        _say("Starting the sandbox and a worker of each kind …")
        async with stage(Path(directory)) as on:
            first = await asyncio.gather(on.add_worker(ORDERS), on.add_worker(YARDSTICK))
            await cost.alone(on, _WARM_UP, cost.Alone())
            _say(f"One at a time, {plan.orders} of each …")
            await cost.alone(on, plan.orders, measured.alone)
            measured.events = await cost.events(on)
            for in_flight in plan.in_flight:
                _say(f"{plan.load} of each, {in_flight} in flight …")
                loaded = await cost.load(on, in_flight, plan.load, plan.load_seconds, first)
                measured.loads.append(loaded)
            _say(f"{plan.kills} kills; the yardstick takes half a minute to recover …")
            await recover(on, plan.kills, measured.recovery)
            return await wrongs(on)


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
