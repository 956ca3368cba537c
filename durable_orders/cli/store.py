"""Commands for the database: migrate it, fill it, check it, archive what is old, and administer its
installation.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from durable_orders.cli.terminal import (
    DATABASE_HINT,
    REFUSED,
    UNREACHABLE,
    USED_WRONGLY,
    checked,
    example,
    stop,
)
from durable_orders.domain.installation import INSTALLATION_NAME
from durable_orders.domain.texts import escaped
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.domain.installation import Installation
    from durable_orders.store.database import Database

T = TypeVar("T")

_PROGRESS_SECONDS: Final = 5.0
_INTERRUPTED: Final = 130

app: typer.Typer = typer.Typer(
    help="The database: migrate it, fill the catalogue, add everything up, archive old histories; "
    "name the installation."
)
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql://…; else DATABASE_URL from the environment or .env"),
]
NewName = Annotated[
    str | None,
    typer.Argument(
        callback=checked(INSTALLATION_NAME),
        help="4 to 24 lowercase letters and digits; without a name, one is made",
    ),
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
    """Show the installation; check stock against orders and money against statuses.

    Exit 1 when something is off.
    """
    from durable_orders.store.consistency_check import (  # noqa: PLC0415 - as above
        find_inconsistencies,
    )
    from durable_orders.store.installation import (  # noqa: PLC0415 - as above
        PostgresInstallationRepository,
    )

    async def look(database: Database) -> tuple[Installation, list[str]]:
        installation = await PostgresInstallationRepository(database).get()
        return installation, await find_inconsistencies(database)

    installation, found = _with_database(database_url, look)
    _say(installation)
    for sentence in found:
        typer.echo(escaped(sentence))
    if found:
        raise typer.Exit(1)
    typer.echo("Everything adds up.")


@app.command(epilog=example("store archive --dry-run"))
def archive(
    *,
    older_than: Annotated[
        int,
        typer.Option(
            min=1,
            max=36_500,
            metavar="DAYS",
            help="How long nothing must have happened to an order.",
        ),
    ] = 400,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="At most so many orders, the oldest.  [default: all]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Move nothing, say what would be moved.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Move the histories of orders that ended long ago into the archive.

    Everything goes on showing them. Safe to repeat, to interrupt, and while orders are processed.
    Each transaction is short; an order that is in use is left for the next time.
    """
    from durable_orders.store.archive import archive_histories  # noqa: PLC0415 - as above

    now = datetime.now(UTC)
    before = now - timedelta(days=older_than)
    orders = lines = 0

    async def move(database: Database) -> None:
        nonlocal orders, lines
        told = time.monotonic()
        moving = archive_histories(database, before, now, limit=limit, dry_run=dry_run)
        async with contextlib.aclosing(moving):
            async for moved in moving:
                orders, lines = orders + moved.orders, lines + moved.lines
                if time.monotonic() - told > _PROGRESS_SECONDS:
                    told = time.monotonic()
                    reached = f"{moved.reached:%Y-%m-%d}"
                    typer.echo(f"{orders:,} orders so far, in lines of {reached}.", err=True)

    try:
        _with_database(database_url, move)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. Moved {_archived(orders, lines)} Start it again to go on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    would = "Would move" if dry_run else "Moved"
    typer.echo(f"{would} {_archived(orders, lines)}")
    typer.echo(f"They had ended before {before:%Y-%m-%d %H:%M} UTC, and were quiet since.")


def _archived(orders: int, lines: int) -> str:
    histories = "the history of 1 order" if orders == 1 else f"the histories of {orders:,} orders"
    return f"{histories} into the archive, {lines:,} lines."


@app.command(epilog=example("store rename"))
def rename(name: NewName = None, database_url: DatabaseUrl = None) -> None:
    """Rename the installation. Orders that are placed from now on carry the new name.

    Those that were placed before keep theirs, and stay this installation's own.
    """
    from durable_orders.store.installation import (  # noqa: PLC0415 - as above
        PostgresInstallationRepository,
        new_name,
    )

    async def change(database: Database) -> Installation:
        return await PostgresInstallationRepository(database).rename(name or new_name())

    _say(_with_database(database_url, change))


@app.command(epilog=example("store adopt"))
def adopt(name: NewName = None, database_url: DatabaseUrl = None) -> None:
    """Make a copied database an installation of its own, with a new name and not bound yet.

    Orders that the copied installation placed stay that one's: they are never charged, shipped,
    mailed or audited from here. Stop the workers first.
    """
    from durable_orders.store.installation import (  # noqa: PLC0415 - as above
        PostgresInstallationRepository,
        new_name,
    )

    async def change(database: Database) -> tuple[str, Installation]:
        book = PostgresInstallationRepository(database)
        before = await book.get()
        return before.name, await book.adopt(name or new_name())

    before, adopted = _with_database(database_url, change)
    _say(adopted)
    typer.echo(f"Was this no copy? This takes it back: {PROGRAM} store rename {before}")


@app.command(epilog=example("store rebind"))
def rebind(database_url: DatabaseUrl = None) -> None:
    """Take the binding to a Stripe account off: the shop itself has moved to another account.

    The next worker or API with a key binds the installation again.
    """
    from durable_orders.store.installation import (  # noqa: PLC0415 - as above
        PostgresInstallationRepository,
    )

    async def change(database: Database) -> Installation:
        return await PostgresInstallationRepository(database).rebind()

    _say(_with_database(database_url, change))


def _say(installation: Installation) -> None:
    former = ", ".join(installation.former_names)
    named = f"{installation.name} (before: {former})" if former else installation.name
    bound = f"bound to {installation.account}" if installation.account else "not bound yet"
    typer.echo(f"Installation {named}, {bound}.")


def _with_database(url: str | None, use: Callable[[Database], Awaitable[T]]) -> T:
    from durable_orders.domain.installation import (  # noqa: PLC0415 - as above
        InvalidInstallationNameError,
        OrdersUnderWayError,
    )
    from durable_orders.domain.ports import ProviderError  # noqa: PLC0415 - as above
    from durable_orders.settings import DatabaseSettings, SettingsError  # noqa: PLC0415 - as above
    from durable_orders.store.database import (  # noqa: PLC0415 - as above
        InvalidDatabaseUrlError,
        MigrationNeededError,
        connect,
    )
    from durable_orders.store.migrations import SchemaVersionError  # noqa: PLC0415 - as above

    async def run(url: str) -> T:
        database = connect(url, pool_size=1, statement_timeout=600)
        try:
            return await use(database)
        finally:
            await database.close()

    try:
        url = url or DatabaseSettings.load().database_url.get_secret_value()
        return asyncio.run(run(url))
    except (SettingsError, InvalidDatabaseUrlError) as error:
        stop(USED_WRONGLY, str(error))
    except OrdersUnderWayError as error:
        stop(REFUSED, str(error), f"{PROGRAM} store adopt")
    except (InvalidInstallationNameError, SchemaVersionError) as error:
        stop(REFUSED, str(error))
    except MigrationNeededError as error:
        stop(UNREACHABLE, str(error), f"{PROGRAM} store migrate")
    except ProviderError as error:
        stop(UNREACHABLE, " ".join(str(error).split()) + DATABASE_HINT)
