"""The systems that are compared, and the servers under all of them: each a process.

One Temporal server, one PostgreSQL server and one process of stand-ins serve every system; each
system has a database of its own, and workers of its own while it is measured. Another checkout of
this project is a system like the others, in a namespace of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import asyncpg  # type: ignore[import-untyped]
import httpx
import psutil  # type: ignore[import-untyped]
from temporalio.client import Client

from bench.environment import PROJECT_ROOT, cpu_seconds, says_ready, wait_until
from bench.yardsticks.steps import SKU, TABLES
from sandbox.child import Child, StartError
from sandbox.env_file import settings
from sandbox.ports import HOST, free_port
from sandbox.postgres import PostgresServer
from sandbox.temporal_server import NAMESPACE, TemporalServer

OURS: Final = "ours"
CHECKOUT: Final = "checkout"
SEED: Final = "seed"
DBOS: Final = "dbos"
EMPTY: Final = "empty"

_TO_START: Final = 60.0
_TO_STOP: Final = 30.0
_numbers = count(1)


@dataclass(frozen=True)
class System:
    """One way to process an order; ``checkout`` is of ours, and of another version of ours."""

    name: str
    checkout: Path | None = None

    @property
    def driver(self) -> str:
        return OURS if self.checkout is not None else self.name

    @property
    def namespace(self) -> str:
        return self.name if self.name == CHECKOUT else NAMESPACE

    def worker_command(self) -> list[str]:
        if self.checkout is not None:
            return [sys.executable, str(self.checkout / "worker.py")]
        if self.name == DBOS:
            return [sys.executable, "-m", "bench.yardsticks.dbos_worker"]
        return [sys.executable, "-m", "bench.yardsticks.temporal_worker", self.name]


def systems(names: Iterable[str], checkout: Path | None) -> list[System]:
    """The systems of these names, in this order. Raises ``StartError`` for one that is not here."""
    found = []
    for name in names:
        if name == CHECKOUT and checkout is None:
            raise StartError("Which other checkout? Name its folder with --checkout.")
        if name == DBOS and find_spec("dbos") is None:
            raise StartError("DBOS is not installed: `make bench` installs it.")
        path = {OURS: PROJECT_ROOT, CHECKOUT: checkout}.get(name)
        if path is not None and not (path / "worker.py").exists():
            raise StartError(f"{path} is no checkout of this project: it has no worker.py.")
        found.append(System(name, path and path.resolve()))
    return found


@dataclass(frozen=True)
class OrderCpu:
    """Seconds of CPU time of each part."""

    server: float = 0.0
    workers: float = 0.0
    postgres: float = 0.0
    api: float = 0.0
    stand_ins: float = 0.0
    load: float = 0.0

    @property
    def engine(self) -> float:
        """What processing an order costs: server, workers and database."""
        return self.server + self.workers + self.postgres

    def since(self, before: OrderCpu) -> OrderCpu:
        return OrderCpu(
            *(getattr(self, each.name) - getattr(before, each.name) for each in fields(self))
        )

    def per(self, runs: int) -> OrderCpu:
        return OrderCpu(*(getattr(self, each.name) / max(runs, 1) for each in fields(self)))


class Generator:
    """A running load generator."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log

    @classmethod
    @asynccontextmanager
    async def running(
        cls, system: System, environment: dict[str, str], log: Path
    ) -> AsyncIterator[Self]:
        command = [sys.executable, "-m", "bench.generator", system.driver]
        command += [f"bench-{system.name}-{next(_numbers)}"]
        command += [str(system.checkout)] if system.checkout is not None else []
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=2**24,
                start_new_session=True,  # Ctrl-C goes to this process, which ends it
            )
        try:
            yield cls(process, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """Have it carry out a command. Raises ``StartError`` when it fails."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        assert self._process.stdout is not None  # noqa: S101  the same
        self._process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            words = await asyncio.to_thread(self._log.read_text, errors="replace")
            raise StartError("The load generator failed. Its last words:\n" + words[-2_000:])
        found: dict[str, Any] = json.loads(answer)
        return found

    async def place(self, runs: int) -> list[str]:
        ids: list[str] = (await self.ask("place", runs=runs))["ids"]
        return ids


class Running:
    """A system with its workers, its API where it has one, and its load generator."""

    def __init__(
        self,
        system: System,
        servers: Servers,
        workers: list[Child],
        api: Child | None,
        generator: Generator,
    ) -> None:
        self.system = system
        self.generator = generator
        self._servers, self._workers, self._api = servers, workers, api

    def cpu(self) -> OrderCpu:
        """The CPU time of each part so far."""
        return OrderCpu(
            server=_cpu_of(self._servers.temporal.child),
            workers=sum(map(_cpu_of, self._workers)),
            postgres=_cpu_of(self._servers.postgres.child, family=True),
            api=_cpu_of(self._api) if self._api else 0.0,
            stand_ins=_cpu_of(self._servers.stand_ins),
            load=cpu_seconds(psutil.Process(self.generator.pid)),
        )

    async def refused(self) -> list[str]:
        """Errors of the API: webhooks that it did not accept."""
        if self._api is None:
            return []
        refused = (await self._servers.books("/webhooks"))["refused"]
        return [f"{refused} webhooks were not accepted"] if refused else []


class Servers:
    """The servers, in an empty directory: ``async with Servers(directory) as servers``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.temporal = TemporalServer(directory / "temporal", namespaces=[CHECKOUT])
        self.postgres = PostgresServer(directory / "postgres")
        self.stand_ins = Child("The bench's stand-ins", directory / "stand-ins")
        self.stand_in_url = ""
        self._databases: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.temporal)
            await self._stack.enter_async_context(self.postgres)
            self._stack.push_async_callback(self.stand_ins.stop)
            await self._start(
                self.stand_ins,
                [sys.executable, "-m", "bench.stand_ins"],
                _environment(),
            )
            self.stand_in_url = f"http://{HOST}:{_port_of(self.stand_ins)}"
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def prepare(self, system: System) -> None:
        """Create the system's database, with enough in stock."""
        if system.name == EMPTY:
            return
        url = await self.postgres.create_database(f"bench_{system.name}")
        self._databases[system.name] = url
        if system.checkout is not None:
            for command in ("migrate", "seed"):
                await self._migrate(system.checkout, command, url)
        statement = f"UPDATE products SET on_hand = 1000000 WHERE sku = '{SKU}'"  # noqa: S608
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement if system.checkout is not None else TABLES)
        finally:
            await connection.close()

    def database_url(self, system: System) -> str:
        """Empty for a system without a database."""
        return self._databases.get(system.name, "")

    async def client(self, system: System) -> Client:
        """A client of the system's namespace."""
        return await Client.connect(self.temporal.address, namespace=system.namespace)

    async def control(self, **settings: Any) -> None:
        """Change the settings of the stand-ins."""
        async with httpx.AsyncClient(base_url=self.stand_in_url) as http:
            (await http.post("/control", json=settings)).raise_for_status()

    async def books(self, path: str) -> Any:
        """What the stand-ins say at this path."""
        async with httpx.AsyncClient(base_url=self.stand_in_url, timeout=60) as http:
            return (await http.get(path)).raise_for_status().json()

    @asynccontextmanager
    async def running(
        self,
        system: System,
        workers: int,
        *,
        webhooks: bool = False,
        database_urls: dict[str, str] | None = None,
    ) -> AsyncIterator[Running]:
        """Run the system. ``webhooks``: an API of it gets Stripe's. ``database_urls``: where its
        "worker", its "api" and its "client" find the database, if not directly.
        """
        urls = database_urls or {}
        ports = []
        async with AsyncExitStack() as stack:
            started = []
            for _ in range(workers):  # one after another: the first one may have tables to create
                child = self._child(system, "worker", stack)
                environment = self._environment(system, urls.get("worker"))
                await self._start(child, system.worker_command(), environment)
                started.append(child)
                ports += [_port_of(child)] if system.name == DBOS else []
            api = None
            if webhooks and system.checkout is not None:
                api = self._child(system, "api", stack)
                api_port = str(free_port())
                await self._start(
                    api,
                    [sys.executable, str(system.checkout / "api.py")],
                    self._environment(system, urls.get("api"), API_PORT=api_port),
                )
                await self.control(webhooks=f"http://{HOST}:{api_port}/webhooks/stripe")
                stack.push_async_callback(self.control, webhooks="")
            environment = self._environment(
                system, urls.get("client"), DBOS_WORKER_PORTS=",".join(ports)
            )
            log = self._directory / f"generator-{next(_numbers)}.log"
            generator = await stack.enter_async_context(Generator.running(system, environment, log))
            yield Running(system, self, started, api, generator)

    def _child(self, system: System, what: str, stack: AsyncExitStack) -> Child:
        child = Child(
            f"The {what} of {system.name}",
            self._directory / f"{system.name}-{what}-{next(_numbers)}",
            stop_timeout=_TO_STOP,
        )
        stack.push_async_callback(child.stop)
        return child

    async def _start(self, child: Child, command: list[str], environment: dict[str, str]) -> None:
        # In a directory without .env.
        child.log.parent.mkdir(parents=True, exist_ok=True)
        await child.start(command, env=environment, cwd=child.log.parent)
        await wait_until(lambda: says_ready(child), child)

    async def _migrate(self, checkout: Path, command: str, database_url: str) -> None:
        child = Child(
            f"`store {command}` in {checkout}", self._directory / f"{checkout.name}-store"
        )
        environment = _environment(DATABASE_URL=database_url, PYTHONPATH=str(checkout))
        try:
            child.log.parent.mkdir(exist_ok=True)
            program = [sys.executable, str(checkout / "client.py"), "store", command]
            await child.start(program, env=environment, cwd=child.log.parent)
            async with asyncio.timeout(_TO_START):
                await child.ended()
            if child.exit_code:
                raise StartError(f"{child.name} failed.{child.log_tail(20)}")
        finally:
            await child.stop()

    def _environment(self, system: System, database_url: str | None, **more: str) -> dict[str, str]:
        """What a process of the system is told."""
        own = settings(
            temporal_address=self.temporal.address,
            namespace=system.namespace,
            ui_url=self.temporal.ui_url,
            database_url=database_url or self.database_url(system),
            stand_in_url=self.stand_in_url,
        )
        checkout = str(system.checkout or PROJECT_ROOT)
        return _environment(**own, PYTHONPATH=checkout, **more)


def _environment(**settings: str) -> dict[str, str]:
    """Ours without the user's TEMPORAL_*, and with these settings."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("TEMPORAL_")}
    return {**inherited, "PYTHONPATH": str(PROJECT_ROOT), **settings}


def _port_of(child: Child) -> str:
    """The port that a process has printed."""
    return child.log.read_text().partition("ready at ")[2].split()[0]


def _cpu_of(child: Child, *, family: bool = False) -> float:
    """CPU time of a process; with ``family`` also of its children, those that ended included."""
    process = psutil.Process(child.pid)
    used = cpu_seconds(process)
    if family:
        times = process.cpu_times()
        used += float(times.children_user + times.children_system)
        for member in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                used += cpu_seconds(member)
    return used
