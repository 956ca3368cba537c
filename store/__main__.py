"""The database's own commands: ``python -m store migrate`` and ``python -m store seed``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict

from orders.ports import ProviderError
from store.database import Database, InvalidDatabaseUrlError, connect
from store.migrations import migrate as bring_up_to_date
from store.seed import DEMO, add_products

T = TypeVar("T")

app = typer.Typer(
    help="The database: migrate it, put the demo's catalogue in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql://…; else DATABASE_URL from the environment or .env"),
]


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    database_url: str | None = None


@app.command()
def migrate(database_url: DatabaseUrl = None) -> None:
    """Bring the database up to date. Safe to repeat, also from several machines at once."""
    revision = _with_database(database_url, bring_up_to_date)
    typer.echo(f"The database is at revision {revision}.")


@app.command()
def seed(database_url: DatabaseUrl = None) -> None:
    """Add the demo's products. Products that are there keep their price and stock."""
    added = _with_database(database_url, lambda database: add_products(database, DEMO))
    typer.echo(f"Added {added} of {len(DEMO)} products.")


def _with_database(url: str | None, use: Callable[[Database], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        database = connect(url, pool_size=1, statement_timeout=600)
        try:
            return await use(database)
        finally:
            await database.close()

    url = url or _Environment().database_url
    if not url:
        raise _stop("DATABASE_URL is not set: postgresql://user:password@host:5432/name")
    try:
        return asyncio.run(run(url))
    except (ProviderError, InvalidDatabaseUrlError) as error:
        raise _stop(str(error)) from None


def _stop(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
