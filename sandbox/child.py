"""One child process of the sandbox: started, watched, stopped, and found again after a crash.

A part keeps its process's record (`pid`), its output (`log`) and a lock (`lock`) in a directory
of its own. The lock belongs to whoever runs the part now; the record outlives a sandbox that was
killed, so that the next one can end the process left behind and no other.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the forked child, where taking the import lock could hang.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class SandboxError(Exception):
    """The sandbox cannot go on. The message is one sentence for the person who started it.

    SandboxError
    ├── StateInUseError  another sandbox runs on the same state
    ├── PortBusyError    a port is taken; says which setting changes it   (sandbox.ports)
    ├── StartError       a part did not come up; with its last log lines
    └── PartDiedError    a part ended while it should be running; with its last log lines
    """


class StateInUseError(SandboxError):
    """Another process holds the lock of this state directory."""


class StartError(SandboxError):
    """A part did not come up."""


class PartDiedError(SandboxError):
    """A part ended by itself."""


class StateLock:
    """An exclusive hold on a directory, given up by the kernel when this process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Hold the directory, or raise `StateInUseError`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StateInUseError(
                f"A sandbox (process {holder}) is already running on {self._path.parent}: stop it, "
                "or give this one a directory of its own with --state."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def clear(self) -> None:
        """Remove everything in the directory but the lock, which must be held."""
        for entry in self._path.parent.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self._path:
                entry.unlink()

    def release(self) -> None:
        # The file stays: removing it would let two processes hold "the same" lock.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Child:
    """A supervised process. `start` it, await `ended`, and always `stop` it."""

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        patience: float = 10.0,
    ) -> None:
        self.name = name
        self.log = directory / "log"
        self._record = directory / "pid"
        self._stop_signal = stop_signal
        self._patience = patience
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return self._started_process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """As the system gives it: negative for a signal, None while the process runs."""
        return self._process.returncode if self._process else None

    async def start(
        self,
        command: Sequence[str],
        *,
        user: pwd.struct_passwd | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start the process; its output goes to `log`, which begins anew."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=cwd,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                # A Ctrl-C in the terminal is for the sandbox, which then stops its parts in order.
                start_new_session=True,
                preexec_fn=_end_with_parent(self._stop_signal),
            )
        self._record.write_text(
            json.dumps({"pid": self.pid, "started": _started(self.pid), "command": list(command)})
        )

    async def ended(self) -> None:
        """Return when the process has ended, however it did."""
        await self._started_process.wait()

    def died(self) -> PartDiedError:
        """The sentence for a process that ended by itself."""
        code = self.exit_code
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return PartDiedError(f"{self.name} ended by itself ({how}).{self.last_words()}")

    def last_words(self, lines: int = 8) -> str:
        """The end of the log, ready to be appended to a sentence."""
        with suppress(OSError), self.log.open(errors="replace") as log:
            tail = deque((line.rstrip() for line in log if line.strip()), maxlen=lines)
            if tail:
                return "\n".join([f" Its last lines, from {self.log}:", *(f"  {x}" for x in tail)])
        return f" Its log, {self.log}, is empty."

    async def stop(self) -> None:
        """Ask the process to end, insist after a while, and return when it is gone."""
        if self._process is None:
            return
        try:
            if self.running:
                with suppress(ProcessLookupError):
                    self._process.send_signal(self._stop_signal)
            await asyncio.wait_for(self._process.wait(), self._patience)
        except TimeoutError:
            self._kill()
            await self._process.wait()
        finally:
            # Reached with a live process only when this task is cancelled meanwhile.
            self._kill()
        self._record.unlink(missing_ok=True)

    async def end_leftover(self) -> bool:
        """End the process that a killed sandbox left behind. True when there was one.

        A pid alone proves nothing, the system reuses it: the start time and the command line
        must be the recorded ones too.
        """
        try:
            record = json.loads(self._record.read_text())
            pid, started, command = record["pid"], record["started"], record["command"]
        except (OSError, ValueError, KeyError):
            return False
        leftover = _same_process(pid, started, command)
        if leftover is not None:
            await end_process(leftover, self._stop_signal, self._patience)
        self._record.unlink(missing_ok=True)
        return leftover is not None

    @property
    def _started_process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


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


def _same_process(pid: int, started: float, command: list[str]) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        # Two seconds of slack: the start time is computed from the clock, which may be corrected.
        if abs(process.create_time() - started) < 2 and process.cmdline() == command:
            return process
    except psutil.Error:
        pass
    return None


def _started(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _end_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """Have Linux signal the child when the sandbox is killed, instead of leaving an orphan.

    Elsewhere, and for a child that missed it, `Child.end_leftover` does the work later. The
    kernel watches the *thread* that started the child: run a sandbox in a thread that outlives it.
    """
    if _LIBC is None:
        return None
    libc, parent, number = _LIBC, os.getpid(), int(how)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it was killed before the line above
            os._exit(1)

    return before_exec
