"""Parcels on their way: telling where they are, and settling those that do not arrive."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from client import OrderClient
from commands.terminal import AsJson, OrderId, carry_out, say_heard
from orders.parcels import ParcelStatus

app = typer.Typer()

ParcelId = Annotated[str, typer.Argument(help="The parcel's id, as `watch` names it.")]


@app.command(epilog="Example: python client.py parcel 1001 par_7 shipped --tracking TRK-42")
def parcel(
    order_id: OrderId,
    parcel_id: ParcelId,
    status: Annotated[
        Literal["shipped", "delivered", "lost"], typer.Argument(help="Where it is now.")
    ],
    *,
    tracking: Annotated[str, typer.Option(help="The carrier's reference, if there is one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell an order where a parcel is, as the warehouse's own messages do. Again is harmless."""

    async def work(orders: OrderClient) -> None:
        await orders.parcel_updated(order_id, parcel_id, ParcelStatus(status), tracking)
        say_heard(order_id, f"hears that {parcel_id} is {status}", as_json=as_json)

    carry_out(work)


@app.command(epilog='Example: python client.py settle-parcel 1001 par_7 --outcome "refunded as r1"')
def settle_parcel(
    order_id: OrderId,
    parcel_id: ParcelId,
    *,
    outcome: Annotated[
        str, typer.Option(help="What was agreed with the customer, without personal data.")
    ],
    by: Annotated[
        str, typer.Option(help="Who decides: an account id or a role, never a name.")
    ] = "operator",
    as_json: AsJson = False,
) -> None:
    """Have an order wait no more for a parcel that is lost or late."""

    async def work(orders: OrderClient) -> None:
        await orders.settle_parcel(order_id, parcel_id, outcome, by)
        say_heard(order_id, f"waits no more for {parcel_id}", as_json=as_json)

    carry_out(work)
