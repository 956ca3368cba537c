"""`python -m sandbox`: run the sandbox until Ctrl-C."""

import asyncio
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox import SandboxError
from sandbox.env_file import overridden
from sandbox.sandbox import Sandbox

_CHECKOUT = Path(__file__).resolve().parent.parent
cli = typer.Typer(add_completion=False, rich_markup_mode="rich")
# Addresses are wrapped to fit a terminal, but never in a file or a pipe.
_console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)


@cli.command()
def main(
    *,
    state: Annotated[
        Path, typer.Option(envvar="SANDBOX_STATE", help="Where everything is kept between runs.")
    ] = Path(".sandbox"),
    temporal_port: Annotated[
        int, typer.Option(envvar="SANDBOX_TEMPORAL_PORT", help="Temporal's gRPC. 0: any free port.")
    ] = 7233,
    ui_port: Annotated[
        int, typer.Option(envvar="SANDBOX_UI_PORT", help="Temporal's Web UI. 0: any free port.")
    ] = 8233,
    world_port: Annotated[
        int,
        typer.Option(
            envvar="SANDBOX_WORLD_PORT",
            help="The stand-in for Stripe, Resend and the warehouse. 0: any free port.",
        ),
    ] = 8300,
    env_file: Annotated[
        Path,
        typer.Option(
            envvar="SANDBOX_ENV_FILE",
            help="Where to write the settings for worker.py, client.py and api.py. "
            "A file that the sandbox did not write is left alone.",
        ),
    ] = Path(".env"),
    api: Annotated[
        str,
        typer.Option(
            envvar="SANDBOX_API_URL",
            help="Where api.py listens: it gets the webhooks. Empty: nobody does.",
        ),
    ] = "http://127.0.0.1:8080",
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget all orders, workflows and mails first.")
    ] = False,
) -> None:
    """Run the outside world on this machine until Ctrl-C.

    A real Temporal server with its Web UI, a real PostgreSQL, and an HTTP
    stand-in for Stripe, Resend and the warehouse. What they know is kept in
    the state directory for the next run.
    """
    try:
        sandbox = Sandbox(state, temporal_port, ui_port, world_port, env_file, api_url=api)
        asyncio.run(_run(sandbox, env_file, reset=reset))
    except SandboxError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(str(error))}[/]")
        raise typer.Exit(1) from None


async def _run(sandbox: Sandbox, env_file: Path, *, reset: bool) -> None:
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A second Ctrl-C changes nothing: stopping takes a second or two and is bounded anyway.
        loop.add_signal_handler(number, stop_requested.set)
    stop = asyncio.create_task(stop_requested.wait())
    try:
        if reset:
            await sandbox.wipe()
        started = loop.time()
        if not await _run_unless_stopped(stop, asyncio.create_task(sandbox.start())):
            return
        _print_summary(sandbox, env_file, loop.time() - started)
        await _run_unless_stopped(stop, asyncio.create_task(sandbox.ended()))
        _print("\nStopping …")
    finally:
        await sandbox.stop()
    _print("Stopped. Everything is kept in " + escape(_display_path(sandbox.state)) + ".")


async def _run_unless_stopped(stop: asyncio.Task[bool], work: asyncio.Task[None]) -> bool:
    """Await the work, or cancel it when `stop` ends first. True if done; raises its errors."""
    await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return False
    work.result()
    return True


def _print_summary(sandbox: Sandbox, env_file: Path, seconds: float) -> None:
    table = Table(title=f"The sandbox is up ({seconds:.1f} s)", title_justify="left")
    table.add_column("What", style="bold", no_wrap=True)
    table.add_column("Where", overflow="fold")
    for what, where in (
        ("Temporal gRPC", sandbox.temporal_address),
        ("Temporal Web UI", sandbox.ui_url),
        ("Inbox", f"{sandbox.stand_in_url}/inbox"),
        ("Books", f"{sandbox.stand_in_url}/books"),
        ("Dials", f"{sandbox.stand_in_url}/sandbox/dials"),
        ("PostgreSQL", sandbox.database_url),
        ("State and logs", _display_path(sandbox.state)),
    ):
        table.add_row(what, escape(where))
    _print(table)
    load = f"set -a; . {shlex.quote(_display_path(sandbox.shell_file))}; set +a"
    if not sandbox.env_file_written:
        _print(
            f"[yellow]{escape(_display_path(env_file))} is yours and was left alone, so it may "
            "point elsewhere.[/] To use the sandbox in a terminal nevertheless, type there:"
        )
        _print(f"  {escape(load)}")
    elif env_file.absolute() != Path(".env").absolute():
        _print(
            f"The settings are in {escape(_display_path(env_file))}. In each terminal, first type:"
        )
        _print(f"  {escape(load)}")
    elif names := overridden(sandbox.settings):
        _print(
            f"[yellow]{', '.join(names)}[/] in your environment will win over "
            f"{escape(_display_path(env_file))}. To use the sandbox, type in each terminal:"
        )
        _print(f"  {escape(load)}")
    _print("Next, in other terminals:")
    for program in ("worker.py", "api.py", "client.py place"):
        _print(f"  {escape(_command(program))}")
    _print("Ctrl-C stops everything here.")


def _command(program: str) -> str:
    """How a terminal in the working directory runs a program of the checkout."""
    script, *arguments = program.split()
    paths = (Path(sys.executable), _CHECKOUT / script)
    return shlex.join([*map(_display_path, paths), *arguments])


def _display_path(path: Path) -> str:
    """The path relative to the working directory when it lies below it."""
    with suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _print(what: str | Table) -> None:
    # The terminal may be gone (SIGHUP); the processes must be stopped nevertheless.
    with suppress(OSError):
        _console.print(what)


if __name__ == "__main__":
    cli(prog_name="python -m sandbox")
