"""Opens connections to a server that takes writes, and notices when it stops taking them.

Works through a pooler in transaction mode (pgbouncer): no setting belongs to the session, and there
prepared statements have no names, since the next transaction may run in another backend.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only

from durable_orders.domain.ports import DatabaseAwayError, LockedOutError, ProviderError
from durable_orders.store.address import DatabaseAddress
from durable_orders.store.sqlstates import Meaning, meaning_of

log = logging.getLogger(__name__)

#: What the driver raises, the last one when a connection ends in the middle of a conversation.
DRIVER_ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# A frozen worker must not keep an order's row locked for ever. Poolers refuse this as a startup
# parameter, and as a session's setting it would stay with the pooler's connection.
_IN_TRANSACTION: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s';"

#: A pooler makes up the process id of the backend that it announces.
_LOOK: Final = """
SELECT pg_backend_pid() AS pid,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_setting('default_transaction_isolation') AS isolation
"""

#: What single statements need too: each statement of a function that one of them calls has to see
#: what others have committed, also while it waited for a lock.
_ISOLATION: Final = "read committed"

#: What PostgreSQL (14 and newer) reports of itself whenever it changes, without being asked.
_REPORTED: Final = ("in_hot_standby", "default_transaction_read_only")

#: SQLAlchemy's, before a connection of the pool is used.
_PING: Final = ";"

#: How pgbouncer puts it.
_UNKNOWN_PARAMETER: Final = "unsupported startup parameter"
_STATEMENT_MODE: Final = "statement pooling"


class NotWritableError(DatabaseAwayError):
    """The database answers and takes no writes: it is a standby, or read-only."""

    def __init__(self) -> None:
        super().__init__(
            "the database takes no writes: each host of DATABASE_URL is a standby or read-only"
        )


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose transactions bring their settings along, in the same round trip."""

    #: Seconds for an answer to a ping; a server that takes longer is frozen, or as good as that.
    ping_timeout: float
    #: Seconds after its last use in which it needs no ping: its socket is told when it ends. A
    #: server that freezes within them is noticed by the time limit of a statement.
    ping_after: float
    #: When it was last put back into the pool, after an answer, on the clock of ``time.monotonic``.
    used_at: float = float("-inf")

    async def execute(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's signature
    ) -> str:
        if query.startswith("BEGIN") and not args:
            query += _IN_TRANSACTION
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        if query != _PING:
            return await super().fetchrow(query, *args, **options)
        if not self.is_closed() and time.monotonic() - self.used_at < self.ping_after:
            return None
        try:
            return await super().fetchrow(query, timeout=self.ping_timeout)
        except TimeoutError:
            raise asyncpg.ConnectionDoesNotExistError("there is no answer to a ping") from None


class Connector:
    """Opens the connections of one engine; see ``attach``. Times in seconds."""

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        connect_timeout: float,
        statement_timeout: float,
        ping_after: float,
    ) -> None:
        self._address = address
        self._ping_after = ping_after
        self._hosts: list[tuple[str, int] | None] = list(address.hosts) or [None]
        self._timeout = address.connect_timeout or connect_timeout
        self._statement_timeout = statement_timeout
        #: Whether the last connection went through a pooler; None: there was none yet.
        self._pooled: bool | None = None
        #: When a connection was found to be of no use, on the clock of ``time.monotonic``: those
        #: that were opened before lead to the same server.
        self._lost_at = float("-inf")

    @property
    def patience(self) -> float:
        """How long opening a connection may take."""
        return self._timeout * len(self._hosts)

    def attach(self, engine: AsyncEngine) -> None:
        """Open the engine's connections, and throw away those that have become useless."""
        event.listen(engine.sync_engine, "do_connect", self._do_connect)
        event.listen(engine.sync_engine, "connect", self._remember)
        event.listen(engine.sync_engine, "checkout", self._check_out)
        event.listen(engine.sync_engine, "checkin", _note_use)
        event.listen(engine.sync_engine, "handle_error", _throw_away)

    def throw_siblings_away(self, lost: PoolProxiedConnection) -> None:
        """Have each connection that is open now closed before it is used again."""
        if lost.info["opened_at"] > self._lost_at:  # else it is one of those itself
            self._lost_at = time.monotonic()

    def _do_connect(self, dialect: Dialect, _record: object, _args: object, _named: object) -> Any:
        connection, pooled = await_only(self._open())

        async def opened() -> asyncpg.Connection:
            return connection

        if not pooled:
            return dialect.connect(async_creator_fn=opened)
        return dialect.connect(
            async_creator_fn=opened,
            prepared_statement_cache_size=0,
            prepared_statement_name_func=str,  # the empty name: replaced by the next statement
        )

    async def _open(self) -> tuple[asyncpg.Connection, bool]:
        """A connection to the first host that takes writes, and whether a pooler is between."""
        failures: list[Exception] = []
        for host in tuple(self._hosts):
            try:
                async with asyncio.timeout(self._timeout):
                    opened = await self._open_at(host)
            except (*DRIVER_ERRORS, ProviderError) as error:
                failures.append(error)
                continue
            if host is not self._hosts[0]:
                # A dead host would cost every new connection the time to find out.
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                log.warning("the database's connections go to %s:%s from now on", *host or ())
            return opened
        raise _most_telling(failures)

    async def _open_at(self, host: tuple[str, int] | None) -> tuple[asyncpg.Connection, bool]:
        connection = await self._connect(host, cached=not self._pooled)
        try:
            pooled = await self._look(connection)
            if pooled and not self._pooled:
                connection.terminate()
                connection = await self._connect(host, cached=False)
                await _require_transactions(connection)
        except BaseException:
            connection.terminate()
            raise
        self._pooled = pooled
        return connection, pooled

    async def _connect(self, host: tuple[str, int] | None, *, cached: bool) -> asyncpg.Connection:
        where = {} if host is None else {"host": host[0], "port": host[1]}
        connection: asyncpg.Connection = await asyncpg.connect(
            **self._address.connect,
            **where,
            timeout=None,
            command_timeout=self._statement_timeout,
            statement_cache_size=100 if cached else 0,
            connection_class=_Connection,
            target_session_attrs="any",  # behind a pooler only asking tells
            server_settings={
                "application_name": "durable-orders",
                "TimeZone": "UTC",
                **self._address.server_settings,
            },
        )
        connection.ping_timeout = self._timeout
        connection.ping_after = self._ping_after
        return connection

    async def _look(self, connection: asyncpg.Connection) -> bool:
        """Whether there is a pooler. Has single statements run with our isolation level.

        Raises ``NotWritableError``, and ``LockedOutError`` when only an operator can set the level.
        """
        row = await (await connection.prepare(_LOOK, name="")).fetchrow()
        if row["read_only"] and self._address.writable:
            raise NotWritableError
        pooled = bool(row["pid"] != connection.get_server_pid())
        if row["isolation"] != _ISOLATION:
            if pooled:
                raise LockedOutError(
                    f"the database has transactions begin as {row['isolation']}, and through a "
                    "connection pooler we cannot: set default_transaction_isolation of our role to "
                    f"'{_ISOLATION}'"
                )
            await connection.execute(f"SET default_transaction_isolation = '{_ISOLATION}'")
        return pooled

    def _remember(self, connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["reported"] = _reported(connection)
        record.info["opened_at"] = time.monotonic()

    def _check_out(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        """Notice without a round trip that the server is gone, or takes no writes any more."""
        if record.info["opened_at"] <= self._lost_at:
            raise InvalidatePoolError("another connection to the server was of no use")
        if not self._address.writable:
            return
        now, before = _reported(connection), record.info["reported"]
        if any(is_on and not was_on for is_on, was_on in zip(now, before, strict=True)):
            raise InvalidatePoolError("the server takes no writes any more")


async def _require_transactions(connection: asyncpg.Connection) -> None:
    """Raise ``LockedOutError`` when the pooler has no transactions."""
    try:
        await connection.execute("BEGIN;")
        await connection.execute("ROLLBACK;")
    except asyncpg.PostgresError as error:
        if _STATEMENT_MODE not in str(error):
            raise
        raise LockedOutError(
            "the connection pooler is in statement mode, where there are no transactions: "
            "set pool_mode = transaction"
        ) from None


def _connect_error(error: Exception) -> Exception:
    """What to raise for an error of connecting: there, a statement of ours is never the cause."""
    code = getattr(error, "sqlstate", None) or ""
    if _UNKNOWN_PARAMETER in str(error):
        return LockedOutError(_pooler_refuses(str(error)))
    if meaning_of(code) in {Meaning.OUR_BUG, Meaning.CALLERS_MISTAKE, Meaning.MIGRATE}:
        return LockedOutError(
            f"the database refuses the connection ({code}): look at the parameters of DATABASE_URL"
        )
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return LockedOutError("asyncpg refuses DATABASE_URL: look at its parameters")
    return error


def _pooler_refuses(said: str) -> str:
    known = ("options", "application_name", "TimeZone")
    name = next((name for name in known if said.lower().endswith(name.lower())), "a parameter")
    return (
        f"the connection pooler refuses {name}: take it out of DATABASE_URL, or add it to "
        "ignore_startup_parameters of the pooler"
    )


def _most_telling(failures: list[Exception]) -> Exception:
    """The error to raise when no host is usable: one that needs an operator, else the first."""
    errors = [_connect_error(failure) for failure in failures]
    needs_operator = (
        error
        for error in errors
        if isinstance(error, LockedOutError)
        or meaning_of(getattr(error, "sqlstate", None) or "") is Meaning.OPERATOR
    )
    not_writable = (error for error in errors if isinstance(error, NotWritableError))
    return next(needs_operator, None) or next(not_writable, None) or errors[0]


def _reported(connection: Any) -> tuple[bool, ...]:
    settings = connection.driver_connection.get_settings()
    return tuple(getattr(settings, name, "off") == "on" for name in _REPORTED)


def _note_use(connection: Any, _record: ConnectionPoolEntry) -> None:
    if connection is not None:  # it is of use still
        connection.driver_connection.used_at = time.monotonic()


def is_lost(error: BaseException, connection: asyncpg.Connection) -> bool:
    """Whether an error of this connection leaves it, and its siblings, of no use."""
    code = getattr(error, "sqlstate", None) or ""
    return (
        connection.is_closed()
        or isinstance(error, OSError | asyncpg.InternalClientError)  # TimeoutError is an OSError
        or (bool(code) and meaning_of(code) is Meaning.NEW_CONNECTION)
    )


def _throw_away(context: ExceptionContext) -> None:
    """Close a connection that is of no use, and its siblings, which lead to the same server."""
    cause = getattr(context.original_exception, "__cause__", None) or context.original_exception
    if isinstance(cause, TimeoutError | asyncpg.InternalClientError):
        context.is_disconnect = True  # its statement may be under way still, on a frozen server
        return
    code = getattr(cause, "sqlstate", None) or ""
    if code and meaning_of(code) is Meaning.NEW_CONNECTION:
        context.is_disconnect = True
