"""The tables of the bench, and what it refuses to measure."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.orders import Counts, History, Load
from bench.report import Measurements, tables
from bench.slow_neighbours import SlowResult
from bench.systems import OrderCpu, systems
from sandbox.child import StartError


def load(workers: int, orders: int, *, server: float = 0.0, api: float = 0.0) -> Load:
    """So many orders in a second, of which the server used so many seconds."""
    return Load(20, workers, [0.5] * orders, 1.0, OrderCpu(server=server, workers=0.1, api=api))


def shown(measured: Measurements) -> dict[str, list[str]]:
    """The cells of each row of all tables, by its first one."""
    console = Console(width=300, file=io.StringIO())
    for table in tables(measured, plain=True):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    rows = [line.strip().strip("|").split("|") for line in console.file.getvalue().splitlines()]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows if cells[1:]}


def test_each_system_is_shown_with_the_workers_that_serve_it_best() -> None:
    measured = Measurements(
        loads={
            "ours": [load(1, 10, server=0.1), load(2, 20, server=0.3, api=0.2)],
            "seed": [load(1, 10, server=0.4), load(2, 5)],
        }
    )
    rows = shown(measured)
    assert rows["What"] == ["ours", "seed", "ours/seed"]
    assert rows["workers"] == ["2", "1", "2.00"]
    assert rows["orders per second"] == ["20.00 /s", "10.00 /s", "2.00"]
    assert rows["CPU: server + workers + PostgreSQL"] == ["20.00 ms", "50.00 ms", "0.40"]
    assert rows["CPU: API"] == ["10.00 ms", "0.00 ms", ""]
    assert rows["orders per second, 2 workers"] == ["20.00 /s", "5.00 /s", "4.00"]


def test_a_system_without_a_history_has_no_figures_of_one() -> None:
    measured = Measurements(
        counts={
            "ours": Counts({"worker": 12.5, "client": 2.0}, 4.0, History(18, 2, 5, 3)),
            "dbos": Counts({"worker": 25.0}, 3.0),
        }
    )
    rows = shown(measured)
    assert rows["history events"] == ["18", "", ""]
    assert rows["round trips to PostgreSQL: worker"] == ["12.5", "25.0", "0.50"]
    assert rows["round trips to PostgreSQL: client"] == ["2.0", "", ""]


def test_slow_neighbours_have_a_table_for_each_answer() -> None:
    measured = Measurements(
        slow={
            "ours": [SlowResult(0.3, {20: 10.0}, [1.0, 3.0, 2.0], [4.0])],
            "checkout": [SlowResult(0.3, {20: 5.0}, [2.0], [4.0])],
            "seed": [SlowResult(0.3, {20: 20.0})],
        }
    )
    rows = shown(measured)
    assert rows["orders per second, 20 in flight"] == [
        *("10.00 /s", "5.00 /s", "20.00 /s"),
        *("2.00", "0.50"),
    ]
    assert rows["until the shopper's answer, median"] == ["2.00 s", "2.00 s", "", "1.00", ""]
    assert len(list(tables(measured, plain=False))) == 1


@pytest.mark.parametrize(
    ("name", "checkout", "sentence"),
    [
        ("checkout", None, "Which other checkout"),
        ("checkout", Path("/nowhere"), "/nowhere is no checkout of this project"),
    ],
)
def test_what_is_not_here_is_refused(name: str, checkout: Path | None, sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        systems([name], checkout)
