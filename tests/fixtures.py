"""Real servers for the tests that ask for them, and what is different for tests.

Whatever runs tests registers this as a plugin: see ``tests/conftest.py``.
"""

import gc
import ssl
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, _runner

from sandbox.temporal_server import NAMESPACE, TemporalServer
from store.database import Database, connect
from tests.fakes.script import take_unplayed
from tests.nursery import Nursery, connected
from tests.servers import Postgres, Servers, Temporal
from tests.shared import Shared, open_nursery, open_servers
from workflows import policies

# Stripe's SDK reads the certificates of the world for every client that is made of it.
ssl.create_default_context = lru_cache(ssl.create_default_context)  # type: ignore[assignment]

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


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Shared | None:
    """What xdist's workers share, in one of them."""
    told: Shared | None = getattr(request.config, "workerinput", {}).get("shared")
    return told


@pytest.fixture(scope="session")
def servers(shared: Shared | None) -> Iterator[Servers]:
    """PostgreSQL and Temporal."""
    if shared:
        yield Servers(shared["servers"], shared["session"])
    else:
        with open_servers() as address:
            yield Servers(address)


@pytest.fixture(scope="session")
def nursery(shared: Shared | None) -> Iterator[Nursery]:
    """Starts our programs in a moment."""
    with ExitStack() as opened:
        address = shared["nursery"] if shared else opened.enter_context(open_nursery())
        yield opened.enter_context(connected(address))


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> Postgres:
    return servers.postgres


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
def temporal_server(servers: Servers) -> Temporal:
    """The real Temporal server, with the real clock."""
    return servers.temporal("orders")


@pytest.fixture
async def scheduling_server(tmp_path: Path) -> AsyncIterator[Temporal]:
    """A Temporal server for one test, as the sandbox has it: it knows of schedules too."""
    async with TemporalServer(tmp_path / "temporal", durable=False) as server:
        yield Temporal(server.address, NAMESPACE)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector of garbage need not look through it again, nor
    through what a test has made every 700 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """What a test scripted for a neighbour has happened in it. Otherwise it has tested nothing,
    and where tests share their neighbours, it would happen to the next one.
    """
    yield
    unplayed = take_unplayed()
    assert not unplayed, f"scripted, but never came: {', '.join(unplayed)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say why a test failed, whatever else is garbage by then.

    pytest parses the test for that. Python 3.11 raises a `SystemError` if the collector of garbage
    comes in between and something is parsed there too: a task logs its error when it is collected.
    """
    if call.excinfo is None:
        return (yield)
    gc.collect()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
