"""What the commands share: their context, arguments, output and exit codes."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.ids import ACTOR_ID, ORDER_ID, SKU
from durable_orders.domain.operators.commands import offered_commands
from durable_orders.domain.refunds.messages import RefundRef
from durable_orders.domain.texts import REMARK, InvalidTextError, TextFormat, escaped, escaped_json
from durable_orders.process import PROGRAM

REFUSED: Final = 1
USED_WRONGLY: Final = 2
UNREACHABLE: Final = 3

DATABASE_HINT: Final = ". Is PostgreSQL running where DATABASE_URL points?"

console = Console(highlight=False, soft_wrap=True)


def os_user() -> str:
    """Who runs the command, as the operating system knows them: ``cli:ana``, and ``cli:1007`` where
    it has no name for them.

    Not ``getpass.getuser()``: that believes LOGNAME and its like, which anybody may set.
    """
    uid = os.getuid()
    try:
        user = f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user
        user = ""
    return user if ACTOR_ID.matches(user) else f"cli:{uid}"


def checked(format_: TextFormat) -> Callable[[str | None], str | None]:
    """A callback of arguments and options: exit unless the text is of this format, or left out."""

    def check(text: str | None) -> str | None:
        try:
            return None if text is None else format_.check(text)
        except InvalidTextError as error:
            stop(USED_WRONGLY, str(error))

    return check


OrderId = Annotated[
    str,
    typer.Argument(callback=checked(ORDER_ID), help="The order's id, as `place` printed it."),
]
By = Annotated[
    str,
    typer.Option(
        callback=checked(ACTOR_ID),
        help="Who decides: an account id or a role, never a name; kept beside who runs this.",
    ),
]
Note = Annotated[str, typer.Option(callback=checked(REMARK), help="Why, for the order's history.")]
Reason = Annotated[str, typer.Option(callback=checked(REMARK), help="Why, without personal data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def parse_line(text: str) -> tuple[str, int]:
    """SKU and quantity in ``SKU=QUANTITY``; the SKU may hold spaces and equals signs.

    Raises ``typer.BadParameter``.
    """
    sku, _, quantity = text.rpartition("=")
    if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", quantity) or not SKU.matches(sku):
        raise typer.BadParameter(f"{text[:200]!r} is not SKU=QUANTITY, MUG=2 for example")
    return sku, int(quantity)


def cell(text: str) -> str:
    """A cell of a table, whose text may come from outside."""
    return escape(escaped(text))


def say(sentence: str) -> None:
    """Print a sentence, whose texts may come from outside."""
    console.print(cell(sentence))


def say_accepted(order_id: str, what: str, *, as_json: bool) -> None:
    """Say that the order accepted the request, and goes on by itself."""
    if as_json:
        print_json({"order_id": order_id, "accepted": True})
    else:
        say(f"Order {order_id} {what}. Watch it: {PROGRAM} watch {order_id}")


def print_json(value: object, *, indent: int | None = 2) -> None:
    text = json.dumps(value, default=datetime.isoformat, ensure_ascii=False, indent=indent)
    typer.echo(escaped_json(text))


def say_attention(about: str | RefundRef, attention: Attention) -> None:
    """Say what keeps an order (its id) or a refund failing, and which commands help."""
    say(f"{attention.step} needs attention since {attention.since}: {attention.problem}")
    if attention.can:
        is_tried = attention.is_tried and not isinstance(about, RefundRef)
        tried = "It is still being tried. " if is_tried else ""
        say(f"{tried}What you can do:")
    for offered in offered_commands(attention, about):
        say(f"  {offered.effect}:")
        say(f"    {PROGRAM} {offered.arguments}")
    if attention.asks_given_back:
        say("Whether the card was charged is not known: AMOUNT is what was given back, or 0.")


def example(arguments: str) -> str:
    """The epilog of a command: an example on a line of its own, which is not broken in two."""
    return f"Example:\n\n{escape(PROGRAM)} {arguments}"


def stop(code: int, sentence: str, command: str | None = None) -> NoReturn:
    """Exit with this code and a sentence on standard error, then the command that helps.

    ``command`` has a line of its own: it can be copied as it is.
    """
    sentence = "\n".join(map(escaped, (sentence[:1].upper() + sentence[1:]).splitlines()))
    typer.echo(sentence if sentence.endswith((".", "?")) else f"{sentence}.", err=True)
    if command is not None:
        typer.echo(f"  {command}", err=True)
    raise typer.Exit(code)
