"""The process that collects once and forks pytest's workers, and what xdist starts in their place.

``tests/prefork.py`` starts the first, with the tests to collect; xdist starts the second instead of
a Python of its own. That one hands over its standard streams, and ends as its worker does.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

#: Standard input, output and error.
_STREAMS = (0, 1, 2)
#: Longer than a worker takes to stop its servers.
_LONGEST_END = 15.0


def collect_and_fork(listening: socket.socket, collected: list[str]) -> None:
    """Serve whoever connects, until standard input ends and with it, a little later, the workers.

    Ctrl-C is for them: they have a terminal in common.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _collect(collected)
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    callers: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as waiting:
        for source in (0, listening.fileno(), ended):
            waiting.register(source, selectors.EVENT_READ)
        asked = True
        while asked or callers:
            ready = waiting.select(None if asked else _LONGEST_END)
            if not ready:
                _kill(callers)
                return
            for key, _ in ready:
                if key.fd == 0:
                    asked = False
                    waiting.unregister(0)
                elif key.fd == ended:
                    os.read(ended, 1024)
                    for pid, code in _reaped(callers):
                        caller = callers.pop(pid)
                        waiting.unregister(caller)
                        with suppress(OSError), caller:
                            caller.send(bytes([code]))
                elif key.fd == listening.fileno():
                    caller, _ = listening.accept()
                    pid = _fork(caller)
                    callers[pid] = caller
                    waiting.register(caller, selectors.EVENT_READ, pid)
                else:  # it says nothing more: it is gone
                    with suppress(ProcessLookupError):
                        os.kill(key.data, signal.SIGKILL)


def _collect(collected: list[str]) -> None:
    """Load all tests. What is wrong with one, the workers find and report."""
    import pytest  # noqa: PLC0415 - `join` is quick because it loads nothing

    said = [os.dup(stream) for stream in _STREAMS[1:]]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _STREAMS[1:]:
        os.dup2(nowhere, stream)
    pytest.main(["--collect-only", "-p", "no:cacheprovider", *collected])
    for stream, before in zip(_STREAMS[1:], said, strict=True):
        os.dup2(before, stream)


def _fork(caller: socket.socket) -> int:
    _, streams, _, _ = socket.recv_fds(caller, 1, len(_STREAMS))
    pid = os.fork()
    if not pid:
        _become_worker(streams)
    for stream in streams:
        os.close(stream)
    return pid


def _become_worker(streams: list[int]) -> NoReturn:
    """Do what ``python -c`` does for execnet: run the line that comes."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, given in zip(_STREAMS, streams, strict=True):
        os.dup2(given, stream)
    os.closerange(3, 256)
    code = 1
    try:
        exec(eval(sys.stdin.readline()), {"__name__": "__main__"})  # noqa: S102, S307 - execnet's way
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it ends this process
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reaped(pids: dict[int, socket.socket]) -> list[tuple[int, int]]:
    """The children that have ended, each with its exit code."""
    ends = [os.waitpid(pid, os.WNOHANG) for pid in pids]
    return [(pid, os.waitstatus_to_exitcode(status) & 0xFF) for pid, status in ends if pid]


def _kill(pids: dict[int, socket.socket]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def join(address: str) -> int:
    """Have a worker forked that reads and writes what this process would; its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(address)
        socket.send_fds(caller, [b"."], list(_STREAMS))
        return ord(caller.recv(1) or b"\1")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["join", address, *_]:
            sys.exit(join(address))
        case ["collect", number, *tests]:
            collect_and_fork(socket.socket(fileno=int(number)), tests)
