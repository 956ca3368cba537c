"""A process that forks itself for whoever asks, so that what takes long to load is loaded once.

Whoever connects sends a line of JSON for each process that he wants, and with it up to three
descriptors for it to inherit; the next line once he has heard of the last. He is told
``{"begun": pid}`` when it runs and ``{"ended": pid, "code": code}`` when it has ended. Once he is
gone, his processes are killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

#: What the forked process is to do, with what was asked for and with the descriptors that came.
Become = Callable[[dict[str, Any], list[int]], NoReturn]

_MOST_DESCRIPTORS: Final = 3


def serve(listening: socket.socket, become: Become, *, patience: float = 0) -> None:
    """Fork what is asked for until standard input ends. What then still runs ``patience`` seconds
    later is killed.

    Ctrl-C is for those who ask: they have a terminal in common.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    callers: dict[int, _Caller] = {}
    with selectors.DefaultSelector() as waiting:
        for source in (0, listening.fileno(), ended):
            waiting.register(source, selectors.EVENT_READ)
        asked = True
        while asked or any(caller.pids for caller in callers.values()):
            ready = [key.fd for key, _ in waiting.select(None if asked else patience)]
            if not ready:
                break
            for source in ready:
                if source == 0:
                    asked = False
                    waiting.unregister(0)
                elif source == listening.fileno():
                    accepted, _ = listening.accept()
                    callers[accepted.fileno()] = _Caller(accepted)
                    waiting.register(accepted, selectors.EVENT_READ)
                elif source == ended:
                    os.read(ended, 1024)
                    for caller in callers.values():
                        caller.reap()
                elif callers[source].fork(become):
                    waiting.unregister(source)
            for source in [fd for fd, caller in callers.items() if caller.gone and not caller.pids]:
                callers.pop(source).close()
    for caller in callers.values():
        caller.kill()
        caller.reap(wait=True)


class _Caller:
    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted
        self._asked = b""
        self._descriptors: list[int] = []
        self.pids: set[int] = set()
        self.gone = False

    def fork(self, become: Become) -> bool:
        """Do what he asks for; whether he is gone instead."""
        try:
            more, descriptors, *_ = socket.recv_fds(self._socket, 65_536, _MOST_DESCRIPTORS)
        except ConnectionResetError:  # killed, with something unread
            more, descriptors = b"", []
        if not more:
            self.gone = True
            self.kill()
            return True
        self._descriptors += descriptors
        *lines, self._asked = (self._asked + more).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                become(json.loads(line), self._descriptors)
            self.pids.add(pid)
            while self._descriptors:
                os.close(self._descriptors.pop())
            self._tell({"begun": pid})
        return False

    def reap(self, *, wait: bool = False) -> None:
        for pid in tuple(self.pids):
            ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
            if ended:
                self.pids.discard(pid)
                self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def kill(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is no other's

    def close(self) -> None:
        self._socket.close()

    def _tell(self, fact: dict[str, int]) -> None:
        with suppress(OSError):  # he may be gone
            self._socket.sendall(json.dumps(fact).encode() + b"\n")
