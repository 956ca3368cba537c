"""The results as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from rich import box
from rich.table import Table

from bench.cost import Batch, Load, SequentialRuns
from bench.edge import CONNECTIONS, EdgeResult
from bench.recovery import STEPS, Kill, Recovery

#: Our target in seconds: the median time that an order stands still after a kill.
RECOVERY_TARGET: Final = 5.0


@dataclass
class Measurements:
    """All results so far; a run that is stopped early reports these."""

    alone: SequentialRuns = field(default_factory=SequentialRuns)
    loads: list[Load] = field(default_factory=list)
    events: tuple[int, int] | None = None
    recovery: Recovery = field(default_factory=Recovery)
    edge: EdgeResult | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table(measured: Measurements, *, plain: bool) -> Table:
    """A table of our figures, the baseline's and their ratios; ``plain`` is Markdown."""
    shown = Table(
        title="Durable Orders, beside what does nothing",
        title_justify="left",
        box=box.MARKDOWN if plain else box.ROUNDED,
    )
    shown.add_column("What", no_wrap=True)
    for column in ("Orders", "Baseline", "Ratio"):
        shown.add_column(column, justify="right", no_wrap=True)
    for title, rows in _sections(measured):
        shown.add_row(f"**{title}**" if plain else f"[bold]{title}[/]")
        for what, *figures in rows:
            shown.add_row(what if plain else f"  {what}", *figures)
        if not plain:
            shown.add_section()
    return shown


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


Row = tuple[str, str, str, str]


def _sections(measured: Measurements) -> Iterable[tuple[str, list[Row]]]:
    if measured.recovery.orders:
        yield "Recovery after kill -9 of the worker, another one alive", _recovery(measured)
    if measured.alone.baseline:
        runs = len(measured.alone.baseline)
        yield f"One at a time, {runs} of each, in turn", _alone(measured.alone)
    for load in measured.loads:
        yield f"{load.in_flight} in flight", _load(load)
    if measured.events:
        ours, theirs = measured.events
        rows = [("history events", str(ours), str(theirs), _ratio(ours, theirs))]
        yield "History of one run", rows
    if measured.edge:
        yield f"POST /checkout, {CONNECTIONS} connections", _edge(measured.edge)
        for route, read in measured.edge.reads.items():
            yield f"{route}, {CONNECTIONS} connections", _edge(replace(measured.edge, edge=read))


def _recovery(measured: Measurements) -> list[Row]:
    ours, theirs = measured.recovery.orders, measured.recovery.baseline
    rows = [("kills", str(len(ours)), str(len(theirs)), "")]
    rows += _spread("until it moves on", [k.moved_on for k in ours], [k.moved_on for k in theirs])
    rows += _spread("until it is over", [k.ended for k in ours], [k.ended for k in theirs])
    for step in STEPS:
        here, there = _medians_at(step, ours), _medians_at(step, theirs)
        if here:
            rows.append(_row(f"moves on, killed {step}", here, there, "s"))
    return rows


def _medians_at(step: str, kills: list[Kill]) -> float | None:
    moved_on = [kill.moved_on for kill in kills if kill.at == step]
    return statistics.median(moved_on) if moved_on else None


def _spread(what: str, ours: list[float], theirs: list[float]) -> list[Row]:
    ways: dict[str, Callable[[list[float]], float]]
    ways = {"min": min, "median": statistics.median, "max": max}
    return [
        _row(f"{what}, {name}", way(ours), way(theirs) if theirs else None, "s")
        for name, way in ways.items()
    ]


def _alone(alone: SequentialRuns) -> list[Row]:
    return [
        _row(
            f"from start to end, {name}",
            percentile(alone.orders, share) * 1000,
            percentile(alone.baseline, share) * 1000,
            "ms",
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _load(load: Load) -> list[Row]:
    ours, theirs = load.orders, load.baseline
    counted: Row = ("runs", str(ours.done), str(theirs.done), "")
    return [
        counted,
        _row("per second", ours.rate, theirs.rate, "/s"),
        _row("from start to end, p50", _p50(ours), _p50(theirs), "ms"),
        *(
            _row(f"CPU per run: {who}", of_ours * 1000, of_theirs and of_theirs * 1000, "ms")
            for who, of_ours, of_theirs in _cpu(ours, theirs)
        ),
    ]


def _edge(result: EdgeResult) -> list[Row]:
    ours, theirs = result.edge, result.baseline
    counted: Row = ("requests", str(ours.asked), str(theirs.asked), "")
    refused: Row = ("of them not accepted", str(ours.refused), str(theirs.refused), "")
    here, there = ours.cpu.per(ours.asked), theirs.cpu.per(theirs.asked)
    return [
        counted,
        refused,
        _row("per second", ours.rate, theirs.rate, "/s"),
        *(
            _row(
                f"until the answer, {name}",
                percentile(ours.took, share) * 1000,
                percentile(theirs.took, share) * 1000,
                "ms",
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
        _row("CPU per request: edge", here.worker * 1000, there.worker * 1000, "ms"),
        _row("CPU per request: Temporal", here.temporal * 1000, None, "ms"),
        _row("CPU per request: PostgreSQL", here.postgres * 1000, None, "ms"),
        ("round trips to PostgreSQL", str(ours.round_trips), "", ""),
        _row("CPU per request: load generator", here.load * 1000, there.load * 1000, "ms"),
        (
            "load generator, of a core",
            _percent(ours.generator_share),
            _percent(theirs.generator_share),
            "",
        ),
    ]


def _p50(batch: Batch) -> float:
    return percentile(batch.took, 0.5) * 1000


def _cpu(ours: Batch, theirs: Batch) -> Iterable[tuple[str, float, float | None]]:
    here, there = ours.cpu.per(ours.done), theirs.cpu.per(theirs.done)
    yield "worker", here.worker, there.worker
    yield "Temporal", here.temporal, there.temporal
    # The baseline uses neither; what they use meanwhile is housekeeping.
    yield "PostgreSQL", here.postgres, None
    yield "stand-ins", here.stand_in, None
    yield "load generator", here.load, there.load


def _row(what: str, ours: float, theirs: float | None, unit: str) -> Row:
    there = "" if theirs is None else _number(theirs, unit)
    return what, _number(ours, unit), there, _ratio(ours, theirs)


def _number(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value < 100 else f"{value:.0f} {unit}"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _ratio(ours: float, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if theirs else ""
