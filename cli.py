"""The command line: place an order, follow it, cancel it. A composition root, like ``worker.py``.

Exit codes: 0 done, 1 refused (unknown order, too late, ended, not in the catalogue), 2 used wrongly
(options, settings), 3 Temporal or the database does not answer, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from temporalio.service import RetryConfig

from client import OrderClient, StartedOrder
from connection import UnreachableError, connect, leave
from live import follow
from orders.ids import InvalidOrderIdError
from orders.lifecycle import Status
from orders.messages import CancelAnswer, Cancelled, CancelUnderWay, EndedOtherwise
from orders.order import Basket, InvalidOrderError, Order, Recipient
from orders.ports import NoSuchOrderError, OrderExistsError, ProviderError
from orders.refusals import OrderClientError
from orders.views import without_personal_data
from settings import EdgeSettings, SettingsError, temporal_profile
from store import database as store
from store.orders import PostgresOrderBook

REFUSED: Final = 1
USED_WRONGLY: Final = 2
UNREACHABLE: Final = 3

_PROGRAM: Final = "python client.py"
_REFUSALS: Final = (OrderClientError, NoSuchOrderError, InvalidOrderError, OrderExistsError)
_MISTAKES: Final = (SettingsError, InvalidOrderIdError, store.InvalidDatabaseUrlError)

app = typer.Typer(
    help="Place orders, follow them, cancel them.",
    epilog="Try: python client.py place, then python client.py watch with the id that it prints. "
    "Exit codes: 0 done, 1 refused, 2 used wrongly, 3 Temporal or the database does not answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

OrderId = Annotated[str, typer.Argument(help="The order's id, as `place` printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command(epilog="Example: python client.py place --line MUG=2 --line TEE=1 --order-id 1001")
def place(
    *,
    line: Annotated[
        list[str] | None, typer.Option(help="SKU=QUANTITY, once per product. Left out: MUG=2.")
    ] = None,
    order_id: Annotated[
        str | None, typer.Option(help="The id your shop gave the order. Left out: a new one.")
    ] = None,
    customer: Annotated[str, typer.Option(help="Your id of the customer.")] = "customer-1",
    name: Annotated[str, typer.Option(help="Who gets the parcel.")] = "Ada Lovelace",
    email: Annotated[str, typer.Option(help="Who gets the mail.")] = "ada@example.com",
    address: Annotated[
        str, typer.Option(help="Where the parcel goes.")
    ] = "12 St James's Square, London",
    card: Annotated[
        str, typer.Option(help="The payment method, as Stripe names it, pm_…")
    ] = "pm_card_visa",
    start: Annotated[bool, typer.Option(help="Start it at once, or only place it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Place an order at the catalogue's prices, and start it."""
    quantities = tuple(_quantity(text) for text in line or ["MUG=2"])
    id_ = order_id or secrets.token_hex(4)

    async def work(orders: OrderClient) -> None:
        basket = Basket(id_, customer, Recipient(name, email, address), quantities, card)
        order = await orders.place(basket)
        _show_placed(order, await orders.start(id_) if start else None, as_json=as_json)

    # Connecting comes first: an order that could not be started is not placed either.
    _carry_out(work, lazily=not start)


@app.command("start", epilog="Example: python client.py start 1001")
def start_order(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Start an order that was placed. Twice is once."""

    async def work(orders: OrderClient) -> None:
        run = await orders.start(order_id)
        if as_json:
            _print_json(asdict(run))
        else:
            word = "was started before" if run.already_started else "is started"
            _say(f"Order {order_id} {word}. Watch it: {_PROGRAM} watch {order_id}")

    _carry_out(work)


@app.command(epilog="Example: python client.py status 1001 --json")
def status(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Say where an order stands."""

    async def work(orders: OrderClient) -> None:
        progress = await orders.status(order_id)
        if as_json:
            _print_json(asdict(progress))
            return
        doing = "" if progress.doing == "ended" else f": {progress.doing}"
        _say(f"Order {order_id} is {progress.status}{doing}.")
        if progress.stop:
            _say(f"It does not go ahead: {progress.stop.message}.")
        elif progress.cancel_requested:
            _say("A cancellation was asked for.")
        if attention := progress.attention:
            _say(
                f"{attention.step} keeps failing since {attention.since} and is still being tried: "
                f"{attention.problem}"
            )

    _carry_out(work)


@app.command(epilog="Example: python client.py watch 1001")
def watch(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Show an order live until its end. With --json, a line per change."""

    async def work(orders: OrderClient) -> None:
        sightings = orders.watch(order_id)
        if as_json:
            async for seen in sightings:
                _print_json({"doing": seen.doing, **without_personal_data(seen.view)}, indent=None)
        else:
            await follow(sightings, console)

    _carry_out(work)


@app.command(epilog="Example: python client.py cancel 1001")
def cancel(
    order_id: OrderId,
    *,
    by: Annotated[str, typer.Option(help="Who asks: a role or an account id.")] = "customer",
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait; 0: only leave the request.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Cancel an order, and say what really became of it."""

    async def work(orders: OrderClient) -> None:
        if wait == 0:
            await orders.request_cancel(order_id, by)
            answer: CancelAnswer | CancelUnderWay = CancelUnderWay()
        else:
            answer = await orders.cancel(order_id, by, timedelta(seconds=wait))
        if as_json:
            _print_json(asdict(answer))
        match answer:
            case EndedOtherwise(status=ended):
                _stop(REFUSED, f"order {order_id} could not be cancelled, it is {ended}")
            case Cancelled(given_back=money) if not as_json:
                back = f"{money} is given back" if money else "nothing was taken"
                _say(f"Order {order_id} is {answer.status}: {back}.")
            case CancelUnderWay() if not as_json:
                _say(f"Asked. What becomes of it: {_PROGRAM} watch {order_id}")

    _carry_out(work)


@app.command("list", epilog="Example: python client.py list --status paid")
def list_orders(
    *,
    status: Annotated[Status | None, typer.Option(help="Only orders of this status.")] = None,
    needs_attention: Annotated[
        bool, typer.Option("--needs-attention", help="Only orders with a step that keeps failing.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List started orders, newest first, up to a second behind."""

    async def work(orders: OrderClient) -> None:
        listed = orders.list(status, needs_attention=needs_attention, limit=limit)
        rows = [row async for row in listed]
        if as_json:
            _print_json([asdict(row) for row in rows])
            return
        table = Table("order", "status", "customer", "run", "started", "", box=None)
        for row in rows:
            flag = "needs attention" if row.needs_attention else ""
            started = f"{row.started_at:%Y-%m-%d %H:%M:%S}"
            cells = (row.order_id, row.status, row.customer_id or "", row.run, started, flag)
            table.add_row(*map(escape, cells))
        console.print(table if rows else "No such orders.")

    _carry_out(work)


@app.command(epilog="Example: python client.py result 1001 --json")
def result(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Wait for an order's end and say how it ended."""

    async def work(orders: OrderClient) -> None:
        outcome = await orders.result(order_id)
        if as_json:
            _print_json(asdict(outcome))
            return
        _say(f"Order {order_id} is {outcome.status}.")
        if outcome.stop:
            _say(f"Why: {outcome.stop.message}.")
        _say(f"Taken {outcome.taken}, given back {outcome.given_back}.")
        if outcome.parcel_ids:
            _say(f"Parcels: {', '.join(outcome.parcel_ids)}.")

    _carry_out(work)


# -- carrying it out -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _composed(*, lazily: bool) -> AsyncIterator[OrderClient]:
    settings = EdgeSettings.load()
    database = store.connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        # A person is waiting: three seconds are enough to say that nobody answers.
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        temporal = await connect(temporal_profile(), retry_config=brief, lazy=lazily)
        yield OrderClient(temporal, PostgresOrderBook(database))
    finally:
        await database.close()


def _carry_out(work: Callable[[OrderClient], Awaitable[None]], *, lazily: bool = False) -> None:
    """Do the work, or say in one sentence why not."""

    async def run() -> None:
        async with _composed(lazily=lazily) as orders:
            await work(orders)

    try:
        # On Ctrl-C it cancels and awaits the work first: no call is in flight when we leave.
        asyncio.run(run())
    except _REFUSALS as error:
        _stop(REFUSED, str(error))
    except _MISTAKES as error:
        _stop(USED_WRONGLY, str(error))
    except UnreachableError as error:
        _stop(UNREACHABLE, str(error))
    except ProviderError as error:
        _stop(UNREACHABLE, f"{error}. Is PostgreSQL running where DATABASE_URL points?")


def _stop(code: int, sentence: str) -> NoReturn:
    sentence = sentence[:1].upper() + sentence[1:]
    typer.echo(sentence if sentence.endswith((".", "?")) else f"{sentence}.", err=True)
    raise typer.Exit(code)


def _quantity(text: str) -> tuple[str, int]:
    sku, _, number = text.partition("=")
    if not (sku and number.strip().removeprefix("-").isdecimal()):
        raise typer.BadParameter(f"{text!r} is not SKU=QUANTITY, MUG=2 for example")
    return sku, int(number)


def _show_placed(order: Order, run: StartedOrder | None, *, as_json: bool) -> None:
    if as_json:
        placed = {"order_id": order.id, "status": order.status, "total": asdict(order.total)}
        _print_json({**placed, "run": asdict(run) if run else None})
        return
    lines = ", ".join(f"{line.quantity} x {line.name}" for line in order.lines)
    _say(f"Order {order.id} is placed: {lines}, {order.total}.")
    _say(
        f"Watch it: {_PROGRAM} watch {order.id}"
        if run
        else f"Start it: {_PROGRAM} start {order.id}"
    )


def _say(sentence: str) -> None:
    console.print(escape(sentence))


def _print_json(value: object, *, indent: int | None = 2) -> None:
    typer.echo(json.dumps(value, default=datetime.isoformat, ensure_ascii=False, indent=indent))


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code."""
    code: object = 0
    try:
        app(prog_name=_PROGRAM)
    except SystemExit as end:
        code = end.code
    leave(code if isinstance(code, int) else REFUSED)


if __name__ == "__main__":
    main()
