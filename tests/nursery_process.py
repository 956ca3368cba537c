"""The process that forks: ``python -m tests.nursery_process``, started by ``tests/nursery.py``.

It reads a line of JSON per program to start, and writes a line when one runs and when one has
ended. At the end of its input it kills those that still run.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from processes import leave

_CHECKOUT: Final = Path(__file__).resolve().parents[1]

_CALLS: Final = ("httpcore", "anyio._backends._asyncio")
_ANSWERS: Final = ("uvicorn.lifespan.on", "uvicorn.protocols.http.auto")
_STRIPE: Final = ("stripe._payment_intent_service", "stripe._refund_service", "stripe._v2_services")

#: What a program loads: at its start, and with the first thing that it does.
_LOADED_FOR: Final = {
    "worker.py": ("worker", *_CALLS, *_STRIPE),
    "api.py": ("api", "serving", *_ANSWERS, *_CALLS, *_STRIPE),
    "sandbox": ("sandbox.__main__", "sandbox.world", *_ANSWERS, *_CALLS),
}


def serve() -> None:
    """Fork what is asked for until nobody asks any more."""
    reading, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ)
    waiting.register(reading, selectors.EVENT_READ)
    pids: set[int] = set()
    asked = b""
    while True:
        for key, _ in waiting.select():
            if key.fd == reading:
                os.read(reading, 1024)
                _report(pids)
            elif not (more := os.read(0, 65_536)):
                return _end(pids)
            else:
                *lines, asked = (asked + more).split(b"\n")
                for line in lines:
                    pid = _fork(json.loads(line))
                    pids.add(pid)
                    _say({"begun": pid})


def _fork(wanted: dict[str, Any]) -> int:
    if not wanted["anew"]:
        for module in _LOADED_FOR[wanted["program"]]:
            importlib.import_module(module)
        if wanted["program"] == "worker.py":
            _read_build_id()
        gc.freeze()  # what is loaded is no garbage of any child's
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    pid = os.fork()
    if not pid:
        _become(wanted, log)
    os.close(log)
    return pid


def _read_build_id() -> None:
    """The SDK's name for all that is loaded, which takes a worker a third of a second: once."""
    from temporalio.worker._worker import load_default_build_id  # noqa: PLC0415 - with a worker only

    load_default_build_id()


def _become(wanted: dict[str, Any], log: int) -> NoReturn:
    """Be this program, in the forked process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    program = wanted["program"]
    if wanted["anew"]:
        how = [str(_CHECKOUT / program)] if _is_file(program) else ["-m", program]
        command = [sys.executable, *how, *wanted["arguments"]]
        os.execv(sys.executable, command)  # noqa: S606 - without a shell, as it should be
    sys.argv = [program, *wanted["arguments"]]
    leave(_exit_code(lambda: _run(program)))


def _is_file(program: str) -> bool:
    return program.endswith(".py")


def _run(program: str) -> None:
    if _is_file(program):
        runpy.run_path(str(_CHECKOUT / program), run_name="__main__")
    else:
        sys.modules.pop(f"{program}.__main__", None)  # it is run, not imported
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _exit_code(run: Callable[[], None]) -> int:
    """As Python itself would end."""
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, it ends this process
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _report(pids: set[int]) -> None:
    for pid in tuple(pids):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pids.discard(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _end(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _say(fact: dict[str, int]) -> None:
    os.write(1, json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    serve()
