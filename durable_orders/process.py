"""How this process was started, for the commands that it tells people to type; and how it ends."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

_CONSOLE_SCRIPT: Final = "durable-orders"
_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_STARTED: Final = next(iter(getattr(sys, "argv", ())), "")  # an embedded interpreter has no argv

#: Whether this process is the console script of the installed package.
IS_CONSOLE_SCRIPT: Final = Path(_STARTED).stem == _CONSOLE_SCRIPT


def executable_word(path: str) -> str:
    """A program as a shell's word: an absolute path in the current directory becomes relative."""
    short = _relative(path)
    return shlex.quote(short if short == path or os.sep in short else os.path.join(".", short))


def _relative(path: str) -> str:
    with suppress(ValueError, OSError):  # it is elsewhere, or the current directory is gone
        if os.path.isabs(path):
            return str(Path(path).relative_to(Path.cwd()))
    return path


def _program() -> str:
    if IS_CONSOLE_SCRIPT:
        found = shutil.which(_CONSOLE_SCRIPT)
        on_path = found is not None and os.path.abspath(found) == os.path.abspath(_STARTED)
        return _CONSOLE_SCRIPT if on_path else executable_word(_STARTED)
    # An installed package lies among other people's modules: one file does not make a checkout.
    if not all((_CHECKOUT / name).is_file() for name in ("client.py", "worker.py")):
        return _CONSOLE_SCRIPT
    python = sys.orig_argv[0] if sys.orig_argv else sys.executable
    return f"{executable_word(python)} {shlex.quote(_client())}"


def _client() -> str:
    """The path of ``client.py``, as that of this program was given if it lies beside it."""
    if Path(_STARTED).parent.resolve() == _CHECKOUT:
        return _relative(os.path.join(os.path.dirname(_STARTED), "client.py"))
    return _relative(str(_CHECKOUT / "client.py"))


def _has_makefile() -> bool:
    with suppress(OSError):
        return Path.cwd() == _CHECKOUT and (_CHECKOUT / "Makefile").is_file()
    return False


#: How a shell in this process's directory runs the command line. In a checkout that is
#: ``client.py`` with the interpreter as it was called, ``.venv/bin/python client.py`` for example;
#: else ``durable-orders``, with its path if that is not on PATH.
PROGRAM: Final = _program()

#: Whether ``make`` finds our Makefile in this process's directory.
HAS_MAKEFILE: Final = _has_makefile()


def refuse_arguments(description: str) -> None:
    """Exit with 0 after ``--help``, and with 2 when there is any other argument."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Its settings are in the environment, in .env and in /run/secrets; "
        "docs/operations.md lists them.",
    )
    parser.parse_args()


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
