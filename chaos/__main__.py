"""`python -m chaos`: all kinds of orders under a seeded schedule of faults, then the books.

Exit codes: 0 every promise holds, 1 one does not or the run stopped, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from chaos.plan import Capture, Plan, plan
from durable_orders.process import exit_process

BROKEN: Final = 1
INTERRUPTED: Final = 130

_STATE: Final = Path(os.environ.get("CHAOS_STATE", ".sandbox/chaos"))


def main() -> None:
    """Run what the arguments ask for, and end the process with its exit code."""
    arguments = _parser().parse_args()
    drawn = plan(
        orders=arguments.orders,
        seed=arguments.seed,
        capture=Capture(arguments.capture),
        workers=arguments.workers,
        apis=arguments.apis,
        rate=arguments.rate,
    )
    if arguments.plan:
        with suppress(BrokenPipeError):
            print("\n".join(drawn.lines()))
        exit_process(0)
    exit_process(_run(drawn, arguments))


def _run(drawn: Plan, arguments: argparse.Namespace) -> int:
    # Slow to import, and --help and --plan need none of it.
    from rich.console import Console  # noqa: PLC0415

    from chaos.run import run_chaos  # noqa: PLC0415
    from sandbox import SandboxError  # noqa: PLC0415

    logging.basicConfig(level=logging.ERROR)  # what a client says of a database that fails over
    # A file or a pipe has no width: sentences must not be wrapped there.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        for number in (signal.SIGINT, signal.SIGTERM):
            # Cancel only once: a second Ctrl-C must not interrupt the stopping of the processes.
            asyncio.get_running_loop().add_signal_handler(
                number, lambda: task.cancelling() or task.cancel()
            )
        result = await run_chaos(drawn, arguments.state, console, settle_limit=arguments.settle)
        if arguments.json:
            arguments.json.write_text(json.dumps(result.figures.as_json(), indent=2) + "\n")
        return BROKEN if result.violations else 0

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        console.print("Interrupted.")
        return INTERRUPTED
    except SandboxError as error:
        console.print(str(error), style="red", markup=False)
        return BROKEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description=__doc__,
        epilog="CHAOS_STATE: where it keeps its files, .sandbox/chaos; emptied at the start.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--orders", type=_count(1, 20_000), default=200, help="default: 200")
    parser.add_argument("--seed", type=_count(0, 2**63 - 1), default=1, help="default: 1")
    parser.add_argument(
        "--capture",
        choices=[str(each) for each in Capture],
        default=str(Capture.BOTH),
        help="when the workers capture; with both (default), each second worker the other way",
    )
    parser.add_argument("--workers", type=_count(1, 8), default=2, help="default: 2")
    parser.add_argument("--apis", type=_count(1, 8), default=2, help="default: 2")
    parser.add_argument(
        "--rate",
        type=_positive,
        default=4.0,
        help="orders a second, default: 4; faults happen for 45 s at least",
    )
    parser.add_argument(
        "--settle",
        type=_positive,
        default=900.0,
        help="seconds to wait for the last order after the last fault, default: 900",
    )
    parser.add_argument(
        "--plan", action="store_true", help="print the schedule of this seed, and run nothing"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.set_defaults(state=_STATE)
    return parser


def _count(least: int, most: int) -> Callable[[str], int]:
    def parsed(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return number

    return parsed


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, and at most 86400")
    return number


if __name__ == "__main__":
    main()
