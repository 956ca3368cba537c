"""An event loop in a thread of its own, for synchronous code such as a view of Django's."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


class Background(Generic[T]):
    """Opens a client in the loop of a background thread, and has the thread do the calls.

    The client is opened by the first call, not before: a server may fork its processes after it has
    loaded the application, and neither a thread nor a connection to Temporal survives that.
    """

    def __init__(self, open_client: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._open_client = open_client
        self._opening = threading.Lock()
        self._opened: tuple[asyncio.AbstractEventLoop, T] | None = None

    def call(self, work: Callable[[T], Coroutine[Any, Any, Result]]) -> Result:
        """Do the work with the client, and return its result. Any thread may call."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
        loop, client = self._opened
        return _done(work(client), loop)

    def _open(self) -> tuple[asyncio.AbstractEventLoop, T]:
        loop, stack = asyncio.new_event_loop(), AsyncExitStack()
        threading.Thread(target=loop.run_forever, name="orders", daemon=True).start()
        try:
            client = _done(stack.enter_async_context(self._open_client()), loop)
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        atexit.register(lambda: _done(stack.aclose(), loop))
        return loop, client


def _done(work: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop) -> Result:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
