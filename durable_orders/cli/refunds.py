"""Commands for refunds: request, approve or reject, follow."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from durable_orders.cli.running import run_command
from durable_orders.cli.terminal import (
    AsJson,
    By,
    Note,
    OrderId,
    Reason,
    cell,
    checked,
    console,
    example,
    os_user,
    parse_line,
    print_json,
    say,
    say_attention,
)
from durable_orders.clients.errors import UnreachableError
from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.ids import REFUND_ID
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.messages import RefundProgress, RefundRef
from durable_orders.domain.refunds.refund import RefundEntry, RefundReason, RefundRequest
from durable_orders.domain.texts import REMARK
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.cli.composition import CliContext
    from durable_orders.clients.refunds import RefundClient

app: typer.Typer = typer.Typer(help="Give money of paid orders back.", no_args_is_help=True)

RefundId = Annotated[
    str,
    typer.Argument(
        callback=checked(REFUND_ID), help="Your id of the refund: the same twice is one."
    ),
]


@app.command(epilog=example("refund request 1001 r1 --line MUG=1 --restock"))
def request(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    line: Annotated[
        list[str] | None, typer.Option(help="SKU=QUANTITY, once per product. Left out: all.")
    ] = None,
    amount: Annotated[
        str | None, typer.Option(help="EUR=5.00, instead of what the lines cost.")
    ] = None,
    restock: Annotated[bool, typer.Option(help="Put the pieces back on the shelf.")] = False,
    reason: Annotated[RefundReason, typer.Option(help="Why, to count.")] = RefundReason.OTHER,
    message: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Request a refund of lines, of an amount, or of all that is left of an order."""
    refund = RefundRequest(
        order_id,
        refund_id,
        lines=tuple(parse_line(text) for text in line or ()),
        amount=_money(amount) if amount else None,
        restock=restock,
        reason=reason,
        message=message,
        requested_by=os_user(),
    )

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.request(refund), as_json=as_json)

    _run_with_refunds(work)


@app.command(epilog=example("refund status 1001 r1"))
def status(order_id: OrderId, refund_id: RefundId, *, as_json: AsJson = False) -> None:
    """Show the state of a refund."""

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.status(order_id, refund_id), as_json=as_json)

    _run_with_refunds(work)


@app.command("list", epilog=example("refund list 1001"))
def list_refunds(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """List an order's refunds, oldest first."""

    async def work(context: CliContext) -> None:
        await context.orders.view(order_id)  # raises for an unknown order
        found = await context.refunds.refunds_of(order_id)
        stranded: Mapping[str, Attention] | None = None
        with contextlib.suppress(UnreachableError):
            stranded = await context.refunds.stranded_of(order_id)
        if as_json:
            print_json([_with_run(entry, stranded) for entry in found])
            return
        _show_all(found, "No refunds.", as_json=False)
        for refund_id, attention in (stranded or {}).items():
            say_attention(RefundRef(order_id, refund_id), attention)
        if stranded is None:
            say("Temporal does not answer: whether a run carries each of them on is not known.")

    run_command(work, lazy=True)


@app.command(epilog=example("refund waiting"))
def waiting(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List refunds that wait for approval, of any order, the oldest first."""

    async def work(context: CliContext) -> None:
        found = await context.refunds.waiting(limit)
        _show_all(found, "No refund waits for approval.", as_json=as_json)

    run_command(work, lazy=True)


@app.command(epilog=example("refund approve 1001 r1 --by ops-7"))
def approve(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    by: By,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Approve a refund that waits for approval."""

    async def work(refunds: RefundClient) -> None:
        await refunds.approve(order_id, refund_id, by, note, actor=os_user())
        _say_accepted(order_id, refund_id, "is approved", as_json=as_json)

    _run_with_refunds(work)


@app.command(epilog=example("refund reject 1001 r1 --by ops-7 --reason worn"))
def reject(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    by: By,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Reject a refund that waits for approval; its amount is free again."""

    async def work(refunds: RefundClient) -> None:
        await refunds.reject(order_id, refund_id, by, reason, actor=os_user())
        _say_accepted(order_id, refund_id, "is rejected", as_json=as_json)

    _run_with_refunds(work)


@app.command(epilog=example("refund cancel 1001 r1"))
def cancel(
    order_id: OrderId, refund_id: RefundId, *, by: By = "customer", as_json: AsJson = False
) -> None:
    """Cancel a refund before money moves."""

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.cancel(order_id, refund_id, by, actor=os_user()), as_json=as_json)

    _run_with_refunds(work)


@app.command("retry-now", epilog=example("refund retry-now 1001 r1"))
def retry_now(
    order_id: OrderId, refund_id: RefundId, *, by: By = "operator", as_json: AsJson = False
) -> None:
    """Retry a step that keeps failing, or a refund that failed at the bank."""

    async def work(refunds: RefundClient) -> None:
        await refunds.retry_now(order_id, refund_id, by, actor=os_user())
        _say_accepted(order_id, refund_id, "tries again", as_json=as_json)

    _run_with_refunds(work)


@app.command("look-again", epilog=example("refund look-again 1001 r1"))
def look_again(order_id: OrderId, refund_id: RefundId, *, as_json: AsJson = False) -> None:
    """Have a refund read at the provider at once, also long after its end. Always safe.

    A refund that the bank has returned is reopened: it then waits for retry-now or resolve. One
    whose run is gone although it is not done goes on from where it was.
    """

    async def work(refunds: RefundClient) -> None:
        looks = await refunds.look_again(order_id, refund_id)
        done = "looks again" if looks else "is over: there is nothing to be read"
        _say_accepted(order_id, refund_id, done, as_json=as_json)

    _run_with_refunds(work)


@app.command(epilog=example('refund resolve 1001 r1 --note "by bank transfer"'))
def resolve(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    note: Annotated[
        str,
        typer.Option(callback=checked(REMARK), help="How it was paid, without personal data."),
    ],
    by: By = "operator",
    as_json: AsJson = False,
) -> None:
    """Declare that the customer was paid back another way."""

    async def work(refunds: RefundClient) -> None:
        await refunds.resolve(order_id, refund_id, note, by, actor=os_user())
        _say_accepted(order_id, refund_id, "is settled by hand", as_json=as_json)

    _run_with_refunds(work)


# -- shared by the commands ------------------------------------------------------------------------


def _run_with_refunds(work: Callable[[RefundClient], Awaitable[None]]) -> None:
    run_command(lambda context: work(context.refunds))


def _show(progress: RefundProgress, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(progress))
        return
    ref = progress.refund
    amount = f" of {progress.amount}" if progress.amount else ""
    why = f" ({progress.why})" if progress.why else ""
    say(f"Refund {ref.refund_id}{amount}, order {ref.order_id}: {progress.state}{why}.")
    if progress.attention:
        say_attention(ref, progress.attention)


def _show_all(found: Sequence[RefundEntry], none: str, *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    pieces = Column("pieces", overflow="fold")  # a SKU is not cut
    table = Table("order", "refund", "amount", "state", pieces, "restocked", "why", box=None)
    for entry in found:
        ids = (entry.request.order_id, entry.request.refund_id)
        taken_back = ", ".join(f"{quantity} x {sku}" for sku, quantity in entry.lines)
        restocked = "yes" if entry.restocked else ""
        cells = (*ids, str(entry.amount), entry.state, taken_back, restocked, entry.why)
        table.add_row(*map(cell, cells))
    console.print(table if found else none)


def _with_run(entry: RefundEntry, stranded: Mapping[str, Attention] | None) -> Mapping[str, object]:
    """The refund, and whether its run is gone although it is not done: None when not known."""
    is_stranded = None if stranded is None else entry.request.refund_id in stranded
    return {**asdict(entry), "stranded": is_stranded}


def _say_accepted(order_id: str, refund_id: str, what: str, *, as_json: bool) -> None:
    """Say that the refund accepted the request, and goes on by itself."""
    if as_json:
        print_json({"order_id": order_id, "refund_id": refund_id, "accepted": True})
    else:
        status = f"{PROGRAM} refund status {order_id} {refund_id}"
        say(f"Refund {refund_id} of order {order_id} {what}. How it is: {status}")


def _money(text: str) -> Money:
    currency, equals, written = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text[:200]!r} is not CURRENCY=AMOUNT, EUR=5.00 for example")
    try:
        return Money.parse(written, currency)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
