"""`make test-containers`: the tests that run containers, with an engine where one can be had.

Ends with 0 and one line that says why where none can be had: a machine without one is no fault.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Final

from tests.containers.engine import NoEngineError, engine
from tests.containers.images import NoImagesError, provide

_TESTS: Final = "tests/containers/running"


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with engine() as found:
            os.environ.update(found)
            provide()
            command = [
                sys.executable,
                "-m",
                "pytest",
                "tests/containers/running",
                "-rP",
                *arguments,
            ]
            return subprocess.run(command, check=False).returncode
    except (NoEngineError, NoImagesError) as error:
        print(f"containers: not tested, {error}")  # noqa: T201 - for the person who asked
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
