"""Commands for the database: ``python -m store migrate``, ``seed`` and ``check``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from orders.ports import ProviderError
from settings import DatabaseSettings, SettingsError
from store.check import find_inconsistencies
from store.database import Database, InvalidDatabaseUrlError, connect
from store.migrations import migrate as bring_up_to_date
from store.seed import DEMO, add_products

T = TypeVar("T")

app = typer.Typer(
    help="The database: migrate it, fill the catalogue, add everything up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql://…; else DATABASE_URL from the environment or .env"),
]


@app.command()
def migrate(database_url: DatabaseUrl = None) -> None:
    """Migrate the database to this version. Safe to repeat, also from several machines at once."""
    revision = _with_database(database_url, bring_up_to_date)
    typer.echo(f"The database is at revision {revision}.")


@app.command()
def seed(database_url: DatabaseUrl = None) -> None:
    """Add the demo's products. Existing products keep their price and stock."""
    added = _with_database(database_url, lambda database: add_products(database, DEMO))
    typer.echo(f"Added {added} of {len(DEMO)} products.")


@app.command()
def check(database_url: DatabaseUrl = None) -> None:
    """Check stock against orders and money against statuses. Exit 1 when something is off."""
    found = _with_database(database_url, find_inconsistencies)
    for sentence in found:
        typer.echo(sentence)
    if found:
        raise typer.Exit(1)
    typer.echo("Everything adds up.")


def _with_database(url: str | None, use: Callable[[Database], Awaitable[T]]) -> T:
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
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
