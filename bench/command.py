"""What the benchmarks with a command of their own share: a bounded run, and Markdown tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.environment import BenchEnvironment, open_environment
from durable_orders.process import exit_process
from sandbox import SandboxError

EPILOG: Final = "Exit codes: 0 measured, 1 something went wrong or time was up, 130 interrupted"
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write every figure there too, as JSON.")
]
# In a file or a pipe: Markdown, as wide as it gets.
_PLAIN: Final = not sys.stdout.isatty()
console = Console(highlight=False, width=120 if _PLAIN else None)

Rows = Sequence[Sequence[str]]
Work = Callable[[BenchEnvironment], Awaitable[list[str]]]


def bounded(measuring: Callable[[], Awaitable[list[str]]], limit: float) -> list[str]:
    """Run ``measuring`` for at most ``limit`` seconds; return its errors, a sentence each. Exits
    with 130 when interrupted.
    """
    try:
        return asyncio.run(_bounded(measuring, limit))
    except SandboxError as error:
        return [str(error)]
    except (asyncio.CancelledError, KeyboardInterrupt):
        print_progress("Interrupted.")
        raise typer.Exit(130) from None


async def _bounded(measuring: Callable[[], Awaitable[list[str]]], limit: float) -> list[str]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    for number in (signal.SIGINT, signal.SIGTERM):
        # Cancel only once: a second Ctrl-C must not interrupt the stopping of the processes.
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: task.cancelling() or task.cancel()
        )
    try:
        async with asyncio.timeout(limit):
            return await measuring()
    except TimeoutError:
        return [f"Stopped after {limit:.0f} s (--limit): the rest was not measured."]


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="durable-orders-bench-") as directory:
        yield Path(directory)


def measure(work: Work, limit: float) -> list[str]:
    """``bounded``, on a sandbox of its own. Everything that was started is stopped."""

    async def on_a_sandbox() -> list[str]:
        with temporary_directory() as directory:
            print_progress("Starting the sandbox …")
            async with open_environment(directory) as environment:
                return await work(environment)

    return bounded(on_a_sandbox, limit)


def print_progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Rows) -> None:
    """Print a table; the first column is text, the others are figures."""
    shown = Table(title=title, title_justify="left", box=box.MARKDOWN if _PLAIN else box.ROUNDED)
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=not _PLAIN)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def finish(errors: list[str], figures: dict[str, Any], json_file: Path | None) -> None:
    """Write the figures and print the errors; exit with 1 when there are any."""
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    for sentence in errors:
        console.print(f"[red]{escape(sentence)}[/]")
    if errors:
        raise typer.Exit(1)


def run(app: Callable[..., object], name: str) -> None:
    """Run the command line ``app`` as ``python -m {name}``, and end the process."""
    code: object = 0
    try:
        app(prog_name=f"python -m {name}")
    except SystemExit as end:
        code = end.code
    exit_process(code if isinstance(code, int) else 1)
