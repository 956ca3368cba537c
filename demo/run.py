"""Run the demo on a fresh sandbox and print the results; stay up afterwards on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from demo.environment import DemoEnvironment, open_environment
from demo.report import show_addresses, show_books, show_results
from demo.scenes import SceneError, Scenes
from demo.shop import Shop, ShopError, open_shop
from demo.worker_process import WorkerProcess
from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.domain.ports import ProviderError
from sandbox import SandboxError
from sandbox.ports import PortBusyError, free_port, require_free
from sandbox.sandbox import Sandbox

BROKEN: Final = 1
INTERRUPTED: Final = 130

_STATE: Final = Path(os.environ.get("DEMO_STATE", ".sandbox/demo"))
#: Of Temporal, its Web UI, the stand-in and the API, as with `make sandbox` and `make api`.
_USUAL_PORTS: Final = (7233, 8233, 8300, 8080)
_LAST_LINES: Final = 15
#: Errors that stop the demo with a sentence.
_EXPECTED_ERRORS: Final = (
    SceneError,
    ShopError,
    OrderClientError,
    ProviderError,
    UnreachableError,
    SandboxError,
)


async def _start_sandbox(stack: contextlib.AsyncExitStack) -> tuple[Sandbox, int]:
    """Start a fresh sandbox on its usual ports, or on free ones where those are in use.

    Also returns the port for the API, which gets the sandbox's webhooks.
    """
    temporal, ui, stand_in, api = map(_usual_or_free, _USUAL_PORTS)
    api = api or free_port()
    api_url = f"http://127.0.0.1:{api}"
    sandbox = Sandbox(_STATE, temporal, ui, stand_in, api_url=api_url)
    await sandbox.wipe()
    try:
        return await stack.enter_async_context(sandbox), api
    except PortBusyError:  # taken since the check
        return await stack.enter_async_context(Sandbox(_STATE, api_url=api_url)), api


async def run_demo(console: Console, *, stays: bool) -> int:
    """Run the demo on a fresh sandbox and return the exit code; ``stays`` up afterwards."""
    started = time.monotonic()
    console.print("[bold]Durable Orders[/]: starting Temporal, PostgreSQL and the stand-ins …")
    async with contextlib.AsyncExitStack() as stack:
        sandbox, port = await _start_sandbox(stack)
        environment = await stack.enter_async_context(open_environment(sandbox))
        shop = await stack.enter_async_context(open_shop(environment, port, console))
        console.print(f"[dim]({time.monotonic() - started:.1f} s)[/] Watch along: {sandbox.ui_url}")
        try:
            holds = await _run_scenes(environment, shop, console)
        except _EXPECTED_ERRORS as error:
            console.print(f"\n[bold red]The demo stopped.[/] {escape(str(error))}")
            holds = False
        else:
            console.print(f"\n{_verdict(holds=holds)} [dim]({time.monotonic() - started:.0f} s)")
        if not holds:
            _show_logs([*environment.workers, shop.api_process], console)
        if stays and holds:
            console.print("Everything stays up for you to look around. Ctrl-C stops it.")
            # A successful demo ends with Ctrl-C.
            with suppress(asyncio.CancelledError):
                await sandbox.ended()
    return 0 if holds else BROKEN


async def _run_scenes(environment: DemoEnvironment, shop: Shop, console: Console) -> bool:
    scenes = Scenes(environment, shop, console)
    await scenes.run()
    evidence = [await environment.evidence(order_id) for order_id in scenes.order_ids]
    results = await environment.check_invariants(scenes.order_ids)
    console.print()
    show_books(evidence, console)
    show_results(results, console)
    runs = {
        id_: (await environment.temporal.get_workflow_handle(id_).describe()).run_id
        for id_ in scenes.workflow_ids
    }
    show_addresses(runs, environment, shop, console)
    return all(result.holds for result in results)


def _verdict(*, holds: bool) -> str:
    return (
        "[bold green]Every promise holds.[/]" if holds else "[bold red]Not every promise holds.[/]"
    )


def _show_logs(processes: Iterable[WorkerProcess], console: Console) -> None:
    for process in processes:
        console.print(f"\nThe last lines of {process.log_file}:")
        for line in process.log.splitlines()[-_LAST_LINES:]:
            console.print(f"  {escape(line)}")


def _usual_or_free(port: int) -> int:
    try:
        require_free(port, part="the demo", setting="")
    except PortBusyError:
        return 0
    return port


async def _unless_interrupted(work: Coroutine[Any, Any, int], console: Console) -> int:
    """The result of the work, or ``INTERRUPTED`` after it was cancelled and has cleaned up."""
    working = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            with suppress(OSError):  # the terminal may be gone
                console.print("\nStopping …")
            working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        return await working
    except asyncio.CancelledError:
        return INTERRUPTED


def run() -> int:
    """Run the demo on standard output; the exit code, see ``python -m demo --help``."""
    is_terminal = sys.stdout.isatty() and os.environ.get("CI", "").lower() not in {"1", "true"}
    # A file or a pipe has no width: addresses must not be wrapped there.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    try:
        return asyncio.run(_unless_interrupted(run_demo(console, stays=is_terminal), console))
    except SandboxError as error:
        console.print(f"[red]{escape(str(error))}")
        return BROKEN
