"""What every command shares: its words, its exit codes, and how it is carried out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from orders.messages import Attention
from orders.refund_messages import RefundRef

if TYPE_CHECKING:
    from commands.composition import Doors
    from durable_orders.clients.order_operations import OrderOperations
    from durable_orders.clients.orders import OrderClient

REFUSED: Final = 1
USED_WRONGLY: Final = 2
UNREACHABLE: Final = 3

PROGRAM: Final = "python client.py"

console = Console(highlight=False, soft_wrap=True)

OrderId = Annotated[str, typer.Argument(help="The order's id, as `place` printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def say(sentence: str) -> None:
    console.print(escape(sentence))


def say_refund_attention(ref: RefundRef, attention: Attention) -> None:
    """Say why a refund needs a person, and what helps."""
    say(f"{attention.step} needs attention since {attention.since}: {attention.problem}")
    words = " or ".join(word.replace("_", "-") for word in attention.can)
    say(f"What you can do: {PROGRAM} refund {words} {ref.order_id} {ref.refund_id}")


def say_heard(order_id: str, what: str, *, as_json: bool) -> None:
    """The order was told, and goes on by itself."""
    if as_json:
        print_json({"order_id": order_id, "accepted": True})
    else:
        say(f"Order {order_id} {what}. Watch it: {PROGRAM} watch {order_id}")


def print_json(value: object, *, indent: int | None = 2) -> None:
    typer.echo(json.dumps(value, default=datetime.isoformat, ensure_ascii=False, indent=indent))


def say_attention(order_id: str, attention: Attention) -> None:
    """Say what keeps failing, and what a person can do about it."""
    say(f"{attention.step} needs attention since {attention.since}: {attention.problem}")
    if attention.can:
        words = " or ".join(word.replace("_", "-") for word in attention.can)
        say(f"It is still being tried. What you can do: {PROGRAM} {words} {order_id}")
    if attention.asks_given_back:
        say("Whether the card was charged is not known: resolve it with --given-back, or 0.")


def stop(code: int, sentence: str) -> NoReturn:
    """End the command with a sentence on standard error."""
    sentence = sentence[:1].upper() + sentence[1:]
    typer.echo(sentence if sentence.endswith((".", "?")) else f"{sentence}.", err=True)
    raise typer.Exit(code)


def carry_out(
    work: Callable[[OrderClient], Awaitable[None]],
    *,
    lazily: bool = False,
    with_cards: bool = False,
) -> None:
    """Do the work with the client of orders; see ``carry_out_with``."""
    carry_out_with(lambda doors: work(doors.orders), lazily=lazily, with_cards=with_cards)


def carry_out_operation(work: Callable[[OrderOperations], Awaitable[None]]) -> None:
    """Do the work with the operators' client of orders; see ``carry_out_with``."""
    carry_out_with(lambda doors: work(doors.operations))


def carry_out_with(
    work: Callable[[Doors], Awaitable[None]], *, lazily: bool = False, with_cards: bool = False
) -> None:
    """Do the work, or say in one sentence why not.

    ``lazily``: Temporal need not be there. ``with_cards``: the card provider can be asked too.
    """
    from commands import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    composition.carry_out_with(work, lazily=lazily, with_cards=with_cards)
