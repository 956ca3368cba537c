"""The figures of a run, and its report."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from bench.report import percentile
from chaos.faults import Happened
from chaos.plan import FaultKind, Plan
from demo.invariants import InvariantResult

_SHOWN_PER_INVARIANT: Final = 20


@dataclass
class Figures:
    """What a run has measured; times in seconds.

    ``recovery`` is from each fault to the next progress of any order, ``settling`` how much longer
    an order took that was open when the faults had ended, or its customer had last acted, and
    ``waiting`` the same of those whose customer, bank or operator makes them wait.
    """

    orders: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    settled_after: float = 0.0
    requests: int = 0
    repeated: int = 0
    starts: int = 0
    ended_by_themselves: list[str] = field(default_factory=list)
    recovery: dict[FaultKind, list[float]] = field(default_factory=dict)
    settling: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    slowest: list[str] = field(default_factory=list)
    captured: int = 0
    refunded: int = 0
    withdrawn: int = 0
    parcels: int = 0
    mails: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "orders": self.orders,
            "ends": dict(self.ends),
            "seconds": self.seconds,
            "settled_after": self.settled_after,
            "recovery": {str(kind): times for kind, times in self.recovery.items()},
            "settling": self.settling,
            "waiting": self.waiting,
        }


def recovery_times(
    happened: Iterable[Happened], progress: Sequence[float]
) -> dict[FaultKind, list[float]]:
    """Seconds from each fault to the next of these moments of ``progress``, which are sorted."""
    found: dict[FaultKind, list[float]] = {}
    for each in happened:
        following = bisect_right(progress, each.began)
        if following < len(progress):
            found.setdefault(each.fault.kind, []).append(progress[following] - each.began)
    return found


def spread(times: Sequence[float]) -> str:
    """The median, the 95th percentile and the longest."""
    if not times:
        return "none"
    middle, late = percentile(times, 0.5), percentile(times, 0.95)
    return f"p50 {middle:.1f} s, p95 {late:.1f} s, longest {max(times):.1f} s ({len(times)})"


def show_report(
    plan: Plan, figures: Figures, results: Sequence[InvariantResult], console: Console
) -> None:
    """Print the figures, a line per invariant, and each violation below it."""
    ends = ", ".join(f"{number} {end}" for end, number in figures.ends.most_common())
    console.print(f"\n[bold]{figures.orders} orders[/]: {escape(ends)}")
    console.print(
        f"  {figures.requests} requests to the API, {figures.repeated} of them repeated; "
        f"{figures.starts} processes started"
    )
    for sentence in figures.ended_by_themselves:
        console.print(f"  {escape(sentence)}")
    console.print(
        f"  The books, in minor units: {figures.captured} taken, {figures.refunded} given back, "
        f"{figures.withdrawn} lost to disputes; {figures.parcels} parcels, {figures.mails} mails"
    )
    console.print("\n[bold]From a fault to the next progress of an order")
    every = [time for times in figures.recovery.values() for time in times]
    for kind, times in (*sorted(figures.recovery.items()), ("all", every)):
        console.print(f"  {kind:<28} {spread(times)}")
    console.print("\n[bold]From the end of the faults until an order was over")
    console.print(f"  {'the last of all':<28} {figures.settled_after:.1f} s")
    console.print(f"  {'each order open then':<28} {spread(figures.settling)}")
    console.print(f"  {'made to wait, apart':<28} {spread(figures.waiting)}")
    for sentence in figures.slowest:
        console.print(f"    {escape(sentence)}")
    console.print("\n[bold]The promises")
    for result in results:
        mark = "[green]✓" if result.holds else "[bold red]✗"
        console.print(f"  {mark}[/] {escape(result.invariant)}")
        for violation in result.violations[:_SHOWN_PER_INVARIANT]:
            console.print(f"      [red]{escape(violation)}")
        if (more := len(result.violations) - _SHOWN_PER_INVARIANT) > 0:
            console.print(f"      [red]and {more} more")
    console.print(f"\nSeed {plan.seed}, schedule {plan.digest}.")
