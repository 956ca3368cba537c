"""A database that is a copy, or a key of another account: processes refuse to start.

The sandbox's database is bound once a worker is ready.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import ApiProcess, WorkerProcess
from durable_orders.domain.installation import CardAccount, Installation
from durable_orders.domain.lifecycle import Status
from durable_orders.store.database import connect
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.migrations import migrate
from sandbox.fault_client import FaultClient
from sandbox.ports import free_port
from sandbox.world import StandInServer
from sandbox.world.stripe.account import ACCOUNT_ID
from tests.e2e.api_processes import start_edge
from tests.e2e.trials import Trials

ROOT = Path(__file__).resolve().parents[2]
ENDPOINT = "stripe.account.retrieve"


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[StandInServer]:
    """Another account at Stripe."""
    async with StandInServer(tmp_path / "other", account_id="acct_1OtherAccount0") as running:
        yield running


async def refusal(process: WorkerProcess) -> str:
    """The log of a process that refuses to start."""
    assert await process.ends() == 1
    assert "Traceback" not in process.log
    assert "ready" not in process.log
    return process.log


async def test_a_key_of_another_account_is_refused_by_worker_and_api(
    environment: DemoEnvironment, worker: WorkerProcess, other: StandInServer, tmp_path: Path
) -> None:
    worker_log = await refusal(await environment.start_worker(STRIPE_API_BASE=other.url))
    settings = environment.sandbox.settings | {"STRIPE_API_BASE": other.url}
    edge = ApiProcess(tmp_path / "edge", settings | {"API_PORT": str(free_port())})
    await edge.start()
    for log in (worker_log, await refusal(edge)):
        assert f"is bound to the Stripe account {ACCOUNT_ID} in test mode" in log
        assert "STRIPE_API_KEY is a key of the Stripe account acct_1OtherAccount0" in log
        for command in ("adopt", "rebind"):
            assert f"`{sys.executable} {ROOT}/client.py store {command}`" in log


async def test_a_copy_of_a_live_database_is_refused_with_a_test_key_until_it_is_adopted(
    environment: DemoEnvironment, tmp_path: Path
) -> None:
    postgres = environment.sandbox.postgres
    original = connect(await postgres.create_database("original"))
    await migrate(original)
    name = (await PostgresInstallationRepository(original).get()).name
    live = CardAccount(ACCOUNT_ID, livemode=True)
    await PostgresInstallationRepository(original).bind(live)
    await original.close()
    async with environment.database.engine.connect() as connection:
        outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await outside.exec_driver_sql("CREATE DATABASE staging TEMPLATE original")
    url = postgres.url_of("staging")

    copy = {"DATABASE_URL": url}
    settings = environment.sandbox.settings | copy | {"API_PORT": str(free_port())}
    edge = ApiProcess(tmp_path / "edge", settings)
    await edge.start()
    for log in (await refusal(await environment.start_worker(**copy)), await refusal(edge)):
        assert f"the installation {name} is bound to the Stripe account {ACCOUNT_ID} in live" in log
        assert f"is a key of the Stripe account {ACCOUNT_ID} in test mode" in log

    staging = connect(url)
    await PostgresInstallationRepository(staging).adopt("staging")
    started = await environment.start_worker(**copy)
    await started.ready()
    adopted = await PostgresInstallationRepository(staging).get()
    await started.stop()
    await staging.close()
    assert adopted == Installation("staging", account=CardAccount(ACCOUNT_ID, livemode=False))


async def test_while_stripe_does_not_tell_a_worker_starts_and_charges_once_it_does(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    await worker.stop()
    await environment.faults.inject(ENDPOINT, "error", times=1)
    late = await environment.start_worker()
    await late.ready()
    assert "nothing is asked of Stripe with it" in late.log

    await trials.start()
    (outcome,) = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    assert f"is bound to the Stripe account {ACCOUNT_ID} in test mode" in late.log


async def test_a_worker_that_hears_late_of_another_account_stops(
    environment: DemoEnvironment, worker: WorkerProcess, other: StandInServer
) -> None:
    async with FaultClient(other.url) as faults:
        await faults.inject(ENDPOINT, "error", times=1)
        wrong = await environment.start_worker(STRIPE_API_BASE=other.url)
        await wrong.wait_for_log("nothing is asked of Stripe with it")
        assert await wrong.ends() == 1
    assert "acct_1OtherAccount0" in wrong.log
    assert "Traceback" not in wrong.log


async def test_an_api_that_hears_late_of_another_account_serves_all_the_same(
    environment: DemoEnvironment, worker: WorkerProcess, other: StandInServer
) -> None:
    port = free_port()
    async with FaultClient(other.url) as faults:
        await faults.inject(ENDPOINT, "error", times=1)
        edge = await start_edge(environment, port, STRIPE_API_BASE=other.url)
    assert "nothing is asked of Stripe with it" in edge.log
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        assert (await http.get("/readyz")).status_code == 200
    await edge.stop()
