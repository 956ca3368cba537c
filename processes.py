"""One process as several that do the same: started, replaced and stopped together."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

log = logging.getLogger(__name__)

#: Longer than a process lets its requests finish.
_LONGEST_STOP: Final = 30.0
_PAUSE: Final = 1.0

# Not forked: Temporal's client has threads, which a fork would leave behind.
_SPAWN: Final = multiprocessing.get_context("spawn")

#: What runs in each process: called with the arguments, and with what to call once it is ready.
Work = Callable[..., object]


def side_by_side(count: int, work: Work, *arguments: Any) -> int:
    """Run ``work(*arguments, ready)`` in ``count`` processes until SIGTERM or SIGINT.

    Returns the exit code. ``work`` runs until SIGTERM, and calls ``ready()`` once it can do what it
    is for. A process that dies is replaced; one that dies before it was ready would die again, so
    that ends all, with 1.
    """
    return _Processes(count, work, arguments).run()


def parent_is_gone() -> int:
    """For ``work``: a file descriptor that can be read once the process that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - called by ``work`` only
    return parent.sentinel


class _Processes:
    def __init__(self, count: int, work: Work, arguments: tuple[Any, ...]) -> None:
        self._count = count
        self._work = work
        self._arguments = arguments
        self._running: dict[BaseProcess, Connection] = {}
        self._ready: set[BaseProcess] = set()
        self._stopping = False
        self._failed = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        for _ in range(self._count):
            self._start()
        while self._running and not self._stopping:
            self._look()
        self._see_them_off()
        return 1 if self._failed else 0

    def _start(self) -> None:
        says, hears = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_in_child, args=(self._work, self._arguments, hears))
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


def _in_child(work: Work, arguments: tuple[Any, ...], hears: Connection) -> None:
    # A terminal's Ctrl-C is for all of its processes: ours are told by the one that started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(*arguments, lambda: hears.send(None))
