"""Real sandboxes as processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import pytest
from dotenv import dotenv_values

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 40.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; fail with `what` after a timeout."""
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class SandboxProcess:
    """`python -m sandbox` in a working directory, on free ports."""

    def __init__(
        self,
        directory: Path,
        state: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.state = state
        self.output_file = directory / f"output-{time.monotonic_ns()}"
        arguments = ["--state", str(state)]
        for port in ("--temporal-port", "--ui-port", "--world-port"):
            if port not in options:
                arguments += [port, "0"]
        path = f"{PROJECT_ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        with self.output_file.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "sandbox", *arguments, *options],
                cwd=directory,
                env=os.environ | {"PYTHONPATH": path} | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._seen: set[psutil.Process] = set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def settings(self) -> dict[str, str]:
        """The settings that the production code's processes would read."""
        values = dotenv_values(self.state / "env", interpolate=False)
        return {name: value or "" for name, value in values.items()}

    def address(self, what: str) -> str:
        """The address that the table shows for a name."""
        found = re.search(rf"^│ {what} +│ (\S+) +│$", self.output, re.MULTILINE)
        assert found, f"no {what} in\n{self.output}"
        return found[1]

    def children(self) -> set[psutil.Process]:
        """Every descendant process that is running now."""
        with suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(self.pid).children(recursive=True))
        return {child for child in self._seen if child.is_running()}

    def child(self, name: str) -> psutil.Process:
        return next(c for c in self.children() if c.name() == name and c.ppid() == self.pid)

    def wait_ready(self) -> Self:
        """Return when the sandbox is ready."""
        wait_until(lambda: "Ctrl-C stops" in self.output or not self.running, "the table")
        assert self.running, self.output
        self.children()
        return self

    def signal(self, number: signal.Signals) -> None:
        self.children()
        self._process.send_signal(number)

    def ends(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(_TIMEOUT)

    def orphans(self) -> set[psutil.Process]:
        """Its descendants that still run."""
        return {
            child
            for child in self._seen
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        }


@pytest.fixture(scope="session")
def used_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that the tests use one after another: only the first has to create everything."""
    return tmp_path_factory.mktemp("used")


Start = Callable[..., SandboxProcess]


@contextmanager
def sandboxes(directory: Path, usual_state: Path) -> Iterator[Start]:
    """Starts sandboxes in a directory; whatever still runs at the end is ended."""
    started: list[SandboxProcess] = []

    def start(*options: str, state: Path = usual_state, **how: Any) -> SandboxProcess:
        started.append(SandboxProcess(directory, state, *options, **how))
        return started[-1]

    yield start
    for process in started:
        if process.running:
            process.signal(signal.SIGTERM)
            process.ends()
        for child in process.orphans():
            with suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture
def sandbox(used_state: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts sandboxes in the test's own directory."""
    with sandboxes(tmp_path, used_state) as start:
        yield start
