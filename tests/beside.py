"""A process beside the tests that all of them can connect to."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CHECKOUT: Final = Path(__file__).resolve().parents[1]


@contextmanager
def beside(
    *command: str | Path, directory: Path | None = _CHECKOUT, hears_ctrl_c: bool = False
) -> Iterator[str]:
    """Run this with Python until the block ends; the address of its socket, to connect to at once.

    The last argument it gets is the number of that socket, which listens already. Its standard
    input ends with the block, or with this process. Should it die, whoever waits for it is refused
    or reset.
    """
    with tempfile.TemporaryDirectory(prefix="orders-") as short:
        address = str(Path(short) / "socket")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.listen()
            process = subprocess.Popen(
                [sys.executable, *command, str(listening.fileno())],
                cwd=directory,
                start_new_session=not hears_ctrl_c,
                stdin=subprocess.PIPE,
                pass_fds=[listening.fileno()],
            )
        assert process.stdin is not None
        try:
            yield address
        finally:
            process.stdin.close()
            process.wait()
