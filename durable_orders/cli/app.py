"""The command line, ``durable-orders`` or ``python client.py``: the commands of this package.

Exit codes: 0 done, 1 refused (unknown order, too late, ended, not in the catalogue, not waited
for), 2 used wrongly (options, settings, an extra that is not installed), 3 Temporal, the database
or the card provider does not answer, 130 interrupted.
"""

from __future__ import annotations

from typing import NoReturn

import typer

from durable_orders.cli import (
    api_keys,
    audit,
    operations,
    orders,
    parcels,
    payments,
    refunds,
    store,
)
from durable_orders.cli.terminal import PROGRAM, REFUSED
from durable_orders.process import exit_process

app = typer.Typer(
    help="Place orders; follow, cancel and refund them; decide, and help those that are stuck.",
    epilog="Try: python client.py place, then python client.py watch with the id that it prints. "
    "Exit codes: 0 done, 1 refused, 2 used wrongly, 3 Temporal or the database does not answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (orders, payments, operations, parcels, audit):
    app.add_typer(part.app)
app.add_typer(refunds.app, name="refund")
app.add_typer(api_keys.app, name="keys")
app.add_typer(store.app, name="store")


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code."""
    code: object = 0
    try:
        app(prog_name=PROGRAM)
    except SystemExit as end:
        code = end.code
    exit_process(code if isinstance(code, int) else REFUSED)
