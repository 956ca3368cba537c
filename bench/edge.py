"""The throughput of the HTTP edge: `POST /checkout` on a real `python api.py` process, compared
with a route that does nothing.

No worker runs meanwhile: the cost of an order after its checkout is measured separately.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from bench.edge_load import LoadResult, LoadSpec
from bench.environment import API, BASELINE_API, PROJECT_ROOT, BenchEnvironment, Cpu
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.operators.api_keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from durable_orders.store.api_keys import PostgresApiKeyRepository
from sandbox.child import Child, StartError
from sandbox.ports import free_port

CONNECTIONS: Final = 16
#: In turns, so that disturbances of the machine affect both.
_ROUNDS: Final = 2
_ROUND_SECONDS: Final = 8.0
_BASELINE_SECONDS: Final = 2.0
_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class RouteResult:
    """The results of one of the two: all rounds together."""

    asked: int
    refused: int
    seconds: float
    took: list[float]
    cpu: Cpu

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def generator_share(self) -> float:
        """The part of a core that the load generator used: near 1 it was the bottleneck itself."""
        return self.cpu.load / self.seconds


@dataclass(frozen=True)
class EdgeResult:
    """The results of the edge and of the baseline."""

    edge: RouteResult
    baseline: RouteResult


class _MeasuredServer:
    """A running server of one of the two, and its results so far."""

    def __init__(self, environment: BenchEnvironment, process: Child, port: int) -> None:
        self._environment, self._process, self._port = environment, process, port
        self._results: list[LoadResult] = []
        self._cpu: list[Cpu] = []

    async def run_round(
        self, token: Token, order_ids: list[str], seconds: float, *, again: bool
    ) -> int:
        """Send load; return the number of orders that were requested."""
        spec = LoadSpec(self._port, str(token), order_ids, CONNECTIONS, seconds, again)
        before = self._environment.cpu(self._process)
        result = await _generate_load(spec)
        self._results.append(result)
        self._cpu.append(self._environment.cpu(self._process).since(before).with_load(result.cpu))
        return result.asked

    def result(self) -> RouteResult:
        refused = Counter[int]()
        for each in self._results:
            refused.update(each.statuses)
        del refused[202]
        return RouteResult(
            asked=sum(each.asked for each in self._results),
            refused=refused.total(),
            seconds=sum(each.seconds for each in self._results),
            took=[seconds for each in self._results for seconds in each.took],
            cpu=Cpu.total(self._cpu),
        )


async def measure_checkouts(environment: BenchEnvironment, checkouts: int) -> EdgeResult:
    """Check out new orders; those that were requested are added to ``environment.started``."""
    token = await _key(environment, "bench")
    each = checkouts // _ROUNDS + CONNECTIONS
    baseline_seconds = min(_BASELINE_SECONDS, each * _BASELINE_SECONDS / 100)
    async with (
        _served(environment, API) as edge,
        _served(environment, BASELINE_API) as baseline,
    ):
        for _ in range(_ROUNDS):
            order_ids = await environment.place_concurrently(each)
            await baseline.run_round(token, order_ids, baseline_seconds, again=True)
            asked = await edge.run_round(token, order_ids, _ROUND_SECONDS, again=False)
            environment.started += order_ids[:asked]
        return EdgeResult(edge.result(), baseline.result())


async def find_errors(environment: BenchEnvironment, measured: EdgeResult) -> list[str]:
    """Errors, a sentence each: requests not accepted, and orders without exactly one run."""
    found = [
        f"{result.refused} requests of {result.asked} were not accepted by {what}"
        for what, result in (("the edge", measured.edge), ("the empty route", measured.baseline))
        if result.refused
    ]
    wanted = Counter(map(workflow_id, environment.started))
    runs = await _runs(environment, at_least=wanted.total())
    return found + [
        f"{id_} has {runs[id_]} runs, not {wanted[id_]}"
        for id_ in sorted(wanted | runs)
        if runs[id_] != wanted[id_]
    ]


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
async def _served(environment: BenchEnvironment, kind: str) -> AsyncIterator[_MeasuredServer]:
    port = free_port()
    # With limits out of the way, which would be measured otherwise.
    settings = {
        "API_PORT": str(port),
        "API_RATE_PER_MINUTE": "1000000",
    }
    process = await environment.add_worker(kind, **settings)
    try:
        yield _MeasuredServer(environment, process, port)
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
