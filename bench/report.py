"""The results as tables and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from rich import box
from rich.table import Table

from bench.edge import CONNECTIONS, EdgeResult
from bench.orders import Counts, History, Load
from bench.recovery import STEPS, Kill, Recovery
from bench.slow_neighbours import SlowResult
from bench.systems import CHECKOUT, DBOS, EMPTY, OURS, SEED, OrderCpu

#: Our target in seconds: the median time that an order stands still after a kill.
RECOVERY_TARGET: Final = 5.0

#: The order of the columns.
SYSTEMS: Final = (OURS, CHECKOUT, SEED, DBOS, EMPTY)


@dataclass
class Measurements:
    """All results so far, by system; a run that is stopped early reports these."""

    #: Seconds from start to end of each order.
    alone: dict[str, list[float]] = field(default_factory=dict)
    loads: dict[str, list[Load]] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    #: The same while Stripe's webhooks come, of the systems that take them.
    counts_with_webhooks: dict[str, Counts] = field(default_factory=dict)
    slow: dict[str, list[SlowResult]] = field(default_factory=dict)
    recovery: Recovery = field(default_factory=Recovery)
    edge: EdgeResult | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def best_loads(self, in_flight: int) -> dict[str, Load]:
        """The load of each system with the number of workers that served it best."""
        return {
            name: max(tried, key=lambda load: load.rate)
            for name, loads in self.loads.items()
            if (tried := [load for load in loads if load.in_flight == in_flight])
        }


def tables(measured: Measurements, *, plain: bool) -> Iterable[Table]:
    """All tables that have figures; ``plain`` is Markdown."""
    compared = {*measured.alone, *measured.loads, *measured.counts}
    if compared:
        names = [name for name in SYSTEMS if name in compared]
        title = "An order, beside other ways to process one"
        yield _comparison(title, names, _comparison_sections(measured), plain=plain)
    answers = {slow.answer_after for results in measured.slow.values() for slow in results}
    for answer_after in sorted(answers):
        names = [name for name in SYSTEMS if name in measured.slow]
        title = f"Each answer of a neighbour takes {answer_after:g} s, one worker"
        sections = [("", list(_slow_rows(measured, answer_after)))]
        yield _comparison(title, names, sections, plain=plain)
    if measured.recovery.orders or measured.edge:
        yield _baseline_table(measured, plain=plain)


@dataclass(frozen=True)
class Figures:
    """A row of a comparison: one figure of each system."""

    what: str
    by_system: Mapping[str, float]
    unit: str = ""


def _comparison(
    title: str,
    names: Sequence[str],
    sections: Iterable[tuple[str, list[Figures]]],
    *,
    plain: bool,
) -> Table:
    """A table with a column for each system, and one for the ratio of ours to each other one."""
    shown = _new_table(title, plain=plain)
    others = [name for name in names if name != OURS] if OURS in names else []
    for column in [*names, *(f"{OURS}/{other}" for other in others)]:
        shown.add_column(column, justify="right", no_wrap=True)
    for heading, rows in sections:
        if heading:
            shown.add_row(_bold(heading, plain=plain))
        for row in rows:
            found = row.by_system
            figures = [_number(found[name], row.unit) if name in found else "" for name in names]
            ours = found.get(OURS)
            ratios = [_ratio(ours, found.get(other)) if ours else "" for other in others]
            shown.add_row(row.what, *figures, *ratios)
        if not plain:
            shown.add_section()
    return shown


def _comparison_sections(measured: Measurements) -> Iterable[tuple[str, list[Figures]]]:
    if measured.alone:
        runs = max(map(len, measured.alone.values()))
        yield (
            f"One at a time, {runs} of each, in turn",
            [
                Figures(
                    f"from start to end, {name}",
                    {
                        system: percentile(took, share) * 1000
                        for system, took in measured.alone.items()
                    },
                    "ms",
                )
                for name, share in (("p50", 0.5), ("p99", 0.99))
            ],
        )
    for in_flight in sorted({load.in_flight for each in measured.loads.values() for load in each}):
        rows = list(_load_rows(measured, in_flight))
        yield f"{in_flight} in flight, as many workers as serve best", rows
    if measured.counts:
        yield "One order", list(_count_rows(measured.counts))
    if measured.counts_with_webhooks:
        yield "One order, and Stripe's webhook", list(_count_rows(measured.counts_with_webhooks))


def _load_rows(measured: Measurements, in_flight: int) -> Iterable[Figures]:
    loads = measured.best_loads(in_flight)
    yield Figures("orders", {name: len(load.took) for name, load in loads.items()})
    yield Figures("workers", {name: load.workers for name, load in loads.items()})
    yield Figures("orders per second", {name: load.rate for name, load in loads.items()}, "/s")
    p50 = {name: percentile(load.took, 0.5) * 1000 for name, load in loads.items()}
    yield Figures("from start to end, p50", p50, "ms")
    parts: dict[str, Callable[[OrderCpu], float]] = {
        "server + workers + PostgreSQL": lambda cpu: cpu.engine,
        "Temporal server": lambda cpu: cpu.server,
        "workers": lambda cpu: cpu.workers,
        "PostgreSQL": lambda cpu: cpu.postgres,
        "API": lambda cpu: cpu.api,
        "stand-ins": lambda cpu: cpu.stand_ins,
        "load generator": lambda cpu: cpu.load,
    }
    for what, part in parts.items():
        used = {name: part(load.cpu.per(len(load.took))) * 1000 for name, load in loads.items()}
        if any(used.values()):
            yield Figures(f"CPU: {what}", used, "ms")
    numbers = sorted({load.workers for each in measured.loads.values() for load in each})
    for workers in numbers if len(numbers) > 1 else []:
        tried = {
            name: load.rate
            for name, each in measured.loads.items()
            for load in each
            if (load.in_flight, load.workers) == (in_flight, workers)
        }
        yield Figures(f"orders per second, {workers} workers", tried, "/s")


def _count_rows(counts: Mapping[str, Counts]) -> Iterable[Figures]:
    parts: dict[str, Callable[[History], int]] = {
        "history events": lambda history: history.events,
        "workflow tasks": lambda history: history.workflow_tasks,
        "activities": lambda history: history.activities,
        "of them local": lambda history: history.local_activities,
    }
    for what, part in parts.items():
        found = {name: part(one.history) for name, one in counts.items() if one.history}
        yield Figures(what, found)
    for who in ("worker", "client", "api"):
        made = {
            name: one.round_trips[who] for name, one in counts.items() if who in one.round_trips
        }
        if made:
            where = "API" if who == "api" else who
            yield Figures(f"round trips to PostgreSQL: {where}", made, "each")
    yield Figures("requests to neighbours", {n: one.requests for n, one in counts.items()}, "each")


def _slow_rows(measured: Measurements, answer_after: float) -> Iterable[Figures]:
    results = {
        name: slow
        for name, each in measured.slow.items()
        for slow in each
        if slow.answer_after == answer_after
    }
    for in_flight in sorted({number for slow in results.values() for number in slow.rates}):
        rates = {
            name: slow.rates[in_flight] for name, slow in results.items() if in_flight in slow.rates
        }
        yield Figures(f"orders per second, {in_flight} in flight", rates, "/s")
    kinds: dict[str, Callable[[SlowResult], list[float]]] = {
        "until the shopper's answer": lambda slow: slow.shoppers,
        "cancel in mid-charge, until its answer": lambda slow: slow.cancels,
    }
    ways: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "max": max}
    for what, of in kinds.items():
        for name, way in ways.items():
            took = {system: way(of(slow)) for system, slow in results.items() if of(slow)}
            if took:
                yield Figures(f"{what}, {name}", took, "s")


def _new_table(title: str, *, plain: bool) -> Table:
    shown = Table(title=title, title_justify="left", box=box.MARKDOWN if plain else box.ROUNDED)
    shown.add_column("What", no_wrap=True)
    return shown


def _bold(text: str, *, plain: bool) -> str:
    return f"**{text}**" if plain else f"[bold]{text}[/]"


def _baseline_table(measured: Measurements, *, plain: bool) -> Table:
    """Recovery and the edge, beside a baseline that does nothing."""
    shown = _new_table("Recovery and the HTTP API, beside what does nothing", plain=plain)
    for column in ("Ours", "Baseline", "Ratio"):
        shown.add_column(column, justify="right", no_wrap=True)
    for title, rows in _sections(measured):
        shown.add_row(_bold(title, plain=plain))
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


def _row(what: str, ours: float, theirs: float | None, unit: str) -> Row:
    there = "" if theirs is None else _number(theirs, unit)
    return what, _number(ours, unit), there, _ratio(ours, theirs)


def _number(value: float, unit: str) -> str:
    if not unit:
        return f"{value:.0f}"
    if unit == "each":
        return f"{value:.1f}"
    return f"{value:.2f} {unit}" if value < 100 else f"{value:.0f} {unit}"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _ratio(ours: float, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if theirs else ""
