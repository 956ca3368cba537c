"""Commands for orders: place, start, follow, cancel."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from durable_orders.cli.live import follow
from durable_orders.cli.running import run_command, run_with_orders
from durable_orders.cli.terminal import (
    REFUSED,
    AsJson,
    OrderId,
    checked,
    console,
    example,
    os_user,
    parse_line,
    print_json,
    say,
    say_attention,
    stop,
)
from durable_orders.domain.activity_messages import (
    CancelAnswer,
    Cancelled,
    CancelUnderWay,
    EndedOtherwise,
)
from durable_orders.domain.ids import (
    ACTOR_ID,
    CARD_CUSTOMER,
    CUSTOMER_ID,
    ORDER_ID,
    PAYMENT_METHOD,
    workflow_id,
)
from durable_orders.domain.order import Basket, FutureUsage, Order, PaymentOptions, Recipient
from durable_orders.domain.texts import ADDRESS, EMAIL, RECEIPT_EMAIL, RECIPIENT_NAME
from durable_orders.domain.views import without_personal_data
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.cli.composition import CliContext
    from durable_orders.clients.checkout import StartedOrder
    from durable_orders.clients.orders import OrderClient

app = typer.Typer()


@app.command(epilog=example("place --line MUG=2 --line TEE=1 --order-id 1001"))
def place(
    *,
    line: Annotated[
        list[str] | None, typer.Option(help="SKU=QUANTITY, once per product. Left out: MUG=2.")
    ] = None,
    order_id: Annotated[
        str | None,
        typer.Option(
            callback=checked(ORDER_ID),
            help="The id your shop gave the order. Left out: a new one.",
        ),
    ] = None,
    customer: Annotated[
        str, typer.Option(callback=checked(CUSTOMER_ID), help="Your id of the customer.")
    ] = "customer-1",
    name: Annotated[
        str, typer.Option(callback=checked(RECIPIENT_NAME), help="Who gets the parcel.")
    ] = "Ada Lovelace",
    email: Annotated[
        str, typer.Option(callback=checked(EMAIL), help="Who gets the mail.")
    ] = "ada@example.com",
    address: Annotated[
        str,
        typer.Option(
            callback=checked(ADDRESS), help="Where the parcel goes, on one line or several."
        ),
    ] = "12 St James's Square, London",
    card: Annotated[
        str,
        typer.Option(
            callback=checked(PAYMENT_METHOD), help="The payment method, as Stripe names it, pm_…"
        ),
    ] = "pm_card_visa",
    stripe_customer: Annotated[
        str | None,
        typer.Option(
            callback=checked(CARD_CUSTOMER),
            help="Stripe's id of the customer, cus_…, whose saved card it is, or for whom to save "
            "it. Your own id is --customer.",
        ),
    ] = None,
    off_session: Annotated[
        bool, typer.Option("--off-session", help="The customer is away: charge their saved card.")
    ] = False,
    setup_future_usage: Annotated[
        FutureUsage | None,
        typer.Option(help="Save the card, to be charged while its customer is there, or away too."),
    ] = None,
    receipt_email: Annotated[
        str | None,
        typer.Option(callback=checked(RECEIPT_EMAIL), help="Where Stripe sends its receipt."),
    ] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Have a person look at it, whatever its total.")
    ] = False,
    start: Annotated[bool, typer.Option(help="Start it at once, or only place it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Place an order at the catalogue's prices, and start it."""
    quantities = tuple(parse_line(text) for text in line or ["MUG=2"])
    id_ = secrets.token_hex(4) if order_id is None else order_id

    async def work(orders: OrderClient) -> None:
        recipient = Recipient(name, email, address)
        options = PaymentOptions(stripe_customer, off_session, setup_future_usage, receipt_email)
        basket = Basket(id_, customer, recipient, quantities, card, flagged, options)
        order = await orders.place(basket, placed_by=os_user())
        _show_placed(order, await orders.start(id_) if start else None, as_json=as_json)

    # Connect first: an order that cannot be started is not placed either.
    run_with_orders(work, lazy=not start)


@app.command("start", epilog=example("start 1001"))
def start_order(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Start an order that was placed. Safe to repeat."""

    async def work(orders: OrderClient) -> None:
        run = await orders.start(order_id)
        if as_json:
            print_json(asdict(run))
        else:
            started = "was started before" if run.already_started else "is started"
            say(f"Order {order_id} {started}. Watch it: {PROGRAM} watch {order_id}")

    run_with_orders(work)


@app.command(epilog=example("status 1001 --json"))
def status(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Show the state of an order."""

    async def work(context: CliContext) -> None:
        progress = await context.orders.status(order_id)
        if as_json:
            print_json(asdict(progress))
            return
        doing = "" if progress.doing == "ended" else f": {progress.doing}"
        say(f"Order {order_id} is {progress.status}{doing}.")
        if progress.stop:
            say(f"It does not go ahead: {progress.stop.message}.")
        elif progress.cancel_requested:
            say("A cancellation was asked for.")
        if progress.attention:
            say_attention(order_id, progress.attention)
        if not (progress.status.is_final or progress.doing == "not started yet"):
            context.say_run_url(workflow_id(order_id))

    run_command(work)


@app.command(epilog=example("watch 1001"))
def watch(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Show an order live until its end. With --json, a line per change."""

    async def work(orders: OrderClient) -> None:
        snapshots = orders.watch_view(order_id)
        if as_json:
            async for snapshot in snapshots:
                print_json(
                    {"doing": snapshot.doing, **without_personal_data(snapshot.view)}, indent=None
                )
        else:
            await follow(snapshots, console)

    run_with_orders(work)


@app.command(epilog=example("cancel 1001"))
def cancel(
    order_id: OrderId,
    *,
    by: Annotated[
        str, typer.Option(callback=checked(ACTOR_ID), help="Who asks: a role or an account id.")
    ] = "customer",
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait; 0: only leave the request.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Cancel an order, and show the outcome."""

    async def work(orders: OrderClient) -> None:
        if wait == 0:
            await orders.request_cancel(order_id, by, actor=os_user())
            answer: CancelAnswer | CancelUnderWay = CancelUnderWay()
        else:
            answer = await orders.cancel(order_id, by, timedelta(seconds=wait), actor=os_user())
        if as_json:
            print_json(asdict(answer))
        match answer:
            case EndedOtherwise(status=ended):
                stop(REFUSED, f"order {order_id} could not be cancelled, it is {ended}")
            case Cancelled(given_back=money) if not as_json:
                back = f"{money} is given back" if money else "nothing was taken"
                say(f"Order {order_id} is {answer.status}: {back}.")
            case CancelUnderWay() if not as_json:
                say(f"Asked. What becomes of it: {PROGRAM} watch {order_id}")

    run_with_orders(work)


@app.command(epilog=example("result 1001 --json"))
def result(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Wait for an order's end and say how it ended."""

    async def work(orders: OrderClient) -> None:
        outcome = await orders.result(order_id)
        if as_json:
            print_json(asdict(outcome))
            return
        say(f"Order {order_id} is {outcome.status}.")
        if outcome.stop:
            say(f"Why: {outcome.stop.message}.")
        say(f"Taken {outcome.taken}, given back {outcome.given_back}.")
        if outcome.parcel_ids:
            say(f"Parcels: {', '.join(outcome.parcel_ids)}.")

    run_with_orders(work)


def _show_placed(order: Order, run: StartedOrder | None, *, as_json: bool) -> None:
    if as_json:
        placed = {"order_id": order.id, "status": order.status, "total": asdict(order.total)}
        print_json({**placed, "run": asdict(run) if run else None})
        return
    lines = ", ".join(f"{line.quantity} x {line.name}" for line in order.lines)
    say(f"Order {order.id} is placed: {lines}, {order.total}.")
    say(f"Watch it: {PROGRAM} watch {order.id}" if run else f"Start it: {PROGRAM} start {order.id}")
