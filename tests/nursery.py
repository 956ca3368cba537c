"""Our programs without the seconds that Python takes to load one: forked from a process that has.

What runs in the fork is the program itself (``worker.py``, ``api.py``, ``client.py``, ``python -m
sandbox``), in a process of its own with its own arguments, settings, log and exit code, to be
killed like any other.
Of each program at least one test starts it as a person does: ``tests/e2e/test_stopping.py`` and
``test_demo.py``, ``tests/api/test_process.py``, ``tests/client/test_cli.py``,
``tests/sandbox_process/test_the_command.py``.

Here is what tests see of it; ``tests/nursery_process.py`` is the process that forks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from demo.worker_process import ApiProcess, WorkerProcess, process_environment
from sandbox.child import Child


class Forked:
    """As much of ``asyncio.subprocess.Process`` as ``Child`` needs, and ``ends`` for who has no
    event loop.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit_code: Future[int] = Future()

    @property
    def returncode(self) -> int | None:
        return self.exit_code.result() if self.exit_code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(asyncio.wrap_future(self.exit_code))

    def ends(self, within: float) -> int:
        """Its exit code, once it has ended."""
        return self.exit_code.result(within)

    def send_signal(self, number: int) -> None:
        # Not reaped before it is reported, so the pid is no other's.
        if not self.exit_code.done():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """A connection to the process that forks."""

    def __init__(self, forks: socket.socket) -> None:
        self._forks = forks
        self._begun: SimpleQueue[Forked | None] = SimpleQueue()
        self._one_at_a_time = threading.Lock()
        self._children: dict[int, Forked] = {}

    def fork(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        anew: bool = False,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
    ) -> Forked:
        """A new process, begun to run this program; its output goes to ``log``, which begins anew.

        With ``anew`` Python starts and loads it, as when a person does that.
        """
        wanted = {
            "program": program,
            "arguments": list(arguments),
            "anew": anew,
            "env": dict(env),
            "cwd": str(cwd),
        }
        with self._one_at_a_time, log.open("wb") as output:
            socket.send_fds(self._forks, [json.dumps(wanted).encode() + b"\n"], [output.fileno()])
            begun = self._begun.get()
        assert begun, "the process that forks is gone"
        return begun

    def worker(self, directory: Path, settings: Mapping[str, str]) -> WorkerProcess:
        """A worker that ``start`` will fork."""
        return _ForkedWorker(self, directory, settings)

    def edge(self, directory: Path, settings: Mapping[str, str]) -> ApiProcess:
        """An edge that ``start`` will fork. Several processes of one do not add up their metrics:
        that has to be asked for before anything is loaded.
        """
        return _ForkedEdge(self, directory, settings)

    def listen(self) -> None:
        """Hear what it says, until its end."""
        try:
            with self._forks.makefile() as facts:
                for fact in map(json.loads, facts):
                    match fact:
                        case {"begun": pid}:
                            self._begun.put(self._children.setdefault(pid, Forked(pid)))
                        case {"ended": pid, "code": code}:
                            self._children.pop(pid).exit_code.set_result(code)
        finally:
            self._begun.put(None)


class _ForkedChild(Child):
    """A ``Child`` whose process comes from the nursery."""

    def __init__(self, nursery: Nursery, program: str, directory: Path) -> None:
        super().__init__(program, directory)
        self._nursery = nursery

    async def fork(self, env: Mapping[str, str], cwd: Path) -> None:
        begun = await asyncio.to_thread(
            self._nursery.fork, self.name, log=self.log, env=env, cwd=cwd
        )
        self._process = begun  # type: ignore[assignment]


class _ForkedWorker(WorkerProcess):
    def __init__(self, nursery: Nursery, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory, settings)
        self._child: _ForkedChild = _ForkedChild(nursery, self.program, directory)

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._child.fork(process_environment(self._settings), self._directory)


class _ForkedEdge(_ForkedWorker, ApiProcess):
    pass


@contextlib.contextmanager
def connected(address: str) -> Iterator[Nursery]:
    """A nursery whose children end with the block."""
    with socket.socket(socket.AF_UNIX) as forks:
        forks.connect(address)
        nursery = Nursery(forks)
        listening = threading.Thread(target=nursery.listen)
        listening.start()
        try:
            yield nursery
        finally:
            forks.shutdown(socket.SHUT_WR)
            listening.join()
