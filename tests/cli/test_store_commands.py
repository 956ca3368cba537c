"""``python client.py store``, run as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from durable_orders.cli.store import app
from durable_orders.cli.terminal import UNREACHABLE, USED_WRONGLY
from durable_orders.domain.installation import NAME_PATTERN, CardAccount, ForeignOrderError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Order
from durable_orders.process import PROGRAM
from durable_orders.store.database import connect
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.seed import DEMO
from tests.store.shop import NOW, Shop, basket
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION
from tests.support.servers import Postgres

CHECKOUT = Path(__file__).resolve().parents[2]


async def run(command: str, url: str | None = None) -> Result:
    """Run the command in this process, with ``DATABASE_URL`` set to ``url`` or not at all."""
    runner = CliRunner(env={"DATABASE_URL": url})
    # A thread, because the command starts an event loop of its own.
    return await asyncio.to_thread(lambda: runner.invoke(app, command.split()))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a ``.env`` of ours."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_migrating_and_seeding_make_a_shop_and_repeating_them_resets_nothing(
    postgres: Postgres, directory: Path
) -> None:
    url = await postgres.empty()
    assert (await run("migrate", url)).exit_code == 0
    seeded = await run("seed", url)
    assert (seeded.exit_code, seeded.stdout) == (
        0,
        f"Added {len(DEMO)} of {len(DEMO)} products.\n",
    )

    database = connect(url)
    shop = Shop(database)
    order = await shop.placed(("MUG", 2), ("TEE", 1))
    await shop.inventory.reserve(order.id)
    before = await shop.stock_of("MUG")
    (directory / ".env").write_text(f"DATABASE_URL={url}\nOTHER=thing\n")
    assert (await run("migrate")).exit_code == 0
    assert "Added 0 of" in (await run("seed")).stdout
    assert await shop.stock_of("MUG") == before
    healthy = await run("check")
    assert healthy.exit_code == 0, healthy.output

    await shop.sql("UPDATE products SET reserved = reserved + 1 WHERE sku = 'MUG'")
    sick = await run("check")
    assert sick.exit_code == 1
    assert "MUG" in sick.stdout
    await database.close()


@pytest.fixture
async def shop(postgres: Postgres) -> AsyncIterator[Shop]:
    """A shop on a database of its own, with an installation of the tests' name."""
    database = connect(await postgres.migrated())
    yield Shop(database)
    await database.close()


async def test_the_check_shows_the_installation_and_its_binding(
    shop: Shop, directory: Path
) -> None:
    (directory / ".env").write_text(f"DATABASE_URL={shop.url}\n")
    assert (await run("check")).stdout == (
        f"Installation {INSTALLATION}, not bound yet.\nEverything adds up.\n"
    )
    installations = PostgresInstallationRepository(shop.database)
    await installations.bind(CardAccount("acct_1Shop0000", livemode=True))
    bound = "bound to the Stripe account acct_1Shop0000 in live mode"
    assert (await run("check")).stdout.startswith(f"Installation {INSTALLATION}, {bound}.\n")

    renamed = await run("rename outlet")
    assert renamed.stdout == f"Installation outlet (before: {INSTALLATION}), {bound}.\n"
    assert (await run("check")).stdout.startswith(renamed.stdout)
    made = (await installations.get()).name, (await run("rename")).stdout.split()[1]
    assert re.fullmatch(NAME_PATTERN, made[1])
    assert len(set(made)) == 2


async def test_a_copy_gets_a_name_of_its_own_and_is_told_how_to_take_that_back(
    shop: Shop, directory: Path
) -> None:
    (directory / ".env").write_text(f"DATABASE_URL={shop.url}\n")
    installations = PostgresInstallationRepository(shop.database)
    bound = await installations.bind(CardAccount("acct_1Shop0000", livemode=True))
    theirs = await shop.placed()

    taken = await run(f"adopt {INSTALLATION}")
    assert (taken.exit_code, await installations.get()) == (1, bound)
    assert "copied from" in taken.stderr
    said = await run("adopt staging")

    assert said.stdout.startswith("Installation staging, not bound yet.\n")
    assert f"python client.py store rename {INSTALLATION}" in said.stdout
    with pytest.raises(ForeignOrderError):
        await shop.orders.summary(theirs.id)
    await run(f"rename {INSTALLATION}")
    assert (await shop.orders.summary(theirs.id)).key_prefix == INSTALLATION


async def test_a_shop_moves_to_another_account_once_its_orders_have_ended(
    shop: Shop, directory: Path
) -> None:
    (directory / ".env").write_text(f"DATABASE_URL={shop.url}\n")
    installations = PostgresInstallationRepository(shop.database)
    bound = await installations.bind(CardAccount("acct_1Shop0000", livemode=False))
    order = await shop.placed()

    refused = await run("rebind")
    assert (refused.exit_code, await installations.get()) == (1, bound)
    sentence, command = refused.stderr.splitlines()
    assert "1 order is under way, whose payments are at the Stripe account" in sentence
    assert command == f"  {PROGRAM} store adopt"
    await shop.orders.move(order.id, Status.REJECTED, None, NOW)
    assert (await run("rebind")).stdout == f"Installation {INSTALLATION}, not bound yet.\n"
    moved = await installations.bind(CardAccount("acct_1Other000", livemode=True))
    assert moved.names == bound.names


LONG_AGO = datetime(2024, 2, 1, 12, tzinfo=UTC)


async def ended(shop: Shop, at: datetime) -> Order:
    order = await shop.orders.place(basket((await shop.stocked(1), 1)), at)
    await shop.orders.move(order.id, Status.REJECTED, None, at)
    return order


async def test_histories_of_orders_that_ended_long_ago_are_archived(shop: Shop) -> None:
    old = [await ended(shop, LONG_AGO + timedelta(days=day)) for day in range(3)]
    await ended(shop, datetime.now(UTC) - timedelta(days=399))
    views = [await shop.orders.view(order.id) for order in old]

    said = await run("archive --dry-run", shop.url)
    would = "Would move the histories of 3 orders into the archive, 6 lines.\n"
    assert (said.exit_code, said.stdout.startswith(would)) == (0, True)
    first = await run("archive --limit 2", shop.url)
    assert first.stdout.startswith("Moved the histories of 2 orders into the archive, 4 lines.\n")
    assert "They had ended before 20" in first.stdout
    rest = await run("archive --older-than 400", shop.url)
    assert rest.stdout.startswith("Moved the history of 1 order into the archive, 2 lines.\n")
    assert "histories of 0 orders" in (await run("archive", shop.url)).stdout
    assert "history of 1 order " in (await run("archive --older-than 398", shop.url)).stdout

    assert [await shop.orders.view(order.id) for order in old] == views
    assert (await run("check", shop.url)).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        *("archive --older-than 0", "archive --older-than -1", "archive --older-than 1e9"),
        *("archive --older-than 400d", "archive --older-than 36501", "archive --limit 0"),
        *("archive --limit all", "archive --limit 99999999999999999999", "archive 1001"),
    ],
)
async def test_an_archive_of_nonsense_is_refused(shop: Shop, command: str) -> None:
    order = await ended(shop, LONG_AGO)
    refused = await run(command, shop.url)
    assert (refused.exit_code, refused.stdout) == (USED_WRONGLY, "")
    assert "Traceback" not in refused.stderr
    assert len(await shop.sql("SELECT 1 FROM order_history WHERE order_id = :id", id=order.id)) == 2


async def test_an_archive_without_a_schema_says_to_migrate_first(postgres: Postgres) -> None:
    failed = await run("archive", await postgres.empty())
    assert failed.exit_code == UNREACHABLE
    assert failed.stderr.endswith(f"\n  {PROGRAM} store migrate\n")


async def test_an_archive_that_is_interrupted_says_how_far_it_came(
    shop: Shop, directory: Path
) -> None:
    order = await ended(shop, LONG_AGO)
    command = [sys.executable, str(CHECKOUT / "client.py"), "store", "archive"]
    async with shop.database.transaction() as connection:
        await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.exec_driver_sql("LOCK TABLE archived_history IN SHARE MODE")
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env=os.environ | {"DATABASE_URL": shop.url}, stderr=PIPE
        )

        async def waits() -> bool:
            assert process.returncode is None
            return bool(
                await shop.sql(
                    "SELECT 1 FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )

        await eventually(waits, within=120)
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    assert process.returncode == 130
    moved = "Stopped. Moved the histories of 0 orders into the archive, 0 lines."
    assert said.decode() == f"{moved} Start it again to go on.\n"
    assert len(await shop.sql("SELECT 1 FROM order_history WHERE order_id = :id", id=order.id)) == 2


@pytest.mark.parametrize("command", ["rename Shop", "adopt a-b", "rename abc"])
async def test_a_name_that_is_none_is_refused_with_a_sentence(shop: Shop, command: str) -> None:
    refused = await run(command, shop.url)
    assert refused.exit_code == USED_WRONGLY
    assert "4 to 24 lowercase letters and digits" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        (None, USED_WRONGLY, "DATABASE_URL is not set"),
        (
            "postgresql://nobody@127.0.0.1:1/orders",
            UNREACHABLE,
            "The database gave no answer: ConnectionRefusedError. Is PostgreSQL running where",
        ),
        ("mysql://nobody:secret@db/orders", USED_WRONGLY, "DATABASE_URL must be postgresql://"),
    ],
    ids=["missing", "unreachable", "of another kind"],
)
@pytest.mark.parametrize("command", ["migrate", "seed", "check", "archive", "rename", "rebind"])
async def test_an_address_that_does_not_work_is_told_in_one_sentence(
    command: str, url: str | None, code: int, says: str
) -> None:
    """Not with the exit code of a fault that ``check`` finds."""
    failed = await run(command, url)
    assert failed.exit_code == code
    assert says in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert "secret" not in failed.stderr


async def test_seeding_an_empty_database_says_to_migrate_first(
    postgres: Postgres,
) -> None:
    failed = await run("seed", await postgres.empty())
    assert failed.exit_code == UNREACHABLE
    assert failed.stderr.endswith(f"\n  {PROGRAM} store migrate\n")


async def test_another_programs_database_is_not_migrated(postgres: Postgres) -> None:
    url = await postgres.empty()
    database = connect(url)
    async with database.transaction() as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('3f2a9c')",
        ):
            await connection.exec_driver_sql(statement)
    await database.close()
    failed = await run("migrate", url)
    assert failed.exit_code == 1
    assert "is at revision 3f2a9c, which this version of durable-orders does not" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_the_command_ends_with_a_sentence_and_no_traceback(directory: Path) -> None:
    command = [
        sys.executable,
        str(CHECKOUT / "client.py"),
        "store",
        "migrate",
        "--database-url",
        "postgresql://x@/x?host=/x",
    ]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    failed = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (failed.returncode, failed.stdout) == (UNREACHABLE, "")
    hint = "Is PostgreSQL running where DATABASE_URL points?"
    assert failed.stderr == f"The database gave no answer: FileNotFoundError. {hint}\n"
