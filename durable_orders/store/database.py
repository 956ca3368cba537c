"""Connections to PostgreSQL: engine, transactions, and translation of errors into the domain's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from durable_orders.domain.ports import (
    DatabaseAwayError,
    InvalidValueError,
    LockedOutError,
    ProviderError,
    RefusedError,
)
from durable_orders.store.address import InvalidDatabaseUrlError, parse_database_url
from durable_orders.store.connector import DRIVER_ERRORS, Connector, NotWritableError, is_lost
from durable_orders.store.sqlstates import Meaning, meaning_of

__all__ = [
    "FOREIGN_KEY_VIOLATION",
    "UNIQUE_VIOLATION",
    "Database",
    "InvalidDatabaseUrlError",
    "MigrationNeededError",
    "NotWritableError",
    "Record",
    "connect",
    "sqlstate",
]

# SQLSTATEs that the store catches itself.
UNIQUE_VIOLATION: Final = "23505"
FOREIGN_KEY_VIOLATION: Final = "23503"
READ_ONLY: Final = "25006"

_READ_ONLY: Final = text(
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
)


class Record(asyncpg.Record):  # type: ignore[misc]
    """A row, whose columns are attributes, as those of SQLAlchemy's are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _LostConnectionError(Exception):
    """The connection ended, for this ``error``, before the answer came."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class MigrationNeededError(DatabaseAwayError):
    """The database lacks what this version needs; orders wait until it is migrated."""


class Database:
    """Connection pool. Create it with ``connect``, end it with ``close``."""

    def __init__(self, engine: AsyncEngine, url: str, connector: Connector) -> None:
        #: The address that it was made with; it may hold a password.
        self.url = url
        self._autocommit = engine
        self._connector = connector
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
        """Autocommit connection for a single statement: one round trip, not three."""
        with _translate_errors():
            async with self._autocommit.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Read-only transaction whose statements all see the same snapshot of the database."""
        with _translate_errors(read_only=True):
            async with self._snapshot.begin() as connection:
                yield connection

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        """Run one statement, past SQLAlchemy, in a transaction of its own: one round trip.

        The statement has to be safe to repeat: it is tried once more on a new connection when the
        server ends the one that it was sent on. Raises as ``transaction`` does.
        """
        with _translate_errors():
            try:
                return await self._fetch(sql, arguments)
            except _LostConnectionError:
                pass
            try:
                return await self._fetch(sql, arguments)
            except _LostConnectionError as lost:
                raise lost.error from None

    async def _fetch(self, sql: str, arguments: tuple[object, ...]) -> list[Record]:
        found: list[Record] = await greenlet_spawn(self._fetch_from_pool, sql, arguments)
        return found

    def _fetch_from_pool(self, sql: str, arguments: tuple[object, ...]) -> list[Record]:
        checked_out = self._autocommit.sync_engine.raw_connection()
        driver: Any = checked_out.driver_connection
        try:
            found: list[Record] = await_only(driver.fetch(sql, *arguments, record_class=Record))
        except DRIVER_ERRORS as error:
            if is_lost(error, driver):
                self._connector.throw_siblings_away(checked_out)
                checked_out.invalidate(error)
                if not isinstance(error, TimeoutError):
                    raise _LostConnectionError(error) from None
            raise
        except BaseException:  # cancelled: the statement may be under way still
            checked_out.invalidate()
            raise
        finally:
            checked_out.close()
        return found

    async def require_writable(self) -> None:
        """Ask whether the database takes writes. Raises ``NotWritableError``, ``NoAnswerError``."""
        async with self.statement() as connection:
            if await connection.scalar(_READ_ONLY):
                await connection.invalidate()
                raise NotWritableError

    async def healthy(self) -> bool:
        """Whether the database answers, and takes writes."""
        try:
            await self.require_writable()
        except ProviderError:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def connect(
    url: str,
    *,
    pool_size: int = 10,
    connect_timeout: float = 5,
    statement_timeout: float = 20,
    ping_after: float = 1,
) -> Database:
    """Create a pool of at most ``pool_size`` connections; times in seconds. One that has not been
    used for ``ping_after`` is pinged first.

    Connections are opened at first use, so a missing database shows only then. Raises
    ``InvalidDatabaseUrlError``.
    """
    connector = Connector(
        parse_database_url(url),
        connect_timeout=connect_timeout,
        statement_timeout=statement_timeout,
        ping_after=ping_after,
    )
    engine = create_async_engine(
        "postgresql+asyncpg://",  # the connector knows the address
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=connector.patience + statement_timeout,
        # After a restart of the database a ping fails here, not one of the three attempts to
        # charge. In autocommit the ping is one round trip; in a transaction it would be three.
        pool_pre_ping=True,
        # Those in use stay in use, and need no ping.
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",
        # Parameters hold names and addresses, which belong in no log and no workflow history.
        hide_parameters=True,
    )
    connector.attach(engine)
    return Database(engine, url, connector)


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's error code, empty when the error is not PostgreSQL's."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None) or ""


@contextmanager
def _translate_errors(*, read_only: bool = False) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, *DRIVER_ERRORS) as error:
        # Not chained: PostgreSQL's details quote whole rows, and Temporal stores the whole chain.
        raise _domain_error(error, read_only=read_only) from None


def _domain_error(error: Exception, *, read_only: bool) -> ProviderError:
    code = sqlstate(error)
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
    what = f"{type(cause).__name__} {code}".strip()
    if code == READ_ONLY and not read_only:
        return NotWritableError()
    match Meaning.OUR_BUG if code == READ_ONLY else _meaning(cause, code):
        case Meaning.MIGRATE:
            return MigrationNeededError(
                "the database lacks a table, column or function: migrate it"
            )
        case Meaning.OPERATOR:
            return LockedOutError(f"the database does not let us in ({code})")
        case Meaning.CALLERS_MISTAKE:
            return InvalidValueError(f"the database cannot hold a value that it was given: {what}")
        case Meaning.OUR_BUG:
            constraint = getattr(cause, "constraint_name", None)
            return RefusedError(
                f"the database refuses this: {f'against {constraint}' if constraint else what}"
            )
    return DatabaseAwayError(f"the database gave no answer: {what}")


def _meaning(cause: BaseException | None, code: str) -> Meaning:
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Meaning.TRY_AGAIN  # a migration has changed what it returns; it is prepared anew
    return meaning_of(code)
