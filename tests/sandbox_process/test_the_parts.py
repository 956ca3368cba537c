"""PostgreSQL, Temporal, child processes and the sandbox in this process, each by itself."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from durable_orders.store.database import connect
from sandbox.child import Child
from sandbox.postgres import PostgresServer
from sandbox.sandbox import Sandbox
from sandbox.state import StateInUseError
from sandbox.temporal_server import TemporalServer
from tests.sandbox_process.conftest import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


async def scalar(url: str, statement: str) -> object:
    database = connect(url)
    try:
        async with database.transaction() as connection:
            return await connection.scalar(text(statement))
    finally:
        await database.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that the tests use one after another: only the first has to create the cluster."""
    return tmp_path_factory.mktemp("cluster")


async def test_postgres_gives_each_caller_a_database_of_its_own(cluster: Path) -> None:
    async with PostgresServer(cluster, durable=False) as server:
        one, other = await server.create_database("one"), await server.create_database("other")
        assert await scalar(server.url, "SELECT current_database()") == "orders"
        assert await scalar(one, "SELECT current_database()") == "one"
        assert await scalar(other, "SELECT current_database()") == "other"
        assert await server.create_database("one") == one


async def test_postgres_works_in_a_directory_with_a_long_and_odd_name(tmp_path: Path) -> None:
    state = tmp_path / ("a long name, with 'quotes' & accénts " * 4)

    async with PostgresServer(state, durable=False) as server:
        assert await scalar(server.url, "SELECT 1") == 1
    async with PostgresServer(state, durable=False) as server:
        assert await scalar(server.url, "SELECT 2") == 2


async def test_two_servers_never_share_a_state(cluster: Path) -> None:
    async with PostgresServer(cluster, durable=False) as server:
        with pytest.raises(StateInUseError, match=f"process {os.getpid()}"):
            await PostgresServer(cluster).start()
        assert await scalar(server.url, "SELECT 1") == 1


async def test_a_postmaster_file_that_names_an_unrelated_process_is_no_obstacle(
    cluster: Path,
) -> None:
    async with PostgresServer(cluster, durable=False):
        pass
    (cluster / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}/data\n")

    async with PostgresServer(cluster, durable=False) as server:
        assert await scalar(server.url, "SELECT 1") == 1


async def test_a_server_without_a_record_is_ended_before_the_next_start(
    cluster: Path,
) -> None:
    first = PostgresServer(cluster, durable=False)
    await first.start()
    lost = first.child.pid
    (cluster / "pid").unlink()
    first._lock.release()  # as if its process had been killed

    async with PostgresServer(cluster, durable=False) as second:
        await first.child.ended()
        assert second.child.pid != lost
        assert await scalar(second.url, "SELECT 1") == 1


async def test_the_orphan_of_a_killed_sandbox_is_ended(tmp_path: Path) -> None:
    orphan = Child("orphan", tmp_path)
    await orphan.start(SLEEP)

    assert await Child("the next one", tmp_path).end_orphan()

    await asyncio.wait_for(orphan.ended(), 5)
    assert orphan.exit_code == -signal.SIGTERM
    assert not await Child("the one after that", tmp_path).end_orphan()


@pytest.mark.parametrize("difference", ["started", "command"])
async def test_an_unrelated_process_with_the_recorded_pid_is_left_alone(
    tmp_path: Path, difference: str
) -> None:
    unrelated = Child("unrelated", tmp_path)
    await unrelated.start(SLEEP)
    record = json.loads((tmp_path / "pid").read_text())
    record[difference] = record["started"] - 60 if difference == "started" else ["other"]
    (tmp_path / "pid").write_text(json.dumps(record))

    assert not await Child("part", tmp_path).end_orphan()

    assert unrelated.running
    await unrelated.stop()


async def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    child = Child("stubborn", tmp_path, stop_timeout=0.1)
    await child.start([sys.executable, "-c", ignores + "time.sleep(600)"])
    await asyncio.to_thread(wait_until, lambda: child.log.read_text() != "", "its first output")

    await child.stop()

    assert child.exit_code == -signal.SIGKILL


async def test_temporal_ignores_the_users_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"ADDRESS": "elsewhere.invalid:7233", "NAMESPACE": "shop.a1b2c", "API_KEY": "key"}
    for name, value in {**elsewhere, "TLS": "true", "PROFILE": "live"}.items():
        monkeypatch.setenv(f"TEMPORAL_{name}", value)
    async with TemporalServer(tmp_path, durable=False) as server:
        assert server.address.startswith("127.0.0.1:")


async def test_temporal_alone_keeps_its_state_between_starts(
    tmp_path: Path,
) -> None:
    def temporal(server: TemporalServer, *command: str) -> str:
        return subprocess.run(
            [server.binary, *command, "--address", server.address],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    start = ("workflow", "start", "--type", "Any", "--task-queue", "nobody", "-w", "remembered")
    async with TemporalServer(tmp_path) as server:
        temporal(server, *start)
    async with TemporalServer(tmp_path) as server:
        assert "remembered" in temporal(server, "workflow", "describe", "-w", "remembered")


async def test_a_sandbox_in_this_process_has_the_settings_of_its_env_file(
    used_state: Path,
) -> None:
    async with Sandbox(used_state, durable=False) as sandbox:
        assert sandbox.settings["TEMPORAL_ADDRESS"] == sandbox.temporal_address
        assert sandbox.settings["DATABASE_URL"] == sandbox.database_url
        assert sandbox.settings["STRIPE_API_BASE"] == sandbox.stand_in_url
        assert sandbox.settings["TEMPORAL_UI_URL"] == sandbox.ui_url
        assert not sandbox.env_file_written
    assert not sandbox.temporal.child.running
    assert not sandbox.postgres.child.running
