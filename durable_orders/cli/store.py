"""Commands for the database: migrate it, add the demo's products, check that everything adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from durable_orders.cli.terminal import example
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.store.database import Database

T = TypeVar("T")

app: typer.Typer = typer.Typer(
    help="The database: migrate it, fill the catalogue, add everything up."
)
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql://…; else DATABASE_URL from the environment or .env"),
]


@app.command(epilog=example("store migrate"))
def migrate(database_url: DatabaseUrl = None) -> None:
    """Migrate the database to this version. Safe to repeat, also from several machines at once."""
    from durable_orders.store import migrations  # noqa: PLC0415 - loads SQLAlchemy, which no help needs

    revision = _with_database(database_url, migrations.migrate)
    typer.echo(f"The database is at revision {revision}.")


@app.command(epilog=example("store seed"))
def seed(database_url: DatabaseUrl = None) -> None:
    """Add the demo's products. Existing products keep their price and stock."""
    from durable_orders.store.seed import DEMO, add_products  # noqa: PLC0415 - as above

    added = _with_database(database_url, lambda database: add_products(database, DEMO))
    typer.echo(f"Added {added} of {len(DEMO)} products.")


@app.command(epilog=example("store check"))
def check(database_url: DatabaseUrl = None) -> None:
    """Check stock against orders and money against statuses. Exit 1 when something is off."""
    from durable_orders.store.consistency_check import (  # noqa: PLC0415 - as above
        find_inconsistencies,
    )

    found = _with_database(database_url, find_inconsistencies)
    for sentence in found:
        typer.echo(sentence)
    if found:
        raise typer.Exit(1)
    typer.echo("Everything adds up.")


def _with_database(url: str | None, use: Callable[[Database], Awaitable[T]]) -> T:
    from durable_orders.domain.ports import ProviderError  # noqa: PLC0415 - as above
    from durable_orders.settings import DatabaseSettings, SettingsError  # noqa: PLC0415 - as above
    from durable_orders.store.database import (  # noqa: PLC0415 - as above
        InvalidDatabaseUrlError,
        MigrationNeededError,
        connect,
    )

    async def run(url: str) -> T:
        database = connect(url, pool_size=1, statement_timeout=600)
        try:
            return await use(database)
        finally:
            await database.close()

    try:
        url = url or DatabaseSettings.load().database_url.get_secret_value()
        return asyncio.run(run(url))
    except (ProviderError, InvalidDatabaseUrlError, SettingsError) as error:
        typer.echo(str(error), err=True)
        if isinstance(error, MigrationNeededError):
            typer.echo(f"  {PROGRAM} store migrate", err=True)
        raise typer.Exit(1) from None
