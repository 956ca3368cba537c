"""The whole sandbox: start, watch and stop Temporal, PostgreSQL and the stand-in together.

The class installs no signal handlers and prints nothing; `python -m sandbox` does both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sandbox import env_file
from sandbox.child import PartDiedError
from sandbox.migration import migrate_and_seed
from sandbox.ports import HOST, PortBusyError, require_free
from sandbox.postgres import PostgresServer
from sandbox.state import StateLock
from sandbox.temporal_server import NAMESPACE, TemporalServer

if TYPE_CHECKING:
    from sandbox.world import StandInServer


class Sandbox:
    """A running sandbox: `async with Sandbox(directory) as sandbox`.

    Port 0 means any free one. `write_env` is the `.env` file to write once everything is up.
    `api_url` is the API that gets the webhooks: None keeps the endpoints of the last run, an empty
    string turns webhooks off. For tests only: `durable=False` runs PostgreSQL without waiting for
    the disk, and `prepare` creates the tables and the demo's products in the database at a URL, in
    place of `python client.py store`.
    """

    def __init__(
        self,
        state_dir: Path,
        temporal_port: int = 0,
        ui_port: int = 0,
        stand_in_port: int = 0,
        write_env: Path | None = None,
        *,
        api_url: str | None = None,
        time_skipping: bool = False,
        durable: bool = True,
        prepare: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.state = state_dir.absolute()
        self.settings: dict[str, str] = {}
        self.env_file_written = False
        self.temporal = TemporalServer(
            self.state / "temporal",
            port=temporal_port,
            ui_port=ui_port,
            time_skipping=time_skipping,
        )
        self.postgres = PostgresServer(self.state / "postgres", durable=durable)
        self._stand_in: StandInServer | None = None
        self._stand_in_port = stand_in_port
        self._api_url = api_url
        self._write_env = write_env
        self._prepare = prepare or self._migrate_and_seed
        self._lock = StateLock(self.state)

    @property
    def temporal_address(self) -> str:
        return self.temporal.address

    @property
    def temporal_binary(self) -> str:
        return self.temporal.binary

    @property
    def ui_url(self) -> str:
        return self.temporal.ui_url

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def stand_in_url(self) -> str:
        """The URL of the stand-in, known once the sandbox is up."""
        if self._stand_in is None:
            raise RuntimeError("The sandbox was not started")
        return self._stand_in.url

    @property
    def shell_file(self) -> Path:
        """A second file with the settings, in the state directory, where it is always written."""
        return self.state / "env"

    async def start(self) -> None:
        """Return when every part is ready; on failure stop all and raise a `SandboxError`."""
        self._lock.acquire()
        try:
            await _start_all(self.temporal.start(), self._start_database(), self._start_stand_in())
            self.settings = env_file.settings(
                temporal_address=self.temporal_address,
                namespace=NAMESPACE,
                ui_url=self.ui_url,
                database_url=self.database_url,
                stand_in_url=self.stand_in_url,
            )
            env_file.write(self.shell_file, self.settings)
            if self._write_env is not None:
                self.env_file_written = env_file.write(self._write_env, self.settings)
        except BaseException:
            await self.stop()
            raise

    async def ended(self) -> None:
        """Wait until a part ends unexpectedly, and raise its `PartDiedError`."""
        children = (self.temporal.child, self.postgres.child)
        watches = [asyncio.create_task(child.ended()) for child in children]
        if self._stand_in is not None:
            watches.append(asyncio.create_task(self._stand_in.wait()))
        try:
            await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        for child in children:
            if not child.running:
                raise child.died()
        raise PartDiedError("The stand-in for Stripe, Resend and the warehouse ended by itself.")

    async def stop(self) -> None:
        """Stop every part, completely even when this task is cancelled meanwhile."""
        stopping = asyncio.create_task(self._stop_parts())
        cancelled: asyncio.CancelledError | None = None
        while not stopping.done():
            try:
                await asyncio.shield(stopping)
            except asyncio.CancelledError as error:
                cancelled = error
        self._lock.release()
        if cancelled is not None:
            raise cancelled
        stopping.result()

    async def wipe(self) -> None:
        """Empty the state of every part; the sandbox must not be running."""
        self._lock.acquire()
        try:
            await self.temporal.wipe()
            await self.postgres.wipe()
            stand_in = StateLock(self.state / "world")
            stand_in.acquire()
            stand_in.clear()
            stand_in.release()
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

    async def _start_database(self) -> None:
        await self.postgres.start()
        await self._prepare(self.database_url)

    async def _migrate_and_seed(self, database_url: str) -> None:
        stamp = self.postgres.state / "prepared"
        await migrate_and_seed(database_url, self.state / "store", stamp=stamp)

    async def _start_stand_in(self) -> None:
        if self._stand_in_port:
            require_free(self._stand_in_port, part="the stand-in", setting="--world-port")
        # Imported while the servers start: importing a web framework is slow.
        await asyncio.sleep(0.05)
        from sandbox.world import StandInPortBusyError, StandInServer  # noqa: PLC0415

        stand_in = StandInServer(
            self.state / "world", HOST, self._stand_in_port, api_url=self._api_url
        )
        try:
            await stand_in.__aenter__()
        except StandInPortBusyError as error:
            raise PortBusyError(str(error)) from None
        self._stand_in = stand_in

    async def _stop_parts(self) -> None:
        stand_in, self._stand_in = self._stand_in, None
        stops = [self.temporal.stop(), self.postgres.stop()]
        if stand_in is not None:
            stops.append(stand_in.__aexit__(None, None, None))
        for outcome in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome


async def _start_all(*starts: Coroutine[Any, Any, None]) -> None:
    """Run all concurrently; when one fails, cancel the others and raise its error."""
    tasks = [asyncio.create_task(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
