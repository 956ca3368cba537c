"""Commands for parcels: report their status, and settle those that do not arrive."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from durable_orders.cli.running import run_with_operations, run_with_orders
from durable_orders.cli.terminal import (
    AsJson,
    By,
    OrderId,
    checked,
    example,
    os_user,
    print_json,
    say_accepted,
)
from durable_orders.domain.ids import PARCEL_ID, TRACKING
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.texts import REMARK

if TYPE_CHECKING:
    from durable_orders.clients.order_operations import OrderOperations
    from durable_orders.clients.orders import OrderClient

app = typer.Typer()

ParcelId = Annotated[
    str, typer.Argument(callback=checked(PARCEL_ID), help="The parcel's id, as `watch` names it.")
]


@app.command(epilog=example("parcel 1001 par_7 shipped --tracking TRK-42"))
def parcel(
    order_id: OrderId,
    parcel_id: ParcelId,
    status: Annotated[
        Literal["shipped", "delivered", "lost"], typer.Argument(help="Where it is now.")
    ],
    *,
    tracking: Annotated[
        str,
        typer.Option(callback=checked(TRACKING), help="The carrier's reference, if there is one."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Report a parcel's status to its order, as the warehouse's webhooks do. Safe to repeat."""

    async def work(orders: OrderClient) -> None:
        await orders.parcel_updated(order_id, parcel_id, ParcelStatus(status), tracking)
        say_accepted(order_id, f"hears that {parcel_id} is {status}", as_json=as_json)

    run_with_orders(work)


@app.command(epilog=example("resend-parcel 1001 par_7 --by ops-7"))
def resend_parcel(
    order_id: OrderId, parcel_id: ParcelId, *, by: By = "operator", as_json: AsJson = False
) -> None:
    """Send the contents of a lost or late parcel again. Safe to repeat."""

    async def work(operations: OrderOperations) -> None:
        resent = await operations.resend_parcel(order_id, parcel_id, by, actor=os_user())
        if as_json:
            print_json({"order_id": order_id, **asdict(resent)})
        else:
            new = resent.parcel_id
            say_accepted(order_id, f"waits for {new} instead of {parcel_id}", as_json=False)

    run_with_operations(work)


@app.command(epilog=example("refund-parcel 1001 par_7 --by ops-7"))
def refund_parcel(
    order_id: OrderId, parcel_id: ParcelId, *, by: By = "operator", as_json: AsJson = False
) -> None:
    """Refund the contents of a lost or late parcel, and stop waiting for it.

    What was refunded of them before is not refunded again.
    """

    async def work(operations: OrderOperations) -> None:
        refunded = await operations.refund_parcel(order_id, parcel_id, by, actor=os_user())
        if as_json:
            print_json({"order_id": order_id, "accepted": True, **asdict(refunded)})
        else:
            told = refunded.why or f"{refunded.amount} is set aside"
            what = f"has {parcel_id} refunded, as {refunded.refund.refund_id}: {told}"
            say_accepted(order_id, what, as_json=False)

    run_with_operations(work)


@app.command(epilog=example('settle-parcel 1001 par_7 --outcome "refunded as r1"'))
def settle_parcel(
    order_id: OrderId,
    parcel_id: ParcelId,
    *,
    outcome: Annotated[
        str,
        typer.Option(
            callback=checked(REMARK),
            help="What was agreed with the customer, without personal data.",
        ),
    ],
    by: By = "operator",
    as_json: AsJson = False,
) -> None:
    """Stop waiting for a parcel that is lost or late."""

    async def work(operations: OrderOperations) -> None:
        await operations.settle_parcel(order_id, parcel_id, outcome, by, actor=os_user())
        say_accepted(order_id, f"waits no more for {parcel_id}", as_json=as_json)

    run_with_operations(work)
