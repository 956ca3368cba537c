"""What the commands share: their context, output and exit codes."""

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
_REFUSED_ERRORS: Final = (OrderClientError, NoSuchOrderError, InvalidOrderError, OrderExistsError)
_USAGE_ERRORS: Final = (
    SettingsError,
    InvalidOrderIdError,
    InvalidRefundIdError,
    NoCardsError,
    store.InvalidDatabaseUrlError,
)

console = Console(highlight=False, soft_wrap=True)

OrderId = Annotated[str, typer.Argument(help="The order's id, as `place` printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def say(sentence: str) -> None:
    console.print(escape(sentence))


def say_refund_attention(ref: RefundRef, attention: Attention) -> None:
    """Say why a refund needs a person, and which commands help."""
    say(f"{attention.step} needs attention since {attention.since}: {attention.problem}")
    names = " or ".join(name.replace("_", "-") for name in attention.can)
    say(f"What you can do: {PROGRAM} refund {names} {ref.order_id} {ref.refund_id}")


def say_accepted(order_id: str, what: str, *, as_json: bool) -> None:
    """Say that the order accepted the request, and goes on by itself."""
    if as_json:
        print_json({"order_id": order_id, "accepted": True})
    else:
        say(f"Order {order_id} {what}. Watch it: {PROGRAM} watch {order_id}")


def print_json(value: object, *, indent: int | None = 2) -> None:
    typer.echo(json.dumps(value, default=datetime.isoformat, ensure_ascii=False, indent=indent))


def say_attention(order_id: str, attention: Attention) -> None:
    """Say what keeps failing, and which commands help."""
    say(f"{attention.step} needs attention since {attention.since}: {attention.problem}")
    if attention.can:
        names = " or ".join(name.replace("_", "-") for name in attention.can)
        say(f"It is still being tried. What you can do: {PROGRAM} {names} {order_id}")
    if attention.asks_given_back:
        say("Whether the card was charged is not known: resolve it with --given-back, or 0.")


def stop(code: int, sentence: str) -> NoReturn:
    """Exit with this code and a sentence on standard error."""
    sentence = sentence[:1].upper() + sentence[1:]
    typer.echo(sentence if sentence.endswith((".", "?")) else f"{sentence}.", err=True)
    raise typer.Exit(code)


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run the work and return its result. Ctrl-C cancels and awaits it, so that no call is in
    flight afterwards, and raises ``KeyboardInterrupt``.

    ``asyncio.run`` alone can miss a Ctrl-C: one that another thread receives, or that comes just
    before the loop falls asleep, does not wake it. A signal handler of the loop does.
    """

    async def run() -> T:
        task = asyncio.current_task()
        if task is not None and threading.current_thread() is threading.main_thread():
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@dataclass(frozen=True)
class CliContext:
    """What a command uses: the clients, and the address of the runs in the Temporal Web UI."""

    orders: OrderClient
    refunds: RefundClient
    runs_url: str | None = None

    def say_run_url(self, workflow_id: str) -> None:
        """Say where the Web UI shows the run, if the settings name the Web UI."""
        if self.runs_url is not None:
            say(f"See its run: {self.runs_url}/{workflow_id}")


def run_with_orders(
    work: Callable[[OrderClient], Awaitable[None]],
    *,
    lazy: bool = False,
    with_cards: bool = False,
) -> None:
    """``run_command``, with the order client alone."""
    run_command(lambda context: work(context.orders), lazy=lazy, with_cards=with_cards)


def run_command(
    work: Callable[[CliContext], Awaitable[None]], *, lazy: bool = False, with_cards: bool = False
) -> None:
    """Run the work, or exit with a sentence about the error.

    ``lazy``: connect to Temporal when it is first called. ``with_cards``: with the card provider.
    """

    async def run() -> None:
        async with _open_context(lazy=lazy, with_cards=with_cards) as context:
            await work(context)

    try:
        run_until_done(run())
    except _USAGE_ERRORS as error:
        stop(USED_WRONGLY, str(error))
    except _REFUSED_ERRORS as error:
        stop(REFUSED, str(error))
    except UnreachableError as error:
        stop(UNREACHABLE, str(error))
    except ProviderError as error:
        hint = "" if with_cards else ". Is PostgreSQL running where DATABASE_URL points?"
        # The messages of libraries may hold line breaks.
        stop(UNREACHABLE, " ".join(str(error).split()) + hint)


@contextlib.asynccontextmanager
async def _open_context(*, lazy: bool, with_cards: bool) -> AsyncIterator[CliContext]:
    settings = ProcessSettings.load()
    async with contextlib.AsyncExitStack() as stack:
        cards = _cards(stack) if with_cards else None
        database = store.connect(settings.database_url.get_secret_value(), pool_size=1)
        stack.push_async_callback(database.close)
        # A person is waiting: give up after three seconds.
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        temporal = await connect(temporal_profile(), retry_config=brief, lazy=lazy)
        ui = settings.temporal_ui_url
        yield CliContext(
            OrderClient(temporal, PostgresOrderBook(database), cards=cards),
            RefundClient(temporal, PostgresRefundBook(database)),
            ui and f"{ui}/namespaces/{temporal.namespace}/workflows",
        )


def _cards(stack: contextlib.AsyncExitStack) -> Cards | None:
    """The card provider, if the settings have its key."""
    settings = CardSettings.load()
    if settings.stripe_api_key is None:
        return None
    # Its SDK takes a third of a second to import: only for commands that use it.
    from providers.stripe import StripeCards  # noqa: PLC0415

    key = settings.stripe_api_key.get_secret_value()
    cards = StripeCards(key, api_base=settings.stripe_api_base)
    stack.push_async_callback(cards.aclose)
    return cards
