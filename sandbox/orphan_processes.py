"""Processes of an earlier sandbox that was killed: identify and end them."""

import asyncio
import signal
from contextlib import suppress

import psutil  # type: ignore[import-untyped]


async def end_process(process: psutil.Process, how: signal.Signals, stop_timeout: float) -> None:
    """End a process that is not a child of this one, and return when it is gone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)
        if not await _gone(process, stop_timeout):
            process.kill()
            await _gone(process, stop_timeout)


async def _gone(process: psutil.Process, stop_timeout: float) -> bool:
    deadline = asyncio.get_running_loop().time() + stop_timeout
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def find_process(pid: int, started: float, command: list[str]) -> psutil.Process | None:
    """The process with this pid, start time and command line, if it still runs."""
    try:
        process = psutil.Process(pid)
        # Two seconds of tolerance: the start time depends on the clock, which may be adjusted.
        if abs(process.create_time() - started) < 2 and process.cmdline() == command:
            return process
    except psutil.Error:
        pass
    return None


def start_time(pid: int) -> float:
    """Seconds since 1970; 0 for a process that has ended."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0
