"""All the parts of the sandbox together: started at the same time, watched, stopped.

The class installs no signal handlers and prints nothing; `python -m sandbox` does both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sandbox import env_file as environment
from sandbox.child import PartDiedError
from sandbox.migration import migrate_and_seed
from sandbox.ports import HOST, PortBusyError, require_free
from sandbox.postgres import PostgresServer
from sandbox.state import StateLock
from sandbox.temporal_server import NAMESPACE, TemporalServer

if TYPE_CHECKING:
    from sandbox.world import World


class Sandbox:
    """The outside world on one machine: `async with Sandbox(directory) as sandbox`.

    Port 0 means any free one. `write_env` names a `.env` file to write once everything is up.
    Webhooks go to the API at `api_url`; without it to where they went before, at first to nobody.
    With `durable=False` PostgreSQL no longer waits for the disk, and `prepare` makes the tables and
    the demo's products, given the database's address, in place of `python -m store`: both are for
    tests alone.
    """

    def __init__(
        self,
        state_dir: Path,
        temporal_port: int = 0,
        ui_port: int = 0,
        world_port: int = 0,
        write_env: Path | None = None,
        *,
        api_url: str | None = None,
        time_skipping: bool = False,
        durable: bool = True,
        prepare: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.state = state_dir.absolute()
        self.environment: dict[str, str] = {}
        self.env_file_written = False
        self.temporal = TemporalServer(
            self.state / "temporal",
            port=temporal_port,
            ui_port=ui_port,
            time_skipping=time_skipping,
        )
        self.postgres = PostgresServer(self.state / "postgres", durable=durable)
        self._world: World | None = None
        self._world_port = world_port
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
    def world_url(self) -> str:
        """Where Stripe, Resend and the warehouse answer, known once the sandbox is up."""
        if self._world is None:
            raise RuntimeError("The sandbox was not started")
        return self._world.url

    @property
    def shell_file(self) -> Path:
        """The settings once more, in the state directory, where no file of the user's can be."""
        return self.state / "env"

    async def start(self) -> None:
        """Return when every part can be used; otherwise stop all and raise a `SandboxError`."""
        self._lock.take()
        try:
            await _all_or_none(self.temporal.start(), self._start_database(), self._start_world())
            self.environment = environment.settings(
                temporal_address=self.temporal_address,
                namespace=NAMESPACE,
                ui_url=self.ui_url,
                database_url=self.database_url,
                world_url=self.world_url,
            )
            environment.write(self.shell_file, self.environment)
            if self._write_env is not None:
                self.env_file_written = environment.write(self._write_env, self.environment)
        except BaseException:
            await self.stop()
            raise

    async def ended(self) -> None:
        """Wait until a part ends by itself, and raise the `PartDiedError` that tells which."""
        children = (self.temporal.child, self.postgres.child)
        watches = [asyncio.create_task(child.ended()) for child in children]
        if self._world is not None:
            watches.append(asyncio.create_task(self._world.wait()))
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
        """Stop every part, to the end even when this task is cancelled meanwhile."""
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
        self._lock.take()
        try:
            await self.temporal.wipe()
            await self.postgres.wipe()
            world = StateLock(self.state / "world")
            world.take()
            world.clear()
            world.release()
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
        note = self.postgres.state / "prepared"
        await migrate_and_seed(database_url, self.state / "store", note=note)

    async def _start_world(self) -> None:
        if self._world_port:
            require_free(self._world_port, part="the stand-in", setting="--world-port")
        # Imported while the servers are starting: a web framework takes a while.
        await asyncio.sleep(0.05)
        from sandbox.world import World, WorldPortBusyError  # noqa: PLC0415

        world = World(self.state / "world", HOST, self._world_port, api_url=self._api_url)
        try:
            await world.__aenter__()
        except WorldPortBusyError as error:
            raise PortBusyError(str(error)) from None
        self._world = world

    async def _stop_parts(self) -> None:
        world, self._world = self._world, None
        stops = [self.temporal.stop(), self.postgres.stop()]
        if world is not None:
            stops.append(world.__aexit__(None, None, None))
        for outcome in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome


async def _all_or_none(*starts: Coroutine[Any, Any, None]) -> None:
    """Run all to their end; when one fails, cancel the others and raise its error."""
    tasks = [asyncio.create_task(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
