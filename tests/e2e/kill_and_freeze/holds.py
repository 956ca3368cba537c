"""Holding an order in a worker process, before an activity or when it is done.

The test and its workers tell each other by files in one directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from demo.environment import DemoEnvironment
from tests.e2e.moments import Hold
from tests.support.eventually import eventually

When = Literal["before", "done"]


@dataclass(frozen=True)
class Ran:
    """One execution of an activity by a process, and whether it is over."""

    pid: int
    number: int
    activity: str
    is_local: bool
    is_over: bool


@dataclass(frozen=True)
class HoldsDirectory:
    """What the test wants held, and what the workers have run."""

    path: Path

    # -- the test's side ---------------------------------------------------------------------------

    def charge_slowly(self, order_id: str) -> None:
        """Have this order's charge be a normal activity."""
        self._file(order_id, "slow").touch()

    def want(self, order_id: str, activity: str, when: When) -> None:
        """Have the order held in its first execution of this activity."""
        self._file(order_id, "wanted").write_text(f"{activity} {when}")

    def is_held(self, order_id: str) -> bool:
        return self._file(order_id, "held").exists()

    def release(self, order_id: str) -> None:
        """Let the order go on."""
        self._file(order_id, "released").touch()

    def ran(self, order_id: str) -> list[Ran]:
        """The activities of the order that any worker has run, or runs."""
        path = self._file(order_id, "ran")
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        over = {(pid, number) for pid, number, *_, what in lines if what == "over"}
        return [
            Ran(int(pid), int(number), activity, local == "local", (pid, number) in over)
            for pid, number, activity, local, what in lines
            if what == "began"
        ]

    # -- the workers' side -------------------------------------------------------------------------

    def charges_slowly(self, order_id: str) -> bool:
        return self._file(order_id, "slow").exists()

    def claim(self, order_id: str, activity: str, when: When) -> bool:
        """Whether the order is to be held here. True once, whichever worker comes there."""
        wanted = self._file(order_id, "wanted")
        if not wanted.exists() or wanted.read_text() != f"{activity} {when}":
            return False
        try:
            self._file(order_id, "held").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def is_released(self, order_id: str) -> bool:
        return self._file(order_id, "released").exists()

    def tell(self, order_id: str, *words: object) -> None:
        """Add a line about what is run."""
        with self._file(order_id, "ran").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def _file(self, order_id: str, kind: str) -> Path:
        return self.path / f"{order_id}.{kind}"


def directory_of(environment: DemoEnvironment) -> HoldsDirectory:
    """The directory of this environment's workers."""
    path: Final = environment.sandbox.state / "holds"
    path.mkdir(exist_ok=True)
    return HoldsDirectory(path)


@dataclass(frozen=True)
class Running:
    """While a worker is about to run an activity, or when it has run it and not yet answered."""

    activity: str
    when: When

    async def hold(self, environment: DemoEnvironment, order_id: str) -> Hold:
        directory = directory_of(environment)
        directory.want(order_id, self.activity, self.when)
        return _Run(directory, order_id)


@dataclass(frozen=True)
class _Run:
    directory: HoldsDirectory
    order_id: str

    async def reached(self) -> None:
        async def held() -> bool:
            return self.directory.is_held(self.order_id)

        await eventually(held, within=30)

    async def let_go(self) -> None:
        self.directory.release(self.order_id)
