"""A supervised child process: start, watch and stop it, and end an orphan of an earlier crash.

Each process has a directory of its own with its record (`pid`), its output (`log`) and a lock
(`lock`). The lock belongs to the process that runs it now. The record survives a sandbox that was
killed, so that the next one can end exactly that orphan.
"""

import asyncio
import ctypes
import json
import os
import pwd
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sandbox import SandboxError
from sandbox.orphan_processes import end_process, find_process, start_time

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the forked child, where taking the import lock could hang.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StartError(SandboxError):
    """A process did not start."""


class PartDiedError(SandboxError):
    """A process ended unexpectedly."""


class Child:
    """A supervised process. `start` it, await `ended`, and always `stop` it."""

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 10.0,
    ) -> None:
        self.name = name
        self.log = directory / "log"
        self._record = directory / "pid"
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return self._started_process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal, None while the process runs."""
        return self._process.returncode if self._process else None

    async def start(
        self,
        command: Sequence[str],
        *,
        user: pwd.struct_passwd | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start the process; its output overwrites `log`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
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
                # Ctrl-C in the terminal goes to the sandbox alone, which stops its children.
                start_new_session=True,
                preexec_fn=_signal_on_parent_death(self._stop_signal),
            )
        self._record.write_text(
            json.dumps({"pid": self.pid, "started": start_time(self.pid), "command": list(command)})
        )

    async def ended(self) -> None:
        """Wait for the end of the process."""
        await self._started_process.wait()

    def died(self) -> PartDiedError:
        """The error to raise for a process that ended by itself."""
        code = self.exit_code
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return PartDiedError(f"{self.name} ended by itself ({how}).{self.log_tail()}")

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of the log, to be appended to a sentence."""
        with suppress(OSError), self.log.open(errors="replace") as log:
            tail = deque((line.rstrip() for line in log if line.strip()), maxlen=lines)
            if tail:
                return "\n".join([f" Its last lines, from {self.log}:", *(f"  {x}" for x in tail)])
        return f" Its log, {self.log}, is empty."

    async def stop(self) -> None:
        """Send the stop signal, then SIGKILL after `stop_timeout`; return when it has ended."""
        if self._process is None:
            return
        try:
            if self.running:
                with suppress(ProcessLookupError):
                    self._process.send_signal(self._stop_signal)
            await asyncio.wait_for(self._process.wait(), self._stop_timeout)
        except TimeoutError:
            self._kill()
            await self._process.wait()
        finally:
            # The process is still alive here only when this task is cancelled.
            self._kill()
        self._record.unlink(missing_ok=True)

    async def end_orphan(self) -> bool:
        """End the orphan of a killed sandbox. True when there was one.

        The system reuses pids, so the start time and the command line must match the record too.
        """
        try:
            record = json.loads(self._record.read_text())
            pid, started, command = record["pid"], record["started"], record["command"]
        except (OSError, ValueError, KeyError):
            return False
        orphan = find_process(pid, started, command)
        if orphan is not None:
            await end_process(orphan, self._stop_signal, self._stop_timeout)
        self._record.unlink(missing_ok=True)
        return orphan is not None

    @property
    def _started_process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


def _signal_on_parent_death(how: signal.Signals) -> Callable[[], None] | None:
    """On Linux, have the kernel signal the child when the sandbox is killed.

    On other systems, and for a child that missed the signal, `Child.end_orphan` ends it later. The
    kernel watches the *thread* that started the child: run a sandbox in a thread that outlives it.
    """
    if _LIBC is None:
        return None
    libc, parent, number = _LIBC, os.getpid(), int(how)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # the sandbox was killed before the prctl call
            os._exit(1)

    return before_exec
