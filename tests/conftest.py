"""Real servers for the tests that ask for them: one of each a session, one database a module."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import lru_cache, partial
from itertools import count
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from temporalio.client import Client
from temporalio.service import GrpcCompression
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, _runner

from sandbox.postgres import PostgresServer
from sandbox.temporal_server import TemporalServer
from store.database import Database, connect
from store.migrations import migrate
from tests.groups import Groups, turn
from tests.nursery import Nursery, open_nursery
from tests.prefork import fork_workers
from workflows import policies

# Nearly everything here speaks plain HTTP to this machine, but every HTTP client, of the tests' and
# of the processes they start, would first load the certificates of the world: a tenth of a second
# each. Stripe's SDK brings its own and goes on using them.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = tempfile.gettempdir()

# Each of the test processes has servers beside it: what each would do in parallel, they do already.
# They do not live long enough to have much garbage.
os.environ.setdefault("GOMAXPROCS", "1")
os.environ.setdefault("GOGC", "300")

# As connection.py does it.
Client.connect.__kwdefaults__["grpc_compression"] = GrpcCompression.NONE  # type: ignore[index]

# A local activity that a test holds is over after a quarter of the usual time.
policies.LOCAL["schedule_to_close_timeout"] = timedelta(seconds=2)

# Every worker tries its workflows in the sandbox when it is made. Hundreds are made here, of the
# same three.
_try, _tried = SandboxedWorkflowRunner.prepare_workflow, set[type]()


def _try_once(runner: SandboxedWorkflowRunner, workflow: Any) -> None:
    if workflow.cls not in _tried:
        _try(runner, workflow)
        _tried.add(workflow.cls)


SandboxedWorkflowRunner.prepare_workflow = _try_once  # type: ignore[method-assign, assignment]

# The sandbox runs the same five lines of text dozens of times per order: compiled once, they are a
# tenth less of a test's work.
_compiled = lru_cache(partial(compile, filename="<string>", mode="exec"))


def _exec(code: str, globals_: dict[str, Any], locals_: dict[str, Any]) -> None:
    exec(_compiled(code), globals_, locals_)  # noqa: S102 - as the SDK does


_runner.exec = _exec  # type: ignore[attr-defined]

_TEMPLATE = "migrated"
_numbers = count(1)


class Postgres:
    """A running server that hands out databases, empty or migrated."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def empty(self) -> str:
        """The address of a new, empty database."""
        return await self._server.create_database(f"empty_{next(_numbers)}")

    async def migrated(self) -> str:
        """The address of a new database with our tables: a copy, so that it takes no migration."""
        name = f"test_{next(_numbers)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        return self._server.url_of(name)

    async def make_template(self) -> None:
        database = connect(await self._server.create_database(_TEMPLATE))
        await migrate(database)
        await database.close()

    async def _execute(self, statement: str) -> None:
        url = self._server.url_of("postgres").replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """The server; every xdist worker has its own."""
    async with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        running = Postgres(server)
        await running.make_template()
        yield running


@pytest.fixture(scope="module")
async def database_url(postgres: Postgres) -> str:
    """The address of a migrated database that this module has for itself."""
    return await postgres.migrated()


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The module's database, with enough connections to quarrel over a row."""
    opened = connect(database_url, pool_size=20)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def temporal_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[TemporalServer]:
    """The real Temporal server, with the real clock; every xdist worker has its own."""
    async with TemporalServer(tmp_path_factory.mktemp("temporal"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts our programs in a moment."""
    with open_nursery() as opened:
        yield opened


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        action="store_true",
        help="write the histories that test_replay.py compares with anew",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.nodeid))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector of garbage need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Groups | None:
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if all(spec.popen and not spec.python for spec in specs):
        fork_workers(config, specs)


_own_basetemp = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """As root, keep temporary files out of the directory that all of root's pytest runs share.

    PostgreSQL then runs as another user, who has to pass through; and every run that starts
    closes the shared directory again, under the feet of those that are at work.
    """
    if os.geteuid() == 0 and not config.option.basetemp:
        config.stash[_own_basetemp] = config.option.basetemp = tempfile.mkdtemp(prefix="orders-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if directory := config.stash.get(_own_basetemp, None):
        shutil.rmtree(directory, ignore_errors=True)
