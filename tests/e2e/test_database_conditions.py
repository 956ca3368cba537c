"""What a database in production does besides dying: orders wait, and go on when it is over."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from demo.environment import DemoEnvironment
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import DatabaseAwayError
from durable_orders.store.database import Database, connect
from tests.e2e.trials import Trials
from tests.support.pooler import needs_pgbouncer, running_pooler

#: Orders that start in each condition.
ORDERS: Final = 8
_CUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'orders' AND pid <> pg_backend_pid()"
)


@asynccontextmanager
async def read_only(environment: DemoEnvironment) -> AsyncIterator[None]:
    """The database takes no writes, as a managed one whose disk is nearly full."""
    admin = environment.sandbox.postgres.execute
    await admin("ALTER DATABASE orders SET default_transaction_read_only = on", _CUT)
    try:
        yield
    finally:
        await admin("ALTER DATABASE orders RESET default_transaction_read_only", _CUT)


@asynccontextmanager
async def no_connection_left(environment: DemoEnvironment) -> AsyncIterator[None]:
    admin = environment.sandbox.postgres.execute
    await admin("ALTER ROLE shop CONNECTION LIMIT 0", _CUT)
    try:
        yield
    finally:
        await admin("ALTER ROLE shop CONNECTION LIMIT -1")


@asynccontextmanager
async def impatient_for_locks(environment: DemoEnvironment) -> AsyncIterator[None]:
    async with _limited(environment, "lock_timeout"):
        yield


@asynccontextmanager
async def impatient_for_statements(environment: DemoEnvironment) -> AsyncIterator[None]:
    async with _limited(environment, "statement_timeout"):
        yield


@asynccontextmanager
async def _limited(environment: DemoEnvironment, setting: str) -> AsyncIterator[None]:
    """Somebody locks the orders' history for longer than the setting allows to wait."""
    admin = environment.sandbox.postgres.execute
    database = connect(
        environment.sandbox.database_url, pool_size=1
    )  # not one that is cut just now
    await admin(f"ALTER ROLE shop SET {setting} = '200ms'", _CUT)
    try:
        async with database.transaction() as blocker:
            await blocker.execute(text("LOCK TABLE order_history"))
            yield
    finally:
        await database.close()
        await admin(f"ALTER ROLE shop RESET {setting}", _CUT)


@asynccontextmanager
async def sessions_cut(environment: DemoEnvironment) -> AsyncIterator[None]:
    """An administrator ends every session, again and again."""

    async def cut() -> None:
        while True:
            await environment.sandbox.postgres.execute(_CUT)
            await asyncio.sleep(0.05)

    cutting = asyncio.create_task(cut())
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.wait([cutting])


@asynccontextmanager
async def full_disk(environment: DemoEnvironment) -> AsyncIterator[None]:
    """The disk that has the orders' history has not a page left."""
    with _mounted_disk() as disk:
        database = connect(environment.sandbox.database_url, pool_size=1)
        await _execute(database, f"CREATE TABLESPACE tight LOCATION '{disk}/space'")
        try:
            # Each line needs a new page: the last one holds more than a tenth.
            await _execute(database, "ALTER TABLE order_history SET (fillfactor = 10)")
            await _execute(database, "ALTER TABLE order_history SET TABLESPACE tight")
            await _execute(
                database, "CREATE TABLE filler (page text STORAGE PLAIN) TABLESPACE tight"
            )
            with suppress(DatabaseAwayError):
                while True:
                    await _execute(database, "INSERT INTO filler VALUES (repeat('x', 8000))")
            yield
        finally:
            await _execute(database, "DROP TABLE IF EXISTS filler")
            await _execute(database, "ALTER TABLE order_history SET TABLESPACE pg_default")
            await _execute(database, "ALTER TABLE order_history RESET (fillfactor)")
            await _execute(database, "DROP TABLESPACE tight")
            await database.close()


@contextmanager
def _mounted_disk() -> Iterator[Path]:
    """A disk of 4 MB, in memory. Skips the test where none can be mounted."""
    # Not among pytest's directories: whoever starts pytest shuts these to other users.
    disk = Path(tempfile.mkdtemp(prefix="orders-disk-"))
    options = ["-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(disk)], capture_output=True, check=False)
    if mounted.returncode != 0:
        disk.rmdir()
        pytest.skip("a disk of 4 MB is mounted by root alone, outside of most containers")
    try:
        disk.chmod(0o755)
        (disk / "space").mkdir(mode=0o700)
        nobody = pwd.getpwnam("nobody")  # as PostgreSQL runs when root starts it
        os.chown(disk / "space", nobody.pw_uid, nobody.pw_gid)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


async def _execute(database: Database, statement: str) -> None:
    async with database.statement() as connection:
        await connection.execute(text(statement))


Condition = Callable[[DemoEnvironment], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module")
async def shop_url(environment: DemoEnvironment) -> str:
    """The database for a role whose limits count: a superuser's do not."""
    await environment.sandbox.postgres.execute(
        "CREATE ROLE shop LOGIN", "GRANT pg_read_all_data, pg_write_all_data TO shop"
    )
    return environment.sandbox.database_url.replace("postgres@", "shop@")


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (read_only, "the database takes no writes"),
        (no_connection_left, "53300"),
        (impatient_for_locks, "55P03"),
        (impatient_for_statements, "57014"),
        (sessions_cut, "the database gave no answer"),
        (full_disk, "53100"),
    ],
    ids=["read-only", "53300", "55P03", "57014", "57P01", "53100"],
)
async def test_orders_wait_and_go_on_when_it_is_over(
    environment: DemoEnvironment, trials: Trials, shop_url: str, condition: Condition, said: str
) -> None:
    for other in environment.running_workers:
        await other.kill()
    worker = await environment.start_worker(DATABASE_URL=shop_url)
    await worker.ready()
    for _ in range(ORDERS):
        await trials.place(sku="STICKER")

    async with condition(environment):
        # A client without the store: this one needs no database.
        await asyncio.gather(*map(OrderClient(environment.temporal).start, trials.order_ids))
        await worker.wait_for_log(said)

    outcomes = await trials.outcomes()
    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    assert worker.running
    assert "RefusedError" not in worker.log
    await worker.kill()


@needs_pgbouncer
async def test_orders_are_carried_through_a_pooler(
    environment: DemoEnvironment, trials: Trials, tmp_path: Path
) -> None:
    for other in environment.running_workers:
        await other.kill()
    async with running_pooler(tmp_path, environment.sandbox.database_url, size=3) as url:
        workers = [await environment.start_worker(DATABASE_URL=url) for _ in range(2)]
        await asyncio.gather(*(worker.ready() for worker in workers))
        for _ in range(4 * ORDERS):
            await trials.start(sku="STICKER")
        outcomes = await trials.outcomes()
        await asyncio.gather(*(worker.kill() for worker in workers))
    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    for worker in workers:
        assert "the database" not in worker.log
