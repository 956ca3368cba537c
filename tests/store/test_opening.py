"""The store that an application opens: its schema fits, or it is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.ports import LockedOutError, NoSuchOrderError
from durable_orders.process import PROGRAM
from durable_orders.store import (
    InvalidDatabaseUrlError,
    SchemaVersionError,
    migrations,
    open_store,
)
from durable_orders.store.database import Database, connect
from durable_orders.store.migrations import check_schema, is_migrated, migrate
from durable_orders.store.seed import DEMO, add_products
from tests.store.shop import NOW
from tests.support.eventually import eventually
from tests.support.servers import Postgres

#: The revisions, by the names of their files.
*_, OLDER, NEWEST = sorted(
    path.name.partition("_")[0] for path in Path(migrations.__file__).parent.glob("versions/*.py")
)

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def execute(url: str, *statements: str) -> None:
    database = connect(url)
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await database.close()


async def at_revision(postgres: Postgres, revision: str) -> str:
    """The address of a new database at this revision of ours."""
    url = await postgres.empty()
    database = connect(url)
    await migrate(database, to=revision)
    await database.close()
    return url


async def of_another_program(postgres: Postgres) -> str:
    """The address of a new database that another program migrates with Alembic."""
    url = await postgres.empty()
    await execute(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('3f2a9c')",
        "CREATE TABLE orders (id text PRIMARY KEY, customer_id text NOT NULL)",
    )
    return url


async def refusal(url: str) -> SchemaVersionError:
    with pytest.raises(SchemaVersionError) as refused:
        async with open_store(url):
            pytest.fail("it was opened")
    return refused.value


async def test_orders_are_placed_and_refunds_listed(database: Database, database_url: str) -> None:
    await add_products(database, DEMO)
    recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
    async with open_store(database_url, pool_size=2) as store:
        order = await store.orders.place(
            Basket("opened-1", "cus_1", recipient, (("MUG", 2),), "pm_card_visa"), NOW
        )
        assert order.total == Money(29_00, "EUR")
        assert (await store.orders.view("opened-1")).order == order
        assert await store.refunds.refunds_of("opened-1") == ()


async def test_its_connections_are_closed_at_the_end(postgres: Postgres) -> None:
    fitting, old = await postgres.migrated(), await at_revision(postgres, OLDER)
    with pytest.raises(NoSuchOrderError):
        async with open_store(fitting) as store:
            await store.orders.get("nowhere")
    await refusal(old)
    for url in (fitting, old):
        database = connect(url)

        async def nobody_else(database: Database = database) -> bool:
            async with database.statement() as connection:
                return bool(await connection.scalar(_OTHERS) == 0)

        await eventually(nobody_else)
        await database.close()


async def test_an_older_schema_is_refused_with_what_to_run(postgres: Postgres) -> None:
    error = await refusal(await at_revision(postgres, OLDER))
    assert str(error) == (
        f"the database is at revision {OLDER}, and this version of durable-orders needs revision "
        f"{NEWEST}: run {PROGRAM} store migrate"
    )
    assert (error.found, error.needed) == (OLDER, NEWEST)


async def test_a_database_without_a_schema_is_refused_with_what_to_run(postgres: Postgres) -> None:
    empty, emptied = await postgres.empty(), await at_revision(postgres, "head")
    await execute(emptied, "DELETE FROM alembic_version")
    for url in (empty, emptied):
        error = await refusal(url)
        assert str(error) == (
            "the database has no schema yet, and this version of durable-orders needs revision "
            f"{NEWEST}: run {PROGRAM} store migrate"
        )
        assert (error.found, error.needed) == (None, NEWEST)


async def test_a_newer_schema_is_opened_while_it_has_all_that_is_needed(postgres: Postgres) -> None:
    url = await postgres.migrated()
    await execute(
        url,
        "ALTER TABLE orders ADD COLUMN gift_note text",
        "UPDATE alembic_version SET version_num = '0042'",
    )
    async with open_store(url) as store:
        with pytest.raises(NoSuchOrderError):
            await store.orders.get("nowhere")

    await execute(url, "ALTER TABLE orders DROP COLUMN flagged")
    assert str(await refusal(url)) == (
        "the database is at revision 0042, which this version of durable-orders does not know, and "
        f"it lacks orders.flagged: it needs revision {NEWEST} or a newer one. Name the database of "
        "durable-orders, or install the version that migrated it"
    )


async def test_a_newer_schema_is_not_migrated_back(postgres: Postgres) -> None:
    url = await postgres.migrated()
    await execute(url, "UPDATE alembic_version SET version_num = '0042'")
    database = connect(url)
    assert await migrate(database) == "0042"
    assert await is_migrated(database)
    await database.close()


async def test_another_programs_database_is_refused_and_left_alone(postgres: Postgres) -> None:
    url = await of_another_program(postgres)
    error = await refusal(url)
    assert "revision 3f2a9c, which this version of durable-orders does not know" in str(error)
    assert error.found == "3f2a9c"

    database = connect(url)
    with pytest.raises(SchemaVersionError, match="3f2a9c"):
        await migrate(database)
    assert not await is_migrated(database)
    async with database.statement() as connection:
        tables = await connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        )
        assert tables.all() == ["alembic_version", "orders"]
    await database.close()


async def test_a_schema_that_fits_is_checked_without_a_word(database: Database) -> None:
    await check_schema(database)


async def test_a_database_that_does_not_exist_is_said_to_be(postgres: Postgres) -> None:
    url = await postgres.empty()
    with pytest.raises(LockedOutError, match="3D000"):
        async with open_store(url.replace("/test_", "/nowhere_")):
            pytest.fail("it was opened")


async def test_an_address_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="begins with mysql://"):
        async with open_store("mysql://shop@localhost/orders"):
            pytest.fail("it was opened")


async def test_a_service_names_the_server_and_the_database(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(await postgres.empty())
    services = tmp_path / "services"
    services.write_text(
        f"[shop]\nhost={url.query['host']}\ndbname={url.database}\nuser={url.username}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    database = connect("postgresql:///?service=shop")
    async with database.statement() as connection:
        assert await connection.scalar(text("SELECT current_database()")) == url.database
    await database.close()
