"""Runs the stand-in in a running event loop; the application can drop a connection unanswered."""

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.world.app import create_app
from sandbox.world.request_pipeline import Clock
from sandbox.world.stripe.account import ACCOUNT_ID


def _not_a_cancellation(record: logging.LogRecord) -> bool:
    """Log filter: uvicorn logs a cancelled start as an error, with a traceback."""
    return "asyncio.exceptions.CancelledError" not in record.getMessage()


class StandInPortBusyError(OSError):
    """Another process uses the port."""


class _HangUpProtocol(H11Protocol):
    """Gives the application `scope["extensions"]["hang_up"]`, which drops the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_hang_up(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})["hang_up"] = transport.abort
            await app(scope, receive, send)

        self.app = with_hang_up


class _Server(uvicorn.Server):
    """A uvicorn server that sets an event when it listens and installs no signal handlers."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_HangUpProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=75,
            )
        )
        self.listening = asyncio.Event()
        logging.getLogger("uvicorn.error").addFilter(_not_a_cancellation)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class StandInServer:
    """The running stand-in: `async with StandInServer(state) as stand_in: … stand_in.url`.

    `state` is a directory, or a file named `….sqlite`. Port 0 takes a free one. A test can pass its
    own `clock`. For `api_url` and `account_id` see `create_app`.
    """

    def __init__(
        self,
        state: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Clock = time.time,
        api_url: str | None = None,
        account_id: str = ACCOUNT_ID,
    ) -> None:
        self._state, self._host, self._port, self._clock = state, host, port, clock
        self._api_url, self._account_id = api_url, account_id
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        listener = listen(self._host, self._port)
        host = "127.0.0.1" if self._host in {"0.0.0.0", ""} else self._host  # noqa: S104  compared
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        self._app = create_app(
            self._state, clock=self._clock, api_url=self._api_url, account_id=self._account_id
        )
        self._server = _Server(self._app)
        self._running = asyncio.create_task(self._server.serve([listener]), name="world")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._running, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            self._running.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None and self._running is not None:
            self._app.state.fault_registry.clear()  # ends the delays of requests in flight
            self._server.should_exit = True
            await self._running

    async def wait(self) -> None:
        """Wait until the server ends, which it does by itself only when it fails."""
        if self._running is not None:
            await asyncio.shield(self._running)


async def serve(state: Path, host: str, port: int) -> None:
    """Run the stand-in until cancelled."""
    async with StandInServer(state, host, port) as stand_in:
        await stand_in.wait()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ``WorldPortBusyError``."""
    # asyncio sets TCP_NODELAY on the connections of a socket only if its protocol is named. Without
    # that, an answer in two parts waits some 40 ms for the client to acknowledge the first one.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Not left to uvicorn: another program may have bound the port too, and only one can listen.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StandInPortBusyError(
                f"The sandbox cannot listen on {host}:{port}: another program uses that port. "
                "Stop it, or choose another port."
            ) from error
        raise
    return listener
