"""End a process that has used a Temporal client."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn


def exit_process(code: int) -> NoReturn:
    """Flush the output and end the process at once with this exit code.

    The SDK's threads may still be releasing a call that has just been answered. An ordinary exit
    of Python would then abort (https://github.com/temporalio/sdk-python/issues/300), so the
    interpreter is not torn down: no ``atexit`` handler runs.
    """
    logging.shutdown()
    with suppress(OSError):  # nobody reads what we print: a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
