"""Workers and API processes that are killed, frozen and replaced, as a supervisor would do it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from demo.worker_process import WorkerProcess
from sandbox import SandboxError

#: Creates a process that is not started yet, from its directory and its settings.
ProcessFactory = Callable[[Path, Mapping[str, str]], WorkerProcess]

_TRACEBACK: Final = "Traceback (most recent call last)"
#: asyncio's words for an error that nobody looked at.
_UNRETRIEVED: Final = "was never retrieved"
#: The first line of a record begins with its time, in the SDK's own ones after a colour.
_RECORD: Final = re.compile(r"(\x1b\[\d+m)?\d{4}-\d\d-\d\d")
#: Characters shown of a line.
_SHOWN: Final = 200
_READY_WITHIN: Final = 90.0


class Slot:
    """One of the processes that a supervisor keeps running: ``worker 1``, ``api 2``.

    A process that ends by itself is replaced too, and counted in ``ended_by_itself``.
    """

    def __init__(
        self, name: str, factory: ProcessFactory, directory: Path, settings: Mapping[str, str]
    ) -> None:
        self.name = name
        self.settings = settings
        self.ended_by_itself: list[str] = []
        self._factory = factory
        self._directory = directory / name.replace(" ", "-")
        self._started: list[WorkerProcess] = []
        self._down, self._frozen = True, False
        self._supervision: asyncio.Task[None] | None = None

    @property
    def process(self) -> WorkerProcess:
        """The one that was started last."""
        return self._started[-1]

    @property
    def is_up(self) -> bool:
        """Whether it runs, and is not frozen."""
        return bool(self._started) and not self._down and not self._frozen

    @property
    def starts(self) -> int:
        return len(self._started)

    async def start(self) -> None:
        """Start a process without waiting until it is ready."""
        directory = self._directory / str(len(self._started) + 1)
        process = self._factory(directory, self.settings)
        self._started.append(process)
        self._down = False
        await process.start()
        self._supervision = asyncio.create_task(self._supervise(process))

    async def ready(self) -> None:
        """Wait until it is ready, whichever process it is by then."""
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                with contextlib.suppress(SandboxError, TimeoutError):
                    await self.process.wait_for_log(self.process.ready_message, within=5)
                    return
                await asyncio.sleep(0.2)

    async def kill(self) -> None:
        """Send SIGKILL; ``start`` replaces it."""
        self._down = True
        await self._end_supervision()
        await self.process.kill()

    async def freeze(self) -> None:
        self._frozen = True
        await self.process.signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        self._frozen = False
        await self.process.signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Stop it gracefully."""
        self._down = True
        await self._end_supervision()
        if self._started:
            await self.process.signal(signal.SIGCONT)
            await self.process.stop()

    def complaints(self) -> list[str]:
        """Tracebacks in the logs of all its processes, and other errors that nobody handled: the
        file, the number of the line, and what is said there.
        """
        return [
            f"{process.log_file}:{number}: {gist}"
            for process in self._started
            if process.log_file.exists()
            for number, gist in _unhandled(process.log.splitlines())
        ]

    async def _supervise(self, process: WorkerProcess) -> None:
        """Replace the process when it ends by itself."""
        await process.ends(within=86_400)
        if self._down:
            return
        self.ended_by_itself.append(f"{self.name} ended with {process.exit_code}")
        await asyncio.sleep(1)
        self._supervision = None
        await self.start()

    async def _end_supervision(self) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
            self._supervision = None


def _unhandled(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Errors with a traceback, or that nobody looked at: the number of the first line, and the
    message with the error that ends it.
    """
    told = ""
    for number, line in enumerate(lines, 1):
        if _RECORD.match(line):
            told = line
        if told and (_TRACEBACK in line or _UNRETRIEVED in line):
            rest = lines[number:]
            error = next((each for each in rest if each and not each.startswith(" ")), "")
            yield number, f"{told[:_SHOWN]} | {error[:_SHOWN]}"
            told = ""  # the rest of it is the same error
