"""Commands for payments: submit another card, finish 3-D Secure, read a payment again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from durable_orders.cli.running import run_with_orders
from durable_orders.cli.terminal import (
    AsJson,
    OrderId,
    checked,
    example,
    print_json,
    say,
    say_accepted,
)
from durable_orders.domain.ids import PAYMENT_METHOD
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.clients.orders import OrderClient

app = typer.Typer()


@app.command(epilog=example("new-card 1001 pm_card_mastercard"))
def new_card(
    order_id: OrderId,
    payment_method: Annotated[
        str,
        typer.Argument(
            callback=checked(PAYMENT_METHOD), help="As the card provider names it, pm_…"
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Try another card for an order whose card was declined, while it waits for one."""

    async def work(orders: OrderClient) -> None:
        accepted = await orders.submit_payment_method(order_id, payment_method)
        if as_json:
            print_json(asdict(accepted))
        else:
            say(f"It is tried now, as card {accepted.number}: {PROGRAM} watch {order_id}")

    run_with_orders(work)


@app.command(epilog=example("finish-payment 1001 --json"))
def finish_payment(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Print what the customer's browser needs to confirm the payment (3-D Secure).

    Anyone with the secret can act on the payment: pass it to the customer's browser only.
    """

    async def work(orders: OrderClient) -> None:
        payment = await orders.payment_to_finish(order_id)
        if as_json:
            print_json(asdict(payment))
        else:
            say(f"Payment {payment.payment_id} waits for the customer.")
            say(f"Client secret: {payment.client_secret}")

    run_with_orders(work, lazy=True, with_cards=True)


@app.command(epilog=example("payment-updated 1001"))
def payment_updated(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Have an order read its payment at once, for example after a lost webhook. Always safe."""

    async def work(orders: OrderClient) -> None:
        await orders.payment_updated(order_id)
        say_accepted(order_id, "looks again", as_json=as_json)

    run_with_orders(work)
