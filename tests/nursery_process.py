"""The process that has loaded our programs and forks them for ``tests/nursery.py``.

It has not loaded the tests: what they change of the SDK and of our settings is not for programs.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from temporalio.worker._worker import load_default_build_id

from processes import exit_process
from tests.forks import serve

_CHECKOUT: Final = Path(__file__).resolve().parents[1]

#: What our programs load: at their start, and with the first thing that they do.
_LOADED: Final = (
    *("worker", "api", "cli", "serving", "sandbox.__main__", "sandbox.world"),
    *("httpcore", "anyio._backends._asyncio", "uvicorn.lifespan.on", "uvicorn.protocols.http.auto"),
    *("stripe._payment_intent_service", "stripe._refund_service", "stripe._v2_services"),
)


def load() -> None:
    gc.disable()  # nothing of it is garbage, nor any child's
    for module in _LOADED:
        importlib.import_module(module)
    # The SDK's name for all that is loaded, which takes a worker a third of a second.
    load_default_build_id()
    gc.freeze()
    gc.enable()


def become(wanted: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Be this program, in the forked process; the descriptor is of its log."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    [log] = descriptors
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
    exit_process(_exit_code(lambda: _run(program)))


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


if __name__ == "__main__":
    load()
    serve(socket.socket(fileno=int(sys.argv[1])), become)
