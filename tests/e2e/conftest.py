"""Real processes on a real sandbox; one of each xdist worker's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment, open_environment
from demo.worker_process import WorkerProcess
from durable_orders.store.database import connect
from durable_orders.store.migrations import migrate
from durable_orders.store.seed import DEMO, add_products
from sandbox.ports import free_port
from sandbox.sandbox import Sandbox
from tests.e2e.moments import COMMITS_CAN_BE_HELD
from tests.e2e.trials import Trials

_trials = count(1)


@pytest.fixture(scope="session")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoEnvironment]:
    """The sandbox and everything needed to use it."""
    async with open_sandbox(tmp_path_factory.mktemp("e2e")) as opened:
        yield opened


@asynccontextmanager
async def open_sandbox(state: Path) -> AsyncIterator[DemoEnvironment]:
    """Start a sandbox, for tests that leave behind what those of others would stumble over."""
    # Temporal's port is a fixed one, so that it can be restarted behind its clients' backs.
    port = free_port()
    async with (
        Sandbox(state, temporal_port=port, durable=False, prepare=prepare) as sandbox,
        open_environment(sandbox) as opened,
    ):
        yield opened


async def prepare(database_url: str) -> None:
    """Make our tables and products, in a database that tests can hold, and kill without a loss."""
    database = connect(database_url)
    await migrate(database)
    await add_products(database, DEMO)
    async with database.transaction() as connection:
        # What is committed is with the kernel then, whose death nobody tests here.
        await connection.exec_driver_sql("ALTER DATABASE orders SET synchronous_commit = on")
        for statement in COMMITS_CAN_BE_HELD:
            await connection.exec_driver_sql(statement)
    await database.close()


@pytest.fixture
async def worker(environment: DemoEnvironment) -> WorkerProcess:
    """The one worker there is."""
    for extra in environment.running_workers[1:]:
        await extra.kill()
    only = (
        environment.running_workers[0]
        if environment.running_workers
        else await environment.start_worker()
    )
    await only.ready()
    return only


@pytest.fixture
async def trials(environment: DemoEnvironment) -> AsyncIterator[Trials]:
    """The orders of one test; the promises are checked for them when the test has passed."""
    made = Trials(environment, f"t{next(_trials)}")
    yield made
    await environment.faults.clear()
    await made.let_go()
