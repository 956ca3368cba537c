"""Workers without the seconds that Python takes to load one: forked from a process that has.

What runs in the fork is ``worker.main()``, in a process of its own with its own settings, log and
exit code, to be killed like any other. ``tests/e2e/test_stopping.py`` starts ``python worker.py``
itself.

Run as a program, this is the process that forks: it reads a line of JSON per worker to start, and
writes a line when one runs and when one has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from demo.worker_process import WorkerProcess, surroundings
from sandbox.child import Child

_CHECKOUT = Path(__file__).resolve().parents[2]


class Nursery:
    """The process that forks, and what it says of its children."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._begun: asyncio.Queue[int] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()
        self._children: dict[int, Forked] = {}

    def worker(self, directory: Path, settings: Mapping[str, str]) -> WorkerProcess:
        """A worker that ``start`` will fork."""
        return _ForkedWorker(self, directory, settings)

    async def fork(self, log: Path, env: Mapping[str, str], cwd: Path) -> Forked:
        """A new worker, begun to run."""
        assert self._process.stdin is not None
        wanted = {"log": str(log), "env": dict(env), "cwd": str(cwd)}
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            await self._process.stdin.drain()
            return self._children[await self._begun.get()]

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            match json.loads(line):
                case {"begun": pid}:
                    self._children[pid] = Forked(pid)
                    self._begun.put_nowait(pid)
                case {"ended": pid, "code": code}:
                    self._children.pop(pid).ended.set_result(code)


class Forked:
    """As much of ``asyncio.subprocess.Process`` as ``Child`` needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def send_signal(self, number: int) -> None:
        # Not reaped before it is reported, so the pid is no other's.
        if not self.ended.done():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _ForkedChild(Child):
    """A ``Child`` whose process comes from the nursery."""

    def __init__(self, nursery: Nursery, directory: Path) -> None:
        super().__init__("A worker", directory)
        self._nursery = nursery

    async def fork(self, env: Mapping[str, str], cwd: Path) -> None:
        self._process = await self._nursery.fork(self.log, env, cwd)  # type: ignore[assignment]


class _ForkedWorker(WorkerProcess):
    def __init__(self, nursery: Nursery, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory, settings)
        self._child: _ForkedChild = _ForkedChild(nursery, directory)

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._child.fork(surroundings(self._settings), self._directory)


@contextlib.asynccontextmanager
async def open_nursery() -> AsyncIterator[Nursery]:
    """A nursery that ends with the block, and its children with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.nursery"),
        cwd=_CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    nursery = Nursery(process)
    listening = asyncio.create_task(nursery.listen())
    try:
        yield nursery
    finally:
        process.stdin.close()
        await process.wait()
        await listening


# -- the process that forks ------------------------------------------------------------------------


def _serve() -> None:
    import worker  # noqa: F401, PLC0415 - loaded before the first fork, and by this process alone

    reading, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ)
    waiting.register(reading, selectors.EVENT_READ)
    pids: set[int] = set()
    asked = b""
    while True:
        for key, _ in waiting.select():
            if key.fd == reading:
                os.read(reading, 1024)
                _report(pids)
            elif not (more := os.read(0, 65_536)):
                return _end(pids)
            else:
                *lines, asked = (asked + more).split(b"\n")
                for line in lines:
                    pid = _fork(json.loads(line))
                    pids.add(pid)
                    _say({"begun": pid})


def _fork(wanted: dict[str, Any]) -> int:
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    pid = os.fork()
    if not pid:
        _work(log, wanted["env"], wanted["cwd"])
    os.close(log)
    return pid


def _work(log: int, env: dict[str, str], cwd: str) -> NoReturn:
    """Be a worker, in the forked process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    import worker  # noqa: PLC0415 - loaded long ago
    from connection import leave  # noqa: PLC0415

    leave(worker.main())


def _report(pids: set[int]) -> None:
    for pid in tuple(pids):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pids.discard(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _end(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _say(fact: dict[str, int]) -> None:
    os.write(1, json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    _serve()
