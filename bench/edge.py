"""The throughput of the HTTP API: `POST /checkout`, `GET /orders/{id}` and `GET /orders` on a real
`python api.py` process, compared with a route that does nothing.

No worker runs meanwhile: the cost of an order after its checkout is measured separately. The orders
that are read were completed before, and have everything that an ordinary order has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import statistics
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from bench.edge_load import LoadResult, LoadSpec, Route
from bench.edge_load import run as run_load
from bench.environment import (
    API,
    BASELINE_API,
    ORDER_WORKER,
    PROJECT_ROOT,
    BenchEnvironment,
    Cpu,
)
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.operators.api_keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from durable_orders.store.api_keys import PostgresApiKeyRepository
from sandbox.child import Child, StartError
from sandbox.ports import free_port
from sandbox.round_trips import RoundTrips

CONNECTIONS: Final = 16
#: In turns, so that disturbances of the machine affect both.
_ROUNDS: Final = 2
_ROUND_SECONDS: Final = 8.0
_BASELINE_SECONDS: Final = 2.0
_TIMEOUT: Final = 60.0
_READ_SECONDS: Final = 4.0
#: Requests before those that are measured: connections are opened, statements prepared.
_WARM_UP: Final = 10 * CONNECTIONS
#: Orders that are completed, to be read: as many as a page has.
_COMPLETED: Final = 50
#: Requests whose round trips are counted.
_COUNTED: Final = 15
_OK: Final = frozenset({200, 202})


@dataclass(frozen=True)
class RouteResult:
    """The results of one of the two: all rounds together."""

    asked: int
    refused: int
    seconds: float
    took: list[float]
    cpu: Cpu
    #: To PostgreSQL, of one request. What is looked up every few seconds is not counted.
    round_trips: int = 0

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def generator_share(self) -> float:
        """The part of a core that the load generator used: near 1 it was the bottleneck itself."""
        return self.cpu.load / self.seconds


@dataclass(frozen=True)
class EdgeResult:
    """The results of `POST /checkout` at the edge, of the baseline, and of reading orders."""

    edge: RouteResult
    baseline: RouteResult
    reads: dict[Route, RouteResult]


class _MeasuredServer:
    """A running server of one of the two, and its results so far on one route."""

    def __init__(
        self, environment: BenchEnvironment, process: Child, port: int, route: Route
    ) -> None:
        self._environment, self._process, self.port = environment, process, port
        self._route = route
        self._results: list[LoadResult] = []
        self._cpu: list[Cpu] = []

    def at(self, route: Route) -> _MeasuredServer:
        """The same server, with results on another route."""
        return _MeasuredServer(self._environment, self._process, self.port, route)

    async def warm_up(self, token: Token, order_ids: list[str]) -> int:
        """Send load that is not measured; return the number of orders that were requested."""
        return (await _generate_load(self._spec(token, order_ids, _ROUND_SECONDS))).asked

    async def run_round(
        self, token: Token, order_ids: list[str], seconds: float, *, again: bool
    ) -> int:
        """Send load; return the number of orders that were requested."""
        spec = self._spec(token, order_ids, seconds, again=again)
        before = self._environment.cpu(self._process)
        result = await _generate_load(spec)
        self._results.append(result)
        self._cpu.append(self._environment.cpu(self._process).since(before).with_load(result.cpu))
        return result.asked

    def _spec(
        self, token: Token, order_ids: list[str], seconds: float, *, again: bool = False
    ) -> LoadSpec:
        return LoadSpec(self.port, str(token), order_ids, CONNECTIONS, seconds, again, self._route)

    def result(self, round_trips: int = 0) -> RouteResult:
        refused = Counter[int]()
        for each in self._results:
            refused.update(each.statuses)
        for status in _OK:
            del refused[status]
        return RouteResult(
            asked=sum(each.asked for each in self._results),
            refused=refused.total(),
            seconds=sum(each.seconds for each in self._results),
            took=[seconds for each in self._results for seconds in each.took],
            cpu=Cpu.total(self._cpu),
            round_trips=round_trips,
        )


async def measure_checkouts(environment: BenchEnvironment, checkouts: int) -> EdgeResult:
    """Check out new orders and read completed ones; those that were requested are added to
    ``environment.started``.
    """
    token = await _key(environment, "bench")
    completed = await _complete_orders(environment, _COMPLETED)
    each = checkouts // _ROUNDS + CONNECTIONS
    baseline_seconds = min(_BASELINE_SECONDS, each * _BASELINE_SECONDS / 100)
    read_seconds = min(_READ_SECONDS, each * _READ_SECONDS / 100)
    round_trips = await _count_round_trips(environment, token, completed)
    async with (
        _served(environment, API) as edge,
        _served(environment, BASELINE_API) as baseline,
    ):
        first = await environment.place_concurrently(_WARM_UP)
        environment.started += first[: await edge.warm_up(token, first)]
        for _ in range(_ROUNDS):
            order_ids = await environment.place_concurrently(each)
            await baseline.run_round(token, order_ids, baseline_seconds, again=True)
            asked = await edge.run_round(token, order_ids, _ROUND_SECONDS, again=False)
            environment.started += order_ids[:asked]
        reads: dict[Route, RouteResult] = {}
        for route in (Route.ORDER, Route.ORDERS):
            reading = edge.at(route)
            await reading.warm_up(token, completed)
            await reading.run_round(token, completed, read_seconds, again=True)
            reads[route] = reading.result(round_trips[route])
        return EdgeResult(edge.result(round_trips[Route.CHECKOUT]), baseline.result(), reads)


async def find_errors(environment: BenchEnvironment, measured: EdgeResult) -> list[str]:
    """Errors, a sentence each: requests not accepted, and orders without exactly one run."""
    routes: dict[str, RouteResult] = {
        "the edge": measured.edge,
        "the empty route": measured.baseline,
    }
    routes |= {str(route): read for route, read in measured.reads.items()}
    found = [
        f"{result.refused} requests of {result.asked} were not accepted by {what}"
        for what, result in routes.items()
        if result.refused
    ]
    wanted = Counter(map(workflow_id, environment.started))
    runs = await _runs(environment, at_least=wanted.total())
    return found + [
        f"{id_} has {runs[id_]} runs, not {wanted[id_]}"
        for id_ in sorted(wanted | runs)
        if runs[id_] != wanted[id_]
    ]


async def _complete_orders(environment: BenchEnvironment, orders: int) -> list[str]:
    """The ids of so many completed orders; the worker that completed them is stopped."""
    order_ids = await environment.place(orders)
    worker = await environment.add_worker(ORDER_WORKER)
    try:
        for order_id in order_ids:
            await environment.start(order_id)
        await asyncio.gather(*map(environment.orders.result, order_ids))
    finally:
        await environment.stop(worker)
    return order_ids


async def _count_round_trips(
    environment: BenchEnvironment, token: Token, completed: list[str]
) -> dict[Route, int]:
    """The round trips to PostgreSQL of one request of each route, one request at a time."""
    new = await environment.place(_COUNTED)
    environment.started += new
    found = {}
    async with (
        RoundTrips(environment.settings["DATABASE_URL"]) as proxy,
        _served(environment, API, DATABASE_URL=proxy.url) as edge,
    ):
        for route in Route:
            counts = []
            for order_id in new if route is Route.CHECKOUT else completed[:_COUNTED]:
                before = proxy.round_trips
                await run_load(LoadSpec(edge.port, str(token), [order_id], 1, 0, route=route))
                counts.append(proxy.round_trips - before)
            found[route] = statistics.mode(counts)
    return found


async def _runs(environment: BenchEnvironment, at_least: int) -> Counter[str]:
    """The number of runs of each workflow, once Temporal lists at least ``at_least``."""
    runs = Counter[str]()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT):
            while runs.total() < at_least:
                runs = Counter([run.id async for run in environment.temporal.list_workflows()])
                await asyncio.sleep(0.1)
    return runs


@contextlib.asynccontextmanager
async def _served(
    environment: BenchEnvironment, kind: str, **others: str
) -> AsyncIterator[_MeasuredServer]:
    port = free_port()
    # With limits out of the way, which would be measured otherwise.
    settings = {
        "API_PORT": str(port),
        "API_RATE_PER_MINUTE": "1000000",
        **others,
    }
    process = await environment.add_worker(kind, **settings)
    try:
        yield _MeasuredServer(environment, process, port, Route.CHECKOUT)
    finally:
        await environment.stop(process)


async def _generate_load(spec: LoadSpec) -> LoadResult:
    """Run the load generator as a process and return its result; it is ended with this task."""
    generator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.edge_load"),
        cwd=PROJECT_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C goes to this process, which ends it
    )
    try:
        output, _ = await generator.communicate(json.dumps(asdict(spec)).encode())
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
    if generator.returncode:
        raise StartError("The load generator failed: its last words are above.")
    return LoadResult.read(output)


async def _key(environment: BenchEnvironment, name: str) -> Token:
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, name, Scope.SHOP, datetime.now(UTC), token.digest)
    await PostgresApiKeyRepository(environment.database).add(key)
    return token
