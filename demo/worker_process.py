"""`python worker.py` and `python api.py` as child processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from sandbox.child import Child

_PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
_START_TIMEOUT: Final = 60.0


def process_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for these settings, without the user's ``TEMPORAL_*``, which may
    point elsewhere.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TEMPORAL_")}
    return {**inherited, **settings}


class WorkerProcess:
    """A worker process; its log is a file in ``directory``."""

    #: The program, and what it logs when it is ready.
    program: ClassVar = "worker.py"
    ready_message: ClassVar = "ready: working on the queue"

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
        """Start the process without waiting until it is ready."""
        command = [sys.executable, "-u", str(_PROJECT_ROOT / self.program)]
        # In a directory of its own, where there is no .env of the user's.
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._child.start(
            command, env=process_environment(self._settings), cwd=self._directory
        )

    async def wait_for_log(self, message: str, *, within: float = _START_TIMEOUT) -> None:
        """Wait until the log contains the message. Raises ``PartDiedError`` or ``TimeoutError``."""
        async with asyncio.timeout(within):
            while message not in self.log:
                if not self.running:
                    raise self._child.died()
                await asyncio.sleep(0.02)

    async def ready(self) -> None:
        """Wait until it is ready: a worker polls its task queue then."""
        await self.wait_for_log(self.ready_message)

    async def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        await self.signal(signal.SIGKILL)
        # Wait first: another signal might reap the process before asyncio does, which then logs a
        # warning about an unknown process.
        await self._child.ended()
        await self._child.stop()

    async def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.running:
            os.kill(self.pid, number)

    async def ends(self, *, within: float = 40) -> int | None:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(within):
            await self._child.ended()
        return self.exit_code

    async def stop(self) -> None:
        """Send SIGTERM, after a timeout SIGKILL."""
        await self._child.stop()


class ApiProcess(WorkerProcess):
    """An API process."""

    program: ClassVar = "api.py"
    ready_message: ClassVar = "ready"
