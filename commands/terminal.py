"""What every command shares: its parts put together, its words, its exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from temporalio.service import RetryConfig

from client import OrderClient
from connection import UnreachableError, connect
from orders.ids import InvalidOrderIdError, InvalidRefundIdError
from orders.messages import Attention
from orders.order import InvalidOrderError
from orders.ports import Cards, NoSuchOrderError, OrderExistsError, ProviderError
from orders.refund_messages import RefundRef
from orders.refusals import NoCardsError, OrderClientError
from refund_client import RefundClient
from settings import CardSettings, ProcessSettings, SettingsError, temporal_profile
from store import database as store
from store.orders import PostgresOrderBook
from store.refunds import PostgresRefundBook

T = TypeVar("T")

REFUSED: Final = 1
USED_WRONGLY: Final = 2
UNREACHABLE: Final = 3

PROGRAM: Final = "python client.py"
_REFUSALS: Final = (OrderClientError, NoSuchOrderError, InvalidOrderError, OrderExistsError)
_MISTAKES: Final = (
    *(SettingsError, InvalidOrderIdError, InvalidRefundIdError, NoCardsError),
    store.InvalidDatabaseUrlError,
)

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


def until_done(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to. On Ctrl-C it is cancelled and awaited first: no call is in flight
    when we leave. Raises ``KeyboardInterrupt`` then.

    Left to ``asyncio.run``, a Ctrl-C can go unheard: one that another thread receives, or that
    comes just before the loop falls asleep, does not wake it. A handler of the loop's own does.
    """

    async def heeding() -> T:
        doing = asyncio.current_task()
        if doing is not None and threading.current_thread() is threading.main_thread():
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, doing.cancel)
        return await work

    try:
        return asyncio.run(heeding())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@dataclass(frozen=True)
class Doors:
    """What a command may use: the clients, and where a person can look at a run."""

    orders: OrderClient
    refunds: RefundClient
    runs_url: str | None = None

    def say_where(self, workflow_id: str) -> None:
        """Say where the Web UI shows the run, if we were told where the Web UI is."""
        if self.runs_url is not None:
            say(f"See its run: {self.runs_url}/{workflow_id}")


def carry_out(
    work: Callable[[OrderClient], Awaitable[None]],
    *,
    lazily: bool = False,
    with_cards: bool = False,
) -> None:
    """Do the work with orders, or say in one sentence why not; see ``carry_out_with``."""
    carry_out_with(lambda doors: work(doors.orders), lazily=lazily, with_cards=with_cards)


def carry_out_with(
    work: Callable[[Doors], Awaitable[None]], *, lazily: bool = False, with_cards: bool = False
) -> None:
    """Do the work, or say in one sentence why not.

    ``lazily``: Temporal need not be there. ``with_cards``: the card provider can be asked too.
    """

    async def run() -> None:
        async with _composed(lazily=lazily, with_cards=with_cards) as doors:
            await work(doors)

    try:
        until_done(run())
    except _MISTAKES as error:
        stop(USED_WRONGLY, str(error))
    except _REFUSALS as error:
        stop(REFUSED, str(error))
    except UnreachableError as error:
        stop(UNREACHABLE, str(error))
    except ProviderError as error:
        hint = "" if with_cards else ". Is PostgreSQL running where DATABASE_URL points?"
        # Others' words may come with line breaks.
        stop(UNREACHABLE, " ".join(str(error).split()) + hint)


@contextlib.asynccontextmanager
async def _composed(*, lazily: bool, with_cards: bool) -> AsyncIterator[Doors]:
    settings = ProcessSettings.load()
    async with contextlib.AsyncExitStack() as stack:
        cards = _cards(stack) if with_cards else None
        database = store.connect(settings.database_url.get_secret_value(), pool_size=1)
        stack.push_async_callback(database.close)
        # A person is waiting: three seconds are enough to say that nobody answers.
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        temporal = await connect(temporal_profile(), retry_config=brief, lazy=lazily)
        ui = settings.temporal_ui_url
        yield Doors(
            OrderClient(temporal, PostgresOrderBook(database), cards=cards),
            RefundClient(temporal, PostgresRefundBook(database)),
            ui and f"{ui}/namespaces/{temporal.namespace}/workflows",
        )


def _cards(stack: contextlib.AsyncExitStack) -> Cards | None:
    """The card provider, if this process has its key."""
    settings = CardSettings.load()
    if settings.stripe_api_key is None:
        return None
    # Its SDK takes a third of a second to import, which no other command should cost.
    from providers.stripe import StripeCards  # noqa: PLC0415

    key = settings.stripe_api_key.get_secret_value()
    cards = StripeCards(key, api_base=settings.stripe_api_base)
    stack.push_async_callback(cards.aclose)
    return cards
