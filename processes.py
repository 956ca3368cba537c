"""One process as several that do the same: started, replaced and stopped together. How one ends."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, NoReturn

log = logging.getLogger(__name__)

#: Longer than a process lets its requests finish.
_LONGEST_STOP: Final = 30.0
_PAUSE: Final = 1.0

# Forked, so that what takes long to load is loaded once. A fork would leave threads behind, and the
# first process has none: it makes no client of Temporal. Elsewhere the system may start some.
_CONTEXT: Final = (
    multiprocessing.get_context("fork")
    if sys.platform == "linux"
    else multiprocessing.get_context("spawn")
)
_ASKED_TO_STOP: Final = (signal.SIGTERM, signal.SIGINT)

#: What runs in each process: called with the arguments, and with what to call once it is ready. It
#: returns the exit code, None for 0.
Work = Callable[..., int | None]

#: The end of a pipe whose other end the first process alone holds.
_first: ContextVar[Connection] = ContextVar("first")


def side_by_side(count: int, work: Work, *arguments: Any) -> int:
    """Run ``work(*arguments, ready)`` in ``count`` processes until SIGTERM or SIGINT.

    Returns the exit code. ``work`` runs until SIGTERM, and calls ``ready()`` once it can do what it
    is for. A process that dies is replaced; one that dies before it was ready would die again, so
    that ends all, with 1.
    """
    return _Processes(count, work, arguments).run()


def parent_is_gone() -> int:
    """For ``work``: a file descriptor that can be read once the process that started it is gone."""
    return _first.get().fileno()


def leave(code: int) -> NoReturn:
    """End a process that has used a client.

    The SDK's threads may still be letting go of a call that was answered a moment ago. Python would
    then abort instead of ending (https://github.com/temporalio/sdk-python/issues/300), so it is not
    asked to tear itself down.
    """
    logging.shutdown()
    with suppress(OSError):  # nobody reads what we print: a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class _Processes:
    def __init__(self, count: int, work: Work, arguments: tuple[Any, ...]) -> None:
        self._count = count
        self._work = work
        self._arguments = arguments
        self._first = _CONTEXT.Pipe(duplex=False)
        self._running: dict[BaseProcess, Connection] = {}
        self._ready: set[BaseProcess] = set()
        self._stopping = False
        self._failed = False

    def run(self) -> int:
        for number in _ASKED_TO_STOP:
            signal.signal(number, lambda *_: self._stop())
        for _ in range(self._count):
            self._start()
        while self._running and not self._stopping:
            self._look()
        self._see_them_off()
        return 1 if self._failed else 0

    def _start(self) -> None:
        says, hears = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(
            target=_in_child, args=(self._work, self._arguments, hears, self._first)
        )
        with _signals_wait():
            process.start()
        hears.close()
        self._running[process] = says
        if self._stopping:  # told so while it was being started
            process.terminate()

    def _stop(self) -> None:
        self._stopping = True
        for process in tuple(self._running):
            process.terminate()

    def _look(self) -> None:
        """Wait for something to happen to a process, and see to it."""
        ends = {process.sentinel: process for process in self._running}
        silent = {says: p for p, says in self._running.items() if p not in self._ready}
        # Not for ever: a signal is seen to between two calls.
        seen = set(wait([*ends, *silent], timeout=1.0))
        for says in silent.keys() & seen:
            self._hear(silent[says])
        for sentinel in ends.keys() & seen:
            self._bury(ends[sentinel])

    def _hear(self, process: BaseProcess) -> None:
        with suppress(EOFError):  # it died without a word: that is seen by itself
            self._running[process].recv()
            self._ready.add(process)
            if len(self._ready) == self._count:
                log.info("all %d processes are ready", self._count)

    def _bury(self, process: BaseProcess) -> None:
        process.join()
        self._running.pop(process).close()
        was_ready = process in self._ready
        self._ready.discard(process)
        if self._stopping:
            return
        if not was_ready:
            log.critical("process %s ended with %s at its start", process.pid, process.exitcode)
            self._failed = True
            self._stop()
            return
        log.error("process %s ended with %s: replaced", process.pid, process.exitcode)
        time.sleep(_PAUSE)
        if not self._stopping:
            self._start()

    def _see_them_off(self) -> None:
        until = time.monotonic() + _LONGEST_STOP
        for process, says in self._running.items():
            process.join(max(until - time.monotonic(), 0))
            if process.is_alive():
                log.error("process %s does not stop: killed", process.pid)
                process.kill()
                process.join()
                self._failed = True
            elif process.exitcode not in {0, -signal.SIGTERM}:  # the latter: not yet listening
                self._failed = True
            says.close()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """One that comes within the block is seen to after it: the new process is not to take it for
    its own and do what the first one does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED_TO_STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child(
    work: Work,
    arguments: tuple[Any, ...],
    hears: Connection,
    first: tuple[Connection, Connection],
) -> NoReturn:
    # A terminal's Ctrl-C is for all of its processes: ours are told by the one that started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED_TO_STOP)
    ends, held = first
    held.close()
    _first.set(ends)
    sys.exit(work(*arguments, lambda: hears.send(None)))
