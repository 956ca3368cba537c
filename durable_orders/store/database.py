"""Connections to PostgreSQL: engine, transactions, and translation of errors into the domain's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import URL, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from durable_orders.domain.ports import (
    DatabaseAwayError,
    LockedOutError,
    ProviderError,
    RefusedError,
)

# URL parameters: those that asyncpg names otherwise than other drivers, and all that are allowed.
_RENAMED: Final = {"sslmode": "ssl", "connect_timeout": "timeout"}
_ALLOWED: Final = frozenset({"host", "port", "ssl", "timeout", "prepared_statement_cache_size"})

# SQLSTATE: classes and codes, see appendix A of the PostgreSQL manual.
_WRONG_REQUEST: Final = ("22", "23", "42", "P0")  # data, constraint, syntax, raised by a trigger
_LOCKED_OUT: Final = ("28", "42501")
_NOT_MIGRATED: Final = ("42P01", "42703")
UNIQUE_VIOLATION: Final = "23505"
FOREIGN_KEY_VIOLATION: Final = "23503"


class InvalidDatabaseUrlError(ValueError):
    """The text is not a PostgreSQL URL; the message says why."""


def asyncpg_url(url: str) -> URL:
    """SQLAlchemy's URL for asyncpg, from ``postgresql://`` or ``postgresql+…://``.

    ``?host=/directory`` names a unix socket. Raises ``InvalidDatabaseUrlError``, which never
    repeats the URL: it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidDatabaseUrlError(
            "the database address cannot be read: postgresql://user:password@host:5432/name"
        ) from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidDatabaseUrlError(
            f"the database address begins with {parsed.drivername}://, not with postgresql://"
        )
    query = {_RENAMED.get(name, name): value for name, value in parsed.query.items()}
    if unknown := sorted(query.keys() - _ALLOWED):
        raise InvalidDatabaseUrlError(
            f"asyncpg does not know {', '.join(unknown)} in the database address"
        )
    return parsed.set(drivername="postgresql+asyncpg", query=query)


class MigrationNeededError(DatabaseAwayError):
    """The database lacks what this version needs; orders wait until it is migrated."""


class Database:
    """Connection pool. Create it with ``connect``, end it with ``close``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine
        self.engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._snapshot = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Transaction: committed at the end of the block, rolled back by an exception.

        Raises ``NoAnswerError`` when the outcome is unknown (also when the commit gets no answer),
        ``RefusedError`` when the database refuses a statement.
        """
        with _translate_errors():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """Autocommit connection for a single statement: one round trip, not three, and the ping."""
        with _translate_errors():
            async with self._autocommit.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Read-only transaction whose statements all see the same snapshot of the database."""
        with _translate_errors():
            async with self._snapshot.begin() as connection:
                yield connection

    async def healthy(self) -> bool:
        """Whether the database answers a query."""
        try:
            async with self.statement() as connection:
                await connection.execute(select(1))
        except ProviderError:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def connect(
    url: str, *, pool_size: int = 10, connect_timeout: float = 5, statement_timeout: float = 20
) -> Database:
    """Create a pool of at most ``pool_size`` connections; times in seconds.

    Connections are opened at first use, so a missing database shows only then. Raises
    ``InvalidDatabaseUrlError``.
    """
    return Database(
        create_async_engine(
            asyncpg_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout + statement_timeout,
            # After a restart of the database a ping fails here, not one of the three attempts to
            # charge. In autocommit the ping is one round trip; in a transaction it would be three.
            pool_pre_ping=True,
            isolation_level="AUTOCOMMIT",
            # Parameters hold names and addresses, which belong in no log and no workflow history.
            hide_parameters=True,
            connect_args={
                "timeout": connect_timeout,
                "command_timeout": statement_timeout,
                "server_settings": {
                    "application_name": "durable-orders",
                    "TimeZone": "UTC",
                    # A frozen worker must not keep an order's row locked for ever.
                    "idle_in_transaction_session_timeout": "60s",
                },
            },
        )
    )


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's error code, empty when the error is not PostgreSQL's."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None) or ""


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # Not chained: PostgreSQL's details quote whole rows, and Temporal stores the whole chain.
        raise _domain_error(error) from None


def _domain_error(error: Exception) -> ProviderError:
    code = sqlstate(error)
    if code in _NOT_MIGRATED:
        return MigrationNeededError("the database lacks a table or column: migrate it")
    if code.startswith(_LOCKED_OUT):
        return LockedOutError(f"the database does not let us in ({code})")
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
    if code.startswith(_WRONG_REQUEST) or isinstance(cause, asyncpg.DataError):
        constraint = getattr(cause, "constraint_name", None)
        what = f"against {constraint}" if constraint else f"{type(cause).__name__} {code}".strip()
        return RefusedError(f"the database refuses this: {what}")
    return DatabaseAwayError(f"the database gave no answer: {type(cause).__name__} {code}".strip())
