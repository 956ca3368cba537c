"""The process that collects once and forks pytest's workers, and what xdist starts in their place.

``tests/shared.py`` starts the first, with the tests to collect; xdist starts the second instead of
a Python of its own. That one hands over its standard streams, and ends as its worker does.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from typing import Any, Final, NoReturn

#: Standard input, output and error.
_STREAMS: Final = (0, 1, 2)
#: Longer than a worker takes to stop its servers.
_LONGEST_END: Final = 15.0


def collect(collected: list[str]) -> None:
    """Load all tests. What is wrong with one, the workers find and report."""
    gc.disable()  # nothing of it is garbage
    import pytest  # noqa: PLC0415 - `join` is quick because it loads nothing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said = [os.dup(stream) for stream in _STREAMS[1:]]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _STREAMS[1:]:
        os.dup2(nowhere, stream)
    pytest.main(["--collect-only", "-p", "no:cacheprovider", *collected], [_Remembering()])
    _name_all_that_is_loaded()
    _draw_something()
    gc.freeze()  # nor any worker's
    gc.enable()
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, before in zip(_STREAMS[1:], said, strict=True):
        os.dup2(before, stream)


class _Remembering:
    """Has the workers know what there is to collect, unless they are to report that some is not."""

    def __init__(self) -> None:
        self._all_is_well = True

    def pytest_collectreport(self, report: Any) -> None:
        self._all_is_well &= report.passed

    def pytest_collection_finish(self, session: Any) -> None:
        from tests import later  # noqa: PLC0415 - found as pytest finds the tests

        if self._all_is_well:
            later.remember(session.items)


def _name_all_that_is_loaded() -> None:
    """Temporal's SDK does, for a process's first worker: a third of a second."""
    from temporalio.worker._worker import load_default_build_id  # noqa: PLC0415 - as above

    load_default_build_id()


def _draw_something() -> None:
    """For its first text Hypothesis reads all of Unicode, and for its first examples all modules
    of ours, for the constants in them: four seconds in a fresh checkout.
    """
    from hypothesis import HealthCheck, given, settings, strategies  # noqa: PLC0415 - as above

    enough = settings(
        max_examples=50,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    enough(given(strategies.text())(lambda _: None))()


def become_worker(_: dict[str, Any], streams: list[int]) -> NoReturn:
    """Do what ``python -c`` does for execnet: run the line that comes."""
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


def join(address: str) -> int:
    """Have a worker forked that reads and writes what this process would; its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as forks, forks.makefile("rb") as facts:
        forks.connect(address)
        socket.send_fds(forks, [b"{}\n"], list(_STREAMS))
        for fact in map(json.loads, facts):
            if "ended" in fact:
                return int(fact["code"]) & 0xFF
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["join", address, *_]:
            sys.exit(join(address))
        case ["collect", *tests, number]:
            collect(tests)
            from tests.forks import serve  # found as pytest finds the tests

            serve(socket.socket(fileno=int(number)), become_worker, patience=_LONGEST_END)
