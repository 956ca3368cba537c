"""One child process of the sandbox: started, watched, stopped, and found again after a crash.

A part keeps its process's record (`pid`), its output (`log`) and a lock (`lock`) in a directory
of its own. The lock belongs to whoever runs the part now; the record outlives a sandbox that was
killed, so that the next one can end the process left behind and no other.
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
from sandbox.orphan_processes import end_process, same_process, started_at

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the forked child, where taking the import lock could hang.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StartError(SandboxError):
    """A part did not come up."""


class PartDiedError(SandboxError):
    """A part ended by itself."""


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
                # A Ctrl-C in the terminal is for the sandbox, which then stops its parts in order.
                start_new_session=True,
                preexec_fn=_end_with_parent(self._stop_signal),
            )
        self._record.write_text(
            json.dumps({"pid": self.pid, "started": started_at(self.pid), "command": list(command)})
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
        leftover = same_process(pid, started, command)
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
