"""The environment of the benchmarks: a sandbox, workers and servers, each as a process.

The load generator is this process. So the CPU time of each part can be measured separately, and a
worker can be killed alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from dotenv import dotenv_values
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from durable_orders.clients.connection import connect
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.store import database as store
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import Product
from sandbox.child import Child, StartError
from sandbox.ports import HOST

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
_TIMEOUT: Final = 60.0

ORDER_WORKER: Final = "orders"
BASELINE_WORKER: Final = "baseline"
API: Final = "api"
BASELINE_API: Final = "baseline-api"
_COMMANDS: Final = {
    ORDER_WORKER: [sys.executable, str(PROJECT_ROOT / "worker.py")],
    BASELINE_WORKER: [sys.executable, "-m", "bench.baseline_worker"],
    API: [sys.executable, str(PROJECT_ROOT / "api.py")],
    BASELINE_API: [sys.executable, "-m", "bench.baseline_api"],
}

ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
#: More of it than any benchmark orders.
PRODUCT: Final = Product("BENCH", "Sticker sheet", Money(3_50, "EUR"), 10_000_000)

_numbers = count(1)


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time per process."""

    worker: float
    stand_in: float
    temporal: float
    postgres: float
    load: float

    def since(self, before: Cpu) -> Cpu:
        return Cpu(
            *(now - then for now, then in zip(_seconds(self), _seconds(before), strict=True))
        )

    def with_load(self, seconds: float) -> Cpu:
        """The same with the CPU time of another load generator than this process."""
        return replace(self, load=seconds)

    @classmethod
    def total(cls, all_of_them: Iterable[Cpu]) -> Cpu:
        return cls(*map(sum, zip(*map(_seconds, all_of_them), strict=True)))

    def per(self, runs: int) -> Cpu:
        return Cpu(*(seconds / max(runs, 1) for seconds in _seconds(self)))


class BenchEnvironment:
    """A running sandbox with workers and servers."""

    def __init__(self, directory: Path, sandbox: Child, settings: dict[str, str]) -> None:
        self.directory = directory
        self.settings = settings
        self._sandbox = sandbox
        self._workers: list[Child] = []
        #: Every order that was started, to be checked at the end.
        self.started: list[str] = []
        self.temporal: Client
        self.database: Database
        self.orders: OrderClient

    @property
    def stand_in_url(self) -> str:
        return self.settings["STRIPE_API_BASE"]

    async def add_worker(self, kind: str, **settings: str) -> Child:
        """Start one more worker or server, wait until it is ready; ``settings`` override ours."""
        directory = self.directory / f"{kind}-{next(_numbers)}"
        worker = Child(f"The process for {kind}", directory, stop_timeout=30)
        self._workers.append(worker)
        directory.mkdir()
        # In a directory without .env, and without the user's TEMPORAL_*.
        inherited = {
            key: text for key, text in os.environ.items() if not key.startswith("TEMPORAL_")
        }
        merged = {**inherited, **self.settings, **settings, "PYTHONPATH": str(PROJECT_ROOT)}
        await worker.start(_COMMANDS[kind], env=merged, cwd=directory)
        await wait_until(lambda: says_ready(worker), worker)
        return worker

    async def kill(self, identity: str) -> None:
        """Send SIGKILL to the worker with this identity in Temporal."""
        [victim] = [worker for worker in self._workers if identity_of(worker) == identity]
        os.kill(victim.pid, signal.SIGKILL)
        await victim.ended()
        self._workers.remove(victim)

    async def stop(self, worker: Child) -> None:
        """Stop it gracefully."""
        self._workers.remove(worker)
        await worker.stop()

    def cpu(self, worker: Child) -> Cpu:
        """The CPU time of each part so far."""
        sandbox = psutil.Process(self._sandbox.pid)
        by_name = {"temporal": 0.0, "postgres": 0.0}
        for child in sandbox.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                name = child.name()
                by_name[name] = by_name.get(name, 0.0) + cpu_seconds(child)
        return Cpu(
            worker=cpu_seconds(psutil.Process(worker.pid)),
            stand_in=cpu_seconds(sandbox),
            temporal=by_name["temporal"],
            postgres=by_name["postgres"],
            load=cpu_seconds(psutil.Process()),
        )

    async def place(self, orders: int) -> list[str]:
        """Place orders without starting them; their ids."""
        return [await self._place_one() for _ in range(orders)]

    async def place_concurrently(self, orders: int) -> list[str]:
        """The same, ten at a time; the ids are unordered."""
        tenths = (self.place(len(range(first, orders, 10))) for first in range(10))
        return [order_id for placed in await asyncio.gather(*tenths) for order_id in placed]

    async def start(self, order_id: str) -> None:
        """Start the run of an order."""
        self.started.append(order_id)
        await self.orders.start(order_id)

    async def stop_workers(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _place_one(self) -> str:
        order_id = f"bench-{next(_numbers)}"
        sticker = (("STICKER", 1),)  # ten thousand are in stock
        await self.orders.place(Basket(order_id, "cus_1", ADA, sticker, "pm_card_visa"))
        return order_id


def identity_of(worker: Child) -> str:
    """The SDK's default identity of a worker process."""
    return f"{worker.pid}@{socket.gethostname()}"


@contextlib.asynccontextmanager
async def open_environment(directory: Path) -> AsyncIterator[BenchEnvironment]:
    """Start a sandbox in an empty directory; all processes are ended at the end."""
    sandbox = Child("The sandbox", directory / "sandbox-process", stop_timeout=30)
    state = directory / "state"
    command = [sys.executable, "-m", "sandbox", "--state", str(state)]
    command += ["--env-file", str(directory / "settings")]
    for port in ("--temporal-port", "--ui-port", "--world-port"):
        command += [port, "0"]
    try:
        await sandbox.start(command, cwd=PROJECT_ROOT)
        await wait_until((state / "env").exists, sandbox)
        found = dotenv_values(state / "env", interpolate=False)
        environment = BenchEnvironment(
            directory, sandbox, {name: text or "" for name, text in found.items()}
        )
        try:
            async with _connected(environment):
                yield environment
        finally:
            await environment.stop_workers()
    finally:
        await sandbox.stop()


@contextlib.asynccontextmanager
async def _connected(environment: BenchEnvironment) -> AsyncIterator[None]:
    address = environment.settings["TEMPORAL_ADDRESS"]
    if not address.startswith(f"{HOST}:"):
        raise StartError(f"Load is for this machine alone, and Temporal is at {address}.")
    profile = ClientConfigProfile(
        address=address, namespace=environment.settings["TEMPORAL_NAMESPACE"]
    )
    environment.temporal = await connect(profile)
    environment.database = store.connect(environment.settings["DATABASE_URL"], pool_size=20)
    try:
        book = PostgresOrderRepository(environment.database)
        environment.orders = OrderClient(environment.temporal, book)
        yield
    finally:
        await environment.database.close()


async def wait_until(condition: Callable[[], bool], process: Child) -> None:
    """Wait for the condition; raise when the process ends, or after a minute."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            while not condition():
                if not process.running:
                    raise process.died()
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise StartError(f"{process.name} is not ready.{process.log_tail()}") from None


def says_ready(process: Child) -> bool:
    """Whether a worker or server has said "ready", and not that an address is in use already."""
    return re.search(rb"\bready\b", process.log.read_bytes()) is not None


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time that a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _seconds(cpu: Cpu) -> Sequence[float]:
    return (cpu.worker, cpu.stand_in, cpu.temporal, cpu.postgres, cpu.load)
