"""Where it is measured: the sandbox, workers and servers, each a process of its own.

The load generator is this process. So the CPU time of each part can be told apart, and a worker can
be killed without harm to anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
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

import store.database
from durable_orders.clients.connection import connect
from durable_orders.clients.orders import OrderClient
from orders.order import Basket, Recipient
from sandbox.child import Child, StartError
from sandbox.ports import HOST
from store.database import Database
from store.orders import PostgresOrderBook

CHECKOUT: Final = Path(__file__).resolve().parent.parent
_PATIENCE: Final = 60.0

ORDERS: Final = "orders"
YARDSTICK: Final = "yardstick"
API: Final = "api"
NOTHING: Final = "nothing"
_COMMANDS: Final = {
    ORDERS: [sys.executable, str(CHECKOUT / "worker.py")],
    YARDSTICK: [sys.executable, "-m", "bench.yardstick_worker"],
    API: [sys.executable, str(CHECKOUT / "api.py")],
    NOTHING: [sys.executable, "-m", "bench.nothing_api"],
}

_numbers = count(1)


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time, by who used them."""

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
        """The same, with another load generator than this process."""
        return replace(self, load=seconds)

    @classmethod
    def total(cls, all_of_them: Iterable[Cpu]) -> Cpu:
        return cls(*map(sum, zip(*map(_seconds, all_of_them), strict=True)))

    def per(self, runs: int) -> Cpu:
        return Cpu(*(seconds / max(runs, 1) for seconds in _seconds(self)))


class Stage:
    """A running sandbox, with as many workers as asked for."""

    def __init__(self, directory: Path, sandbox: Child, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self._sandbox = sandbox
        self._workers: list[Child] = []
        #: Every order that was started, to be added up at the end.
        self.started: list[str] = []
        self.temporal: Client
        self.database: Database
        self.orders: OrderClient

    @property
    def world_url(self) -> str:
        return self.environment["STRIPE_API_BASE"]

    async def add_worker(self, kind: str, **settings: str) -> Child:
        """Start one more worker or server, and return once it works. ``settings`` override ours."""
        directory = self.directory / f"{kind}-{next(_numbers)}"
        worker = Child(f"The process for {kind}", directory, patience=30)
        self._workers.append(worker)
        directory.mkdir()
        # Started where there is no .env, and only with our own TEMPORAL_*.
        rest = {key: text for key, text in os.environ.items() if not key.startswith("TEMPORAL_")}
        ours = {**rest, **self.environment, **settings, "PYTHONPATH": str(CHECKOUT)}
        await worker.start(_COMMANDS[kind], env=ours, cwd=directory)
        await _until(lambda: b"ready" in worker.log.read_bytes(), worker)
        return worker

    async def kill(self, identity: str) -> None:
        """SIGKILL for the worker that Temporal knows by this name."""
        [victim] = [worker for worker in self._workers if identity_of(worker) == identity]
        os.kill(victim.pid, signal.SIGKILL)
        await victim.ended()
        self._workers.remove(victim)

    async def stop(self, worker: Child) -> None:
        """Have it end in order."""
        self._workers.remove(worker)
        await worker.stop()

    def cpu(self, worker: Child) -> Cpu:
        """What each part has used so far."""
        sandbox = psutil.Process(self._sandbox.pid)
        by_name = {"temporal": 0.0, "postgres": 0.0}
        for child in sandbox.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                name = child.name()
                by_name[name] = by_name.get(name, 0.0) + _used(child)
        return Cpu(
            worker=_used_by_family(psutil.Process(worker.pid)),
            stand_in=_used(sandbox),
            temporal=by_name["temporal"],
            postgres=by_name["postgres"],
            load=_used(psutil.Process()),
        )

    async def place(self, orders: int) -> list[str]:
        """So many orders, placed and not started; their ids."""
        return [await self._place_one() for _ in range(orders)]

    async def place_at_once(self, orders: int) -> list[str]:
        """The same, many at a time; in no order."""
        tenths = (self.place(len(range(first, orders, 10))) for first in range(10))
        return [order_id for placed in await asyncio.gather(*tenths) for order_id in placed]

    async def start(self, order_id: str) -> None:
        """Have the order carried, by ``OrderClient.start``."""
        self.started.append(order_id)
        await self.orders.start(order_id)

    async def stop_workers(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _place_one(self) -> str:
        order_id = f"bench-{next(_numbers)}"
        recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
        sticker = (("STICKER", 1),)  # the catalogue has ten thousand of them
        await self.orders.place(Basket(order_id, "cus_1", recipient, sticker, "pm_card_visa"))
        return order_id


def identity_of(worker: Child) -> str:
    """The SDK's name for a worker process."""
    return f"{worker.pid}@{socket.gethostname()}"


@contextlib.asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """Set up a stage in an empty directory; every process is ended after it."""
    sandbox = Child("The sandbox", directory / "sandbox-process", patience=30)
    state = directory / "state"
    command = [sys.executable, "-m", "sandbox", "--state", str(state)]
    command += ["--env-file", str(directory / "settings")]
    for port in ("--temporal-port", "--ui-port", "--world-port"):
        command += [port, "0"]
    try:
        await sandbox.start(command, cwd=CHECKOUT)
        await _until((state / "env").exists, sandbox)
        found = dotenv_values(state / "env", interpolate=False)
        set_up = Stage(directory, sandbox, {name: text or "" for name, text in found.items()})
        try:
            async with _connected(set_up):
                yield set_up
        finally:
            await set_up.stop_workers()
    finally:
        await sandbox.stop()


@contextlib.asynccontextmanager
async def _connected(set_up: Stage) -> AsyncIterator[None]:
    address = set_up.environment["TEMPORAL_ADDRESS"]
    if not address.startswith(f"{HOST}:"):
        raise StartError(f"Load is for this machine alone, and Temporal is at {address}.")
    profile = ClientConfigProfile(
        address=address, namespace=set_up.environment["TEMPORAL_NAMESPACE"]
    )
    set_up.temporal = await connect(profile)
    set_up.database = store.database.connect(set_up.environment["DATABASE_URL"], pool_size=20)
    try:
        book = PostgresOrderBook(set_up.database)
        set_up.orders = OrderClient(set_up.temporal, book)
        yield
    finally:
        await set_up.database.close()


async def _until(condition: Callable[[], bool], process: Child) -> None:
    """Return once the condition holds; raise when the process ends, or after a minute."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                if not process.running:
                    raise process.died()
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise StartError(f"{process.name} is not ready.{process.last_words()}") from None


def _used_by_family(process: psutil.Process) -> float:
    return sum(map(_used, [process, *process.children(recursive=True)]))


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _seconds(cpu: Cpu) -> Sequence[float]:
    return (cpu.worker, cpu.stand_in, cpu.temporal, cpu.postgres, cpu.load)
