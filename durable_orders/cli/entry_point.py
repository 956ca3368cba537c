"""Entry point of ``durable-orders`` and ``python client.py``: the commands, if all they need is
installed.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from durable_orders.extras import missing_extra
from durable_orders.process import exit_process

_USED_WRONGLY = 2


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code.

    Where an extra is missing: a sentence that names it, and the exit code 2.
    """
    try:
        from durable_orders.cli import app  # noqa: PLC0415 - typer may not be installed

        app.main()
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        print(f"{missing}", file=sys.stderr)  # noqa: T201 - for the person who started it
        exit_process(_USED_WRONGLY)
