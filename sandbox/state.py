"""Exclusive use of a state directory by one sandbox, or by one part of it."""

import fcntl
import os
import shutil
from pathlib import Path

from sandbox import SandboxError


class StateInUseError(SandboxError):
    """Another process holds the lock of this state directory."""


class StateUnusableError(SandboxError):
    """The state directory cannot be created or written."""


class StateLock:
    """An exclusive lock on a directory; the kernel releases it when this process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Create the directory and lock it, or raise a `SandboxError`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateUnusableError(
                f"{self._path.parent} cannot hold the sandbox's state ({error.strerror}): "
                "choose another directory with --state."
            ) from None
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
        """Remove everything in the directory except the lock file; the lock must be held."""
        for entry in self._path.parent.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self._path:
                entry.unlink()

    def release(self) -> None:
        # The file stays: if it were removed, two processes could hold "the same" lock.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
