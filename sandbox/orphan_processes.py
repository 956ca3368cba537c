"""Processes that are not our children: recognised beyond doubt, then ended."""

import asyncio
import signal
from contextlib import suppress

import psutil  # type: ignore[import-untyped]


async def end_process(process: psutil.Process, how: signal.Signals, patience: float) -> None:
    """End a process that is not our child, and return when it is gone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)
        if not await _gone(process, patience):
            process.kill()
            await _gone(process, patience)


async def _gone(process: psutil.Process, patience: float) -> bool:
    deadline = asyncio.get_running_loop().time() + patience
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def same_process(pid: int, started: float, command: list[str]) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        # Two seconds of slack: the start time is computed from the clock, which may be corrected.
        if abs(process.create_time() - started) < 2 and process.cmdline() == command:
            return process
    except psutil.Error:
        pass
    return None


def started_at(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0
