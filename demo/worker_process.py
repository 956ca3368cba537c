"""`python worker.py`, and `python api.py`, as processes that can be killed like any other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from sandbox.child import Child

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_START_TIMEOUT: Final = 60.0


def surroundings(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker with these settings. What points the person's own programs at
    their Temporal must not move this one.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TEMPORAL_")}
    return {**inherited, **settings}


class WorkerProcess:
    """One worker; its log is a file in ``directory``."""

    #: What is run, and what it says once it can be used.
    program: ClassVar = "worker.py"
    ready_words: ClassVar = "ready: working on the queue"

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._settings = settings
        self._child = Child(self.program, directory)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal, None while the process runs."""
        return self._child.exit_code

    @property
    def log_file(self) -> Path:
        return self._child.log

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    async def start(self) -> None:
        """Return as soon as the process exists."""
        command = [sys.executable, "-u", str(_CHECKOUT / self.program)]
        # A directory of its own: no .env of the person's is found there.
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._child.start(command, env=surroundings(self._settings), cwd=self._directory)

    async def says(self, words: str, *, within: float = _START_TIMEOUT) -> None:
        """Return once the log holds these words. Raises ``PartDiedError`` or ``TimeoutError``."""
        async with asyncio.timeout(within):
            while words not in self.log:
                if not self.running:
                    raise self._child.died()
                await asyncio.sleep(0.02)

    async def ready(self) -> None:
        """Return once it can be used: a worker polls for work then."""
        await self.says(self.ready_words)

    async def kill(self) -> None:
        """SIGKILL: nothing in it gets to say goodbye."""
        await self.signal(signal.SIGKILL)
        # First of all wait: to signal it once more might reap it before asyncio does, which then
        # complains on the screen of an unknown process.
        await self._child.ended()
        await self._child.stop()

    async def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.running:
            os.kill(self.pid, number)

    async def ends(self, *, within: float = 40) -> int | None:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(within):
            await self._child.ended()
        return self.exit_code

    async def stop(self) -> None:
        """Ask it to stop, insist after a while."""
        await self._child.stop()


class EdgeProcess(WorkerProcess):
    """One HTTP edge."""

    program: ClassVar = "api.py"
    ready_words: ClassVar = "ready"
