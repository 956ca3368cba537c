"""Commands for operators: list orders, approve or reject them, repair those that keep failing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from durable_orders.cli.disputes import doing, say_advice, say_risk
from durable_orders.cli.findings import show_finding
from durable_orders.cli.running import run_command, run_with_operations, run_with_orders
from durable_orders.cli.terminal import (
    USED_WRONGLY,
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
    print_json,
    say,
    say_accepted,
    say_attention,
    stop,
)
from durable_orders.domain.disputes.advice import not_shown
from durable_orders.domain.disputes.messages import PaymentRiskNeedingAttention
from durable_orders.domain.ids import payment_risk_workflow_id, refund_workflow_id, workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.messages import RefundNeedingAttention
from durable_orders.domain.texts import REMARK

if TYPE_CHECKING:
    from durable_orders.cli.composition import CliContext
    from durable_orders.clients.order_operations import OrderOperations
    from durable_orders.clients.orders import OrderClient

app = typer.Typer()


@app.command("list", epilog=example("list --status paid"))
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
            print_json([asdict(row) for row in rows])
            return
        customer = Column("customer", overflow="fold")  # an id is not cut
        table = Table("order", "status", customer, "run", "started", "", box=None)
        for row in rows:
            flag = "needs attention" if row.needs_attention else ""
            started = f"{row.started_at:%Y-%m-%d %H:%M:%S}"
            cells = (row.order_id, row.status, row.customer_id or "", row.run, started, flag)
            table.add_row(*map(cell, cells))
        console.print(table if rows else "No such orders.")

    run_with_orders(work)


@app.command(epilog=example("attention"))
def attention(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what needs a person, with what fails, since when, and what helps.

    Running orders and refunds, disputes with their deadlines, and what audits
    have found that nobody has acknowledged.
    """

    async def work(context: CliContext) -> None:
        orders = await context.operations.attention(limit)
        refunds = await context.refunds.attention(limit)
        found = await context.findings.listed(everything=False, limit=limit)
        disputed = (await context.disputes.page(limit)).risks
        payments = not_shown(await context.payment_risks.attention(limit), disputed)
        if as_json:
            blank = {"refund_id": None, "status": None, "attention": None, "risk": None}
            rows = [{**blank, **asdict(order)} for order in orders]
            rows += [{**blank, **asdict(one), **asdict(one.refund)} for one in refunds]
            rows += [{**blank, **asdict(one), "doing": doing(one)} for one in disputed]
            rows += [{**blank, **asdict(one)} for one in payments]
            print_json([*rows, *({**blank, **asdict(one)} for one in found)])
            return
        if not (orders or refunds or found or disputed or payments):
            say("No order, refund or dispute needs attention.")
        for order in orders:
            say(f"Order {order.order_id} is {order.status}: {order.doing}.")
            if order.attention:
                say_attention(order.order_id, order.attention)
            context.say_run_url(workflow_id(order.order_id))
            say("")
        for refund in refunds:
            _show_refund(refund, context)
        for one in disputed:
            say_risk(one)
            say_advice(one)
            say("")
        for payment in payments:
            _show_payment(payment, context)
        for finding in found:
            show_finding(finding)
            say("")

    run_command(work)


def _show_refund(one: RefundNeedingAttention, context: CliContext) -> None:
    ref = one.refund
    amount = f" of {one.amount}" if one.amount else ""
    state = f"{one.state}, " if one.state else ""
    say(f"Refund {ref.refund_id}{amount} for order {ref.order_id}: {state}{one.doing}.")
    if one.attention:
        say_attention(ref, one.attention)
    context.say_run_url(refund_workflow_id(ref.order_id, ref.refund_id))
    say("")


def _show_payment(one: PaymentRiskNeedingAttention, context: CliContext) -> None:
    say(f"The payment of order {one.order_id}: {one.doing}.")
    if one.attention:
        say_attention(one.order_id, one.attention)
    context.say_run_url(payment_risk_workflow_id(one.order_id))
    say("")


# -- orders that wait for a decision ---------------------------------------------------------------


@app.command(epilog=example('approve 1001 --by ops-7 --note "known customer"'))
def approve(
    order_id: OrderId,
    *,
    by: By,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Approve an order that waits for approval, or is held because its payment is uncertain."""

    async def work(operations: OrderOperations) -> None:
        await operations.approve(order_id, by, note, actor=os_user())
        say_accepted(order_id, "is approved", as_json=as_json)

    run_with_operations(work)


@app.command(epilog=example('reject 1001 --by ops-7 --reason "stolen card"'))
def reject(
    order_id: OrderId,
    *,
    by: By,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Reject an order that waits for approval, or is held because its payment is uncertain."""

    async def work(operations: OrderOperations) -> None:
        await operations.reject(order_id, by, reason, actor=os_user())
        say_accepted(order_id, "is rejected, and is being undone", as_json=as_json)

    run_with_operations(work)


# -- orders with a step that keeps failing ---------------------------------------------------------


@app.command(epilog=example("retry-now 1001"))
def retry_now(order_id: OrderId, *, by: By = "operator", as_json: AsJson = False) -> None:
    """Retry the step that keeps failing at once, after its cause is fixed."""

    async def work(operations: OrderOperations) -> None:
        await operations.retry_now(order_id, by, actor=os_user())
        say_accepted(order_id, "tries again", as_json=as_json)

    run_with_operations(work)


@app.command(epilog=example('skip-step 1001 --reason "warehouse closed"'))
def skip_step(
    order_id: OrderId,
    *,
    reason: Reason,
    by: By = "operator",
    as_json: AsJson = False,
) -> None:
    """Give up the step that keeps failing: everything done so far is undone."""

    async def work(operations: OrderOperations) -> None:
        await operations.skip_step(order_id, reason, by, actor=os_user())
        say_accepted(order_id, "gives that step up, and is being undone", as_json=as_json)

    run_with_operations(work)


@app.command(epilog=example('resolve 1001 --note "by bank transfer"'))
def resolve(
    order_id: OrderId,
    *,
    note: Annotated[
        str,
        typer.Option(callback=checked(REMARK), help="How it was done, without personal data."),
    ],
    given_back: Annotated[
        str | None,
        typer.Option(
            help="29.00: what the customer was given back by hand, 0 if nothing was taken. "
            "Left out: all that was taken, where that is known."
        ),
    ] = None,
    by: By = "operator",
    as_json: AsJson = False,
) -> None:
    """Declare that the undo that keeps failing was done by hand: it is not tried any more."""

    async def work(context: CliContext) -> None:
        amount = None
        if given_back is not None:
            currency = (await context.orders.view(order_id)).order.total.currency
            amount = _amount(given_back, currency)
        await context.operations.resolve(order_id, note, by, given_back=amount, actor=os_user())
        say_accepted(order_id, "takes that as done by hand", as_json=as_json)

    run_command(work)


def _amount(written: str, currency: str) -> Money:
    try:
        return Money.parse(written, currency)
    except ValueError as error:
        stop(USED_WRONGLY, f"--given-back: {error}")
