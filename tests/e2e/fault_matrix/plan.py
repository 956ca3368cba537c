"""The plan of a worker with faults: which order meets which fault in which activity.

Written by the test, read by the worker. What happened is told by files beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.e2e.fault_matrix.table import FaultKind


@dataclass(frozen=True)
class FaultPoint:
    """The one fault of an order."""

    order_id: str
    activity: str
    fault: FaultKind
    endpoint: str = ""
    #: Of a time-out: how long the neighbour keeps its answer back.
    seconds: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Fault points by order, and the directory in which the worker and the test tell each other
    what has happened.
    """

    directory: Path
    points: dict[str, FaultPoint]

    @classmethod
    def write(cls, directory: Path, points: Iterable[FaultPoint]) -> Plan:
        """Write a plan into a new directory."""
        directory.mkdir(parents=True)
        plan = cls(directory, {point.order_id: point for point in points})
        listed = [asdict(point) for point in plan.points.values()]
        (directory / "plan.json").write_text(json.dumps(listed))
        return plan

    @classmethod
    def read(cls, directory: Path) -> Plan:
        listed = json.loads((directory / "plan.json").read_text())
        points = [FaultPoint(**{**one, "fault": FaultKind(one["fault"])}) for one in listed]
        return cls(directory, {point.order_id: point for point in points})

    def mark(self, order_id: str, text: str = "") -> None:
        """Tell that the fault has struck this order; ``text`` is a line about it."""
        with (self.directory / order_id).open("a") as file:
            file.write(f"{text}\n")

    def marks(self, order_id: str) -> list[str]:
        """What is told about this order's fault; empty until it has struck."""
        path = self.directory / order_id
        return path.read_text().splitlines() if path.exists() else []

    def has_struck(self, order_id: str) -> bool:
        return (self.directory / order_id).exists()

    def release(self) -> None:
        """Let all orders go on that are held."""
        (self.directory / "released").touch()

    @property
    def is_released(self) -> bool:
        return (self.directory / "released").exists()
