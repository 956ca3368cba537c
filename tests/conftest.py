"""Fixtures and hooks for all tests: the shared servers, and settings that only tests have.

One PostgreSQL and one Temporal server serve a whole run. With xdist, its controller starts them and
passes their addresses to its workers; without xdist, the first test that needs them starts them.
Each worker has namespaces and databases of its own there: see ``tests/support/servers.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from durable_orders.store.database import Database, connect
from sandbox.temporal_server import NAMESPACE, TemporalServer
from tests.fakes.script import take_unplayed
from tests.support.servers import Addresses, Postgres, Servers, Temporal, running_servers
from workflows import retry_policies

#: xdist replaces a worker that crashes: so many replacements have namespaces too.
_SPARE_WORKERS: Final = 4

_addresses: Final = pytest.StashKey[Addresses]()

# How long an example takes says nothing while other tests keep the processors busy.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        action="store_true",
        help="write the histories that test_replay.py compares with anew",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Start the servers in xdist's controller, until the end of the run."""
    opened = ExitStack()
    config.add_cleanup(opened.close)
    workers = [f"gw{number}" for number in range(len(specs) + _SPARE_WORKERS)]
    config.stash[_addresses] = opened.enter_context(running_servers(workers))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the servers' addresses to a worker of xdist."""
    node.workerinput["servers"] = node.config.stash[_addresses]


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, worker_id: str) -> Iterator[Servers]:
    """The shared PostgreSQL and Temporal, as this worker uses them."""
    if hasattr(request.config, "workerinput"):
        yield Servers(worker_id, request.config.workerinput["servers"])
    else:
        with running_servers([worker_id]) as addresses:
            yield Servers(worker_id, addresses)


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


@pytest.fixture(scope="session", autouse=True)
def brief_local_activities() -> Iterator[None]:
    """Give a local activity up after two seconds instead of eight: tests hold some that long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(retry_policies.LOCAL, "schedule_to_close_timeout", timedelta(seconds=2))
        yield


@pytest.fixture(autouse=True)
def scripts_are_used_up() -> Iterator[None]:
    """Fail a test that scripted something for a fake which never came.

    It has tested nothing, and where tests share a fake, the next test would get the script.
    """
    yield
    unplayed = take_unplayed()
    assert not unplayed, f"scripted, but never came: {', '.join(unplayed)}"
