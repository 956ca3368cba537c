"""pytest's workers, without the seconds that each would take to load and collect all tests.

Six processes that load the same are a tenth of all that a run does. Here one does, and the workers
are forked from it: see ``tests/prefork_process.py``.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

_PROCESS: Final = Path(__file__).with_name("prefork_process.py")


def fork_workers(config: pytest.Config, specs: list[Any]) -> None:
    """Have xdist's workers on this machine forked, until pytest ends. ``specs`` are execnet's."""
    opened = ExitStack()
    config.add_cleanup(opened.close)
    address = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="orders-"))) / "workers"
    listening = opened.enter_context(socket.socket(socket.AF_UNIX))
    listening.bind(str(address))
    listening.listen(len(specs))
    process = opened.enter_context(
        subprocess.Popen(
            [sys.executable, _PROCESS, "collect", str(listening.fileno()), *config.args],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        )
    )
    assert process.stdin is not None
    opened.callback(process.stdin.close)
    command = shlex.join([sys.executable, "-S", str(_PROCESS), "join", str(address)])
    specs[:] = [type(spec)(f"{spec}//python={command}") for spec in specs]
