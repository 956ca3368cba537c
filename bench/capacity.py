"""`python -m bench.capacity`: what one order costs each part, and what so many per second need.

Ordinary orders are placed and run to their end with the API listening for all webhooks. Counted are
the rows, bytes and write-ahead log that they leave in PostgreSQL, its transactions and the worker's
round trips, CPU, and events, bytes, state transitions and Actions in Temporal. Counts and bytes
depend on nothing but the code; CPU depends on the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import httpx
import psutil  # type: ignore[import-untyped]
import typer
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.command import (
    EPILOG,
    JsonFile,
    finish,
    measure,
    print_progress,
    print_table,
    run,
)
from bench.environment import ADA, API, ORDER_WORKER, PRODUCT, BenchEnvironment, Cpu
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket
from durable_orders.store.archive import archive_histories
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.seed import add_products
from sandbox.child import Child
from sandbox.ports import HOST, free_port
from sandbox.round_trips import RoundTrips
from sandbox.webhook_endpoints import webhook_endpoints

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

#: Orders whose histories are read, and whose round trips are counted.
_SAMPLE: Final = 20
_ARCHIVE: Final = "archived_history"
_A_MONTH: Final = timedelta(days=30).total_seconds()
_A_YEAR_AND_MORE: Final = timedelta(days=400).total_seconds()
#: The part of a core that is planned with: beyond it, queues grow.
_UTILISATION: Final = 0.7
#: An ordinary order makes and confirms a PaymentIntent, and sends a mail.
_STRIPE_REQUESTS: Final = 2
_MAILS: Final = 1
_RATES: Final = (1, 10, 100, 1_000)

_TABLES: Final = """
SELECT relname AS name, pg_indexes_size(oid) AS indexes
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
#: Rows with their headers and line pointers. The file's size would not do: PostgreSQL makes it
#: larger in steps of up to half a megabyte, and keeps room of versions that VACUUM has removed.
_ROWS: Final = """
SELECT count(*) AS rows, coalesce(sum(pg_column_size(it.*) + 4), 0) AS heap FROM {table} AS it
"""
_SERVER: Final = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal,
       (SELECT wal_fpi FROM pg_stat_wal) AS page_images,
       (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits
"""


@dataclass(frozen=True)
class Table:
    """A table, or what an order leaves in it: rows, their bytes, and those of the indexes."""

    rows: float
    heap: float
    indexes: float

    @property
    def size(self) -> float:
        return self.heap + self.indexes

    def per(self, orders: int, before: Table) -> Table:
        return Table(
            (self.rows - before.rows) / orders,
            (self.heap - before.heap) / orders,
            (self.indexes - before.indexes) / orders,
        )


@dataclass(frozen=True)
class Snapshot:
    """What PostgreSQL and the processes have come to."""

    tables: dict[str, Table]
    wal: int
    page_images: int
    commits: int
    cpu: Cpu
    api: float


@dataclass(frozen=True)
class Run:
    """What Temporal has of one order."""

    events: int
    size: int
    transitions: int
    actions: int


@dataclass
class Measurements:
    """What one order costs. Bytes, seconds of CPU, and counts."""

    orders: int = 0
    tables: dict[str, Table] = field(default_factory=dict)
    wal: float = 0
    page_images: float = 0
    commits: float = 0
    cpu: Cpu = field(default_factory=lambda: Cpu(0, 0, 0, 0, 0))
    api: float = 0
    runs: list[Run] = field(default_factory=list)
    round_trips: float = 0
    archived: Table = field(default_factory=lambda: Table(0, 0, 0))
    archived_per_second: float = 0

    @property
    def size(self) -> float:
        """Bytes that an order leaves in all tables."""
        return sum(table.size for table in self.tables.values())

    @property
    def kept(self) -> float:
        """The same without what is deleted by itself after a while."""
        return self.size - self.tables["webhook_events"].size

    @property
    def archived_size(self) -> float:
        """The same once its history is archived."""
        return self.kept - self.tables["order_history"].size + self.archived.size


@app.command(epilog=EPILOG)
def main(
    *,
    orders: Annotated[
        int, typer.Option(min=10, max=20_000, help="Orders that are measured.")
    ] = 2_000,
    in_flight: Annotated[int, typer.Option(min=1, max=200, help="Orders at a time.")] = 20,
    limit: Annotated[
        float, typer.Option(min=10, max=3_600, help="Stop after so many seconds.")
    ] = 1_200,
    json_file: JsonFile = None,
) -> None:
    """Measure what one order costs each part, and work out what so many per second need.

    Everything runs on this machine and is stopped at the end.
    """
    measured = Measurements(orders)
    errors = measure(lambda environment: _run(environment, in_flight, measured), limit)
    if measured.runs:
        _print(measured)
    finish(errors, asdict(measured), json_file)


async def _run(environment: BenchEnvironment, in_flight: int, measured: Measurements) -> list[str]:
    """Fill ``measured``; return errors, a sentence each."""
    async with RoundTrips(environment.settings["DATABASE_URL"]) as proxy:
        return await _measure(environment, proxy, in_flight, measured)


async def _measure(
    environment: BenchEnvironment, proxy: RoundTrips, in_flight: int, measured: Measurements
) -> list[str]:
    await add_products(environment.database, [PRODUCT])
    api = await _listening_api(environment)
    worker = await environment.add_worker(ORDER_WORKER, DATABASE_URL=proxy.url)
    warm_up = _ids("warm-up", max(_SAMPLE, measured.orders // 2))
    print_progress(f"{len(warm_up)} orders to warm up …")
    await _carry_out(environment, warm_up, in_flight)
    await _execute(environment, "VACUUM ANALYZE", "CHECKPOINT")

    print_progress(f"{measured.orders} orders that are measured …")
    order_ids = _ids("measured", measured.orders)
    before = await _snapshot(environment, worker, api)
    await _carry_out(environment, order_ids, in_flight)
    await asyncio.sleep(2)  # until PostgreSQL's sessions have reported what they counted
    _compare(before, await _snapshot(environment, worker, api), measured)

    measured.runs = [await _read_run(environment, order_id) for order_id in order_ids[:_SAMPLE]]
    print_progress(f"{_SAMPLE} orders whose round trips are counted …")
    alone = _ids("alone", _SAMPLE)
    proxy.take()
    await _carry_out(environment, alone, 1)
    measured.round_trips = proxy.take() / len(alone)
    errors = await find_inconsistencies(environment.database)
    errors += await _find_errors(environment, [*warm_up, *order_ids, *alone])

    print_progress("Archiving …")
    await _archive(environment, measured)
    return errors + await find_inconsistencies(environment.database)


def _ids(name: str, orders: int) -> list[str]:
    return [f"{name}-{number}" for number in range(orders)]


async def _listening_api(environment: BenchEnvironment) -> Child:
    """The API, which the stand-ins send their webhooks to."""
    port = free_port()
    api = await environment.add_worker(API, API_PORT=str(port))
    wish = webhook_endpoints(f"http://{HOST}:{port}")
    async with httpx.AsyncClient(base_url=environment.stand_in_url, timeout=30) as http:
        (await http.post("/sandbox/webhooks", json=wish)).raise_for_status()
    return api


async def _carry_out(
    environment: BenchEnvironment, order_ids: Sequence[str], in_flight: int
) -> None:
    """Place and start the orders; wait for their ends, and until all webhooks are delivered."""

    async def one(order_id: str) -> None:
        lines = ((PRODUCT.sku, 1),)
        await environment.orders.place(Basket(order_id, "cus_1", ADA, lines, "pm_card_visa"))
        await environment.start(order_id)
        await environment.orders.result(order_id)

    await _each(order_ids, one, in_flight)
    seen = -1
    while True:
        # No event is left, and none has come for a second.
        [row] = await _query(
            environment,
            "SELECT count(*) AS events, count(*) FILTER (WHERE ended_at IS NULL) AS left"
            " FROM webhook_events",
        )
        if not row["left"] and row["events"] == seen:
            return
        seen = row["events"]
        await asyncio.sleep(1)


async def _each(
    order_ids: Iterable[str], what: Callable[[str], Awaitable[None]], at_once: int
) -> None:
    left = iter(order_ids)

    async def next_ones() -> None:
        for order_id in left:
            await what(order_id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(next_ones())


async def _query(environment: BenchEnvironment, statement: str) -> list[dict[str, Any]]:
    async with environment.database.statement() as connection:
        rows = await connection.execute(text(statement))
        return [dict(row) for row in rows.mappings()]


async def _execute(environment: BenchEnvironment, *statements: str) -> None:
    for statement in statements:
        async with environment.database.statement() as connection:
            await connection.exec_driver_sql(statement)


async def _snapshot(environment: BenchEnvironment, worker: Child, api: Child) -> Snapshot:
    tables = {
        table["name"]: await _table(environment, **table)
        for table in await _query(environment, _TABLES)
    }
    [server] = await _query(environment, _SERVER)
    used = psutil.Process(api.pid).cpu_times()
    return Snapshot(tables, **server, cpu=environment.cpu(worker), api=used.user + used.system)


async def _table(environment: BenchEnvironment, name: str, indexes: int) -> Table:
    [found] = await _query(environment, _ROWS.format(table=name))
    return Table(int(found["rows"]), int(found["heap"]), indexes)


def _compare(before: Snapshot, after: Snapshot, measured: Measurements) -> None:
    orders = measured.orders
    changes = {name: table.per(orders, before.tables[name]) for name, table in after.tables.items()}
    largest = sorted(changes.items(), key=lambda change: change[1].size, reverse=True)
    measured.tables = {name: table for name, table in largest if table.rows}
    measured.wal = (after.wal - before.wal) / orders
    measured.page_images = (after.page_images - before.page_images) / orders
    measured.commits = (after.commits - before.commits) / orders
    measured.cpu = after.cpu.since(before.cpu).per(orders)
    measured.api = (after.api - before.api) / orders


async def _read_run(environment: BenchEnvironment, order_id: str) -> Run:
    run = environment.temporal.get_workflow_handle(workflow_id(order_id))
    info = (await run.describe()).raw_description.workflow_execution_info
    events = [event async for event in run.fetch_history_events()]
    return Run(
        info.history_length,
        info.history_size_bytes,
        info.state_transition_count,
        count_actions(events),
    )


def count_actions(events: Iterable[HistoryEvent]) -> int:
    """The Actions of Temporal Cloud that a history shows: https://docs.temporal.io/cloud/actions.

    Queries, heartbeats and Updates that were refused are in no history.
    """
    actions, markers = 0, set[int]()
    for event in events:
        match event.event_type:
            case (
                EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
                | EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
                | EventType.EVENT_TYPE_TIMER_STARTED
                | EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
                | EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
                | EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
                | EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
            ):
                actions += 1
            case EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
                actions += 2  # the intent and the attempt
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                # Each retry; tries that failed before leave no event of their own.
                actions += event.activity_task_started_event_attributes.attempt - 1
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                # One for all local activities of a workflow task.
                attributes = event.marker_recorded_event_attributes
                markers.add(attributes.workflow_task_completed_event_id)
    return actions + len(markers)


async def _archive(environment: BenchEnvironment, measured: Measurements) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    began = asyncio.get_running_loop().time()
    moved = archive_histories(environment.database, later, later)
    orders = sum([batch.orders async for batch in moved])
    measured.archived_per_second = orders / (asyncio.get_running_loop().time() - began)
    [found] = [table for table in await _query(environment, _TABLES) if table["name"] == _ARCHIVE]
    nothing = Table(0, 0, 0)
    measured.archived = (await _table(environment, **found)).per(orders, nothing)


async def _find_errors(environment: BenchEnvironment, order_ids: list[str]) -> list[str]:
    rows = await _query(environment, "SELECT id, status FROM orders")
    status_of = {row["id"]: Status(row["status"]) for row in rows}
    return [
        f"order {order_id} is {status_of[order_id]}, not completed"
        for order_id in order_ids
        if status_of[order_id] is not Status.COMPLETED
    ]


# -- what is printed -------------------------------------------------------------------------------


def _print(measured: Measurements) -> None:
    tables = measured.tables
    every = Table(
        sum(table.rows for table in tables.values()),
        sum(table.heap for table in tables.values()),
        sum(table.indexes for table in tables.values()),
    )
    archived = {f"{_ARCHIVE}, in place of order_history": measured.archived}
    rows = [
        (name, f"{table.rows:.1f}", *map(_bytes, (table.heap, table.indexes, table.size)))
        for name, table in (tables | {"all": every} | archived).items()
    ]
    title = f"What one order leaves in PostgreSQL, from {measured.orders}"
    print_table(title, ("Table", "Rows", "Their bytes", "Indexes", "Together"), rows)
    print_table("What one order costs", ("What", "Figure"), _costs(measured))
    columns = ("Orders per second", *(f"{rate:,}" for rate in _RATES))
    print_table("What so many orders per second need", columns, list(_needs(measured)))


def _mean(measured: Measurements, of: Callable[[Run], int]) -> float:
    return sum(map(of, measured.runs)) / len(measured.runs)


def _costs(measured: Measurements) -> list[tuple[str, str]]:
    cpu = measured.cpu
    return [
        ("PostgreSQL: write-ahead log", _bytes(measured.wal)),
        ("PostgreSQL: page images in it, after a checkpoint", f"{measured.page_images:.2f}"),
        ("PostgreSQL: transactions", f"{measured.commits:.1f}"),
        ("worker: round trips to PostgreSQL", f"{measured.round_trips:.1f}"),
        ("Temporal: events", f"{_mean(measured, lambda run: run.events):.1f}"),
        ("Temporal: bytes of history", _bytes(_mean(measured, lambda run: run.size))),
        ("Temporal: state transitions", f"{_mean(measured, lambda run: run.transitions):.1f}"),
        ("Temporal Cloud: Actions", f"{_mean(measured, lambda run: run.actions):.1f}"),
        ("CPU: worker", f"{cpu.worker * 1000:.1f} ms"),
        ("CPU: Temporal, on SQLite", f"{cpu.temporal * 1000:.1f} ms"),
        ("CPU: PostgreSQL", f"{cpu.postgres * 1000:.2f} ms"),
        ("CPU: API, for the webhooks", f"{measured.api * 1000:.1f} ms"),
        ("archive: histories per second", f"{measured.archived_per_second:,.0f}"),
    ]


def _needs(measured: Measurements) -> Iterable[tuple[str, ...]]:
    """What the rates need, if they last day and night."""
    history = measured.tables["order_history"].size
    cpu = measured.cpu

    def row(what: str, each: float, show: Callable[[float], str]) -> tuple[str, ...]:
        return (what, *(show(each * rate) for rate in _RATES))

    yield row("worker processes, a core each", cpu.worker / _UTILISATION, _up)
    yield row("API processes for the webhooks", measured.api / _UTILISATION, _up)
    yield row("PostgreSQL: cores", cpu.postgres / _UTILISATION, _up)
    yield row("PostgreSQL: transactions per second", measured.commits, _few)
    yield row("PostgreSQL: write-ahead log per second", measured.wal, _bytes)
    yield row("PostgreSQL: disk per month", measured.kept * _A_MONTH, _bytes)
    yield row(
        "the same with the archive, after 400 days", measured.archived_size * _A_MONTH, _bytes
    )
    yield row("order_history, with the archive at most", history * _A_YEAR_AND_MORE, _bytes)
    transitions = _mean(measured, lambda run: run.transitions)
    yield row("Temporal: state transitions per second", transitions, _few)
    yield row("Temporal: events per second", _mean(measured, lambda run: run.events), _few)
    yield row("Temporal Cloud: APS", _mean(measured, lambda run: run.actions), _few)
    yield row("Stripe: requests per second", _STRIPE_REQUESTS, _few)
    yield row("Resend: requests per second", _MAILS, _few)


def _up(number: float) -> str:
    return f"{-(-number // 1):,.0f}"


def _few(number: float) -> str:
    return f"{number:,.0f}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


if __name__ == "__main__":
    run(app, "bench.capacity")
