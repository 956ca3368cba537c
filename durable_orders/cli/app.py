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
    disputes,
    operations,
    orders,
    parcels,
    payments,
    refunds,
    sessions,
    store,
)
from durable_orders.cli.terminal import REFUSED, example
from durable_orders.process import IS_CONSOLE_SCRIPT, PROGRAM, exit_process

app = typer.Typer(
    help="Place orders; follow, cancel and refund them; decide, and help those that are stuck.",
    epilog=f"{example('place')}\n\nExit codes: 0 done, 1 refused, 2 used wrongly, "
    "3 Temporal or the database does not answer.",
    no_args_is_help=True,
    # A shell completes a program by its name: `durable-orders`, but not `python client.py`.
    add_completion=IS_CONSOLE_SCRIPT,
    pretty_exceptions_enable=False,
)
# The help lists commands under these headings. A part with a name is a group of commands.
for heading, part, name in (
    ("Orders", orders, None),
    ("Payments", payments, None),
    ("Parcels", parcels, None),
    ("Operators", operations, None),
    ("Refunds", refunds, "refund"),
    ("Disputes", disputes, "disputes"),
    ("Audit", audit, None),
    ("API keys", api_keys, "keys"),
    ("API keys", sessions, "sessions"),
    ("Database", store, "store"),
):
    if name is None:
        for command in part.app.registered_commands:
            command.rich_help_panel = heading
    app.add_typer(part.app, name=name, rich_help_panel=heading)


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code."""
    code: object = 0
    try:
        # Completion scripts are named after it, so for the console script it has no path.
        app(prog_name="durable-orders" if IS_CONSOLE_SCRIPT else PROGRAM)
    except SystemExit as end:
        code = end.code
    exit_process(code if isinstance(code, int) else REFUSED)
