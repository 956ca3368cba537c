"""The story on a fresh sandbox, then the books. Stays up afterwards when a person is watching."""

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

from demo.report import show_addresses, show_books, show_findings
from demo.shop import Shop, ShopError, open_shop
from demo.stage import Stage, open_stage
from demo.story import Story, StoryError
from demo.worker_process import WorkerProcess
from durable_orders.clients.errors import OrderClientError, UnreachableError
from orders.ports import ProviderError
from sandbox import SandboxError
from sandbox.ports import PortBusyError, free_port, require_free
from sandbox.stack import Sandbox

BROKEN: Final = 1
INTERRUPTED: Final = 130

_STATE: Final = Path(os.environ.get("DEMO_STATE", ".sandbox/demo"))
#: As `make sandbox` and `make api`: Temporal, its Web UI, the stand-in, the API.
_USUAL_PORTS: Final = (7233, 8233, 8300, 8080)
_LAST_LINES: Final = 15
#: What may come between the story and its end: refused, unanswered, or the sandbox broke.
_STOPS: Final = (
    StoryError,
    ShopError,
    OrderClientError,
    ProviderError,
    UnreachableError,
    SandboxError,
)


async def _started(stack: contextlib.AsyncExitStack) -> tuple[Sandbox, int]:
    """A fresh sandbox on its usual ports, or on free ones where somebody else has those.

    And the port for the API, which the sandbox tells what happens.
    """
    temporal, ui, world, api = map(_usual_or_free, _USUAL_PORTS)
    api = api or free_port()
    api_url = f"http://127.0.0.1:{api}"
    sandbox = Sandbox(_STATE, temporal, ui, world, api_url=api_url)
    await sandbox.wipe()
    try:
        return await stack.enter_async_context(sandbox), api
    except PortBusyError:  # taken since we looked
        return await stack.enter_async_context(Sandbox(_STATE, api_url=api_url)), api


async def perform(console: Console, *, stays: bool) -> int:
    """Tell the story on a fresh sandbox; the exit code. ``stays`` up afterwards if asked to."""
    began = time.monotonic()
    console.print("[bold]Durable Orders[/]: starting Temporal, PostgreSQL and the stand-ins …")
    async with contextlib.AsyncExitStack() as stack:
        sandbox, port = await _started(stack)
        stage = await stack.enter_async_context(open_stage(sandbox))
        shop = await stack.enter_async_context(open_shop(stage, port, console))
        console.print(f"[dim]({time.monotonic() - began:.1f} s)[/] Watch along: {sandbox.ui_url}")
        try:
            holds = await _tell(stage, shop, console)
        except _STOPS as error:
            console.print(f"\n[bold red]The demo stopped.[/] {escape(str(error))}")
            holds = False
        else:
            console.print(f"\n{_verdict(holds=holds)} [dim]({time.monotonic() - began:.0f} s)")
        if not holds:
            _show_logs([*stage.workers, shop.edge], console)
        if stays and holds:
            console.print("Everything stays up for you to look around. Ctrl-C stops it.")
            # Ctrl-C is how a demo that went well ends.
            with suppress(asyncio.CancelledError):
                await sandbox.ended()
    return 0 if holds else BROKEN


async def _tell(stage: Stage, shop: Shop, console: Console) -> bool:
    story = Story(stage, shop, console)
    await story.tell()
    accounts = [await stage.account(order_id) for order_id in story.order_ids]
    findings = await stage.examine(story.order_ids)
    console.print()
    show_books(accounts, console)
    show_findings(findings, console)
    runs = {
        id_: (await stage.temporal.get_workflow_handle(id_).describe()).run_id
        for id_ in story.workflow_ids
    }
    show_addresses(runs, stage, shop, console)
    return all(finding.holds for finding in findings)


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
    """Perform on the standard output; the exit code, see ``python -m demo --help``."""
    is_watched = sys.stdout.isatty() and os.environ.get("CI", "").lower() not in {"1", "true"}
    # A file or a pipe has no width: addresses are not to be folded there.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    try:
        return asyncio.run(_unless_interrupted(perform(console, stays=is_watched), console))
    except SandboxError as error:
        console.print(f"[red]{escape(str(error))}")
        return BROKEN
