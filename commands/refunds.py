"""Refunds of paid orders: ask for one, decide about it, follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from temporalio.service import RetryConfig

from commands.terminal import (
    REFUSED,
    UNREACHABLE,
    USED_WRONGLY,
    AsJson,
    OrderId,
    console,
    print_json,
    say,
    stop,
)
from connection import UnreachableError, connect
from orders.ids import InvalidOrderIdError, InvalidRefundIdError
from orders.money import Money
from orders.ports import ProviderError
from orders.refund_messages import RefundProgress
from orders.refunds import RefundReason, RefundRequest
from orders.refusals import OrderClientError
from refund_client import RefundClient
from settings import ProcessSettings, SettingsError, temporal_profile
from store import database as store
from store.refunds import PostgresRefundBook

app: typer.Typer = typer.Typer(help="Give money of paid orders back.", no_args_is_help=True)

RefundId = Annotated[str, typer.Argument(help="Your id of the refund: the same twice is one.")]
By = Annotated[str, typer.Option(help="Who decides: an account id or a role, never a name.")]


@app.command(epilog="Example: python client.py refund request 1001 r1 --line MUG=1 --restock")
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
    message: Annotated[str, typer.Option(help="Why, without personal data.")] = "",
    as_json: AsJson = False,
) -> None:
    """Give lines, an amount, or all that is left of an order back."""
    asked = RefundRequest(
        order_id,
        refund_id,
        lines=tuple(_quantity(text) for text in line or ()),
        amount=_money(amount) if amount else None,
        restock=restock,
        reason=reason,
        message=message,
    )

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.request(asked), as_json=as_json)

    _carry_out(work)


@app.command(epilog="Example: python client.py refund status 1001 r1")
def status(order_id: OrderId, refund_id: RefundId, *, as_json: AsJson = False) -> None:
    """Say where a refund stands."""

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.status(order_id, refund_id), as_json=as_json)

    _carry_out(work)


@app.command("list", epilog="Example: python client.py refund list 1001")
def list_refunds(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """List an order's refunds, oldest first."""

    async def work(refunds: RefundClient) -> None:
        found = await refunds.refunds_of(order_id)
        if as_json:
            print_json([asdict(entry) for entry in found])
            return
        table = Table("refund", "amount", "state", "pieces", "restocked", "why", box=None)
        for entry in found:
            pieces = ", ".join(f"{quantity} x {sku}" for sku, quantity in entry.lines)
            restocked = "yes" if entry.restocked else ""
            cells = (entry.request.refund_id, str(entry.amount), entry.state, pieces, restocked)
            table.add_row(*map(escape, (*cells, entry.why)))
        console.print(table if found else "No refunds.")

    _carry_out(work)


@app.command(epilog="Example: python client.py refund approve 1001 r1 --by ops-7")
def approve(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    by: By,
    note: Annotated[str, typer.Option(help="Why, for the order's history.")] = "",
) -> None:
    """Let a refund pass that waits for approval."""

    async def work(refunds: RefundClient) -> None:
        await refunds.approve(order_id, refund_id, by, note)
        say(f"Refund {refund_id} of order {order_id} is approved.")

    _carry_out(work)


@app.command(epilog="Example: python client.py refund reject 1001 r1 --by ops-7 --reason worn")
def reject(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    by: By,
    reason: Annotated[str, typer.Option(help="Why, without personal data.")] = "",
) -> None:
    """Stop a refund that waits for approval; its amount is free again."""

    async def work(refunds: RefundClient) -> None:
        await refunds.reject(order_id, refund_id, by, reason)
        say(f"Refund {refund_id} of order {order_id} is rejected.")

    _carry_out(work)


@app.command(epilog="Example: python client.py refund cancel 1001 r1")
def cancel(
    order_id: OrderId, refund_id: RefundId, *, by: By = "customer", as_json: AsJson = False
) -> None:
    """Take a request back before money moves."""

    async def work(refunds: RefundClient) -> None:
        _show(await refunds.cancel(order_id, refund_id, by), as_json=as_json)

    _carry_out(work)


@app.command("retry-now", epilog="Example: python client.py refund retry-now 1001 r1")
def retry_now(order_id: OrderId, refund_id: RefundId, *, by: By = "operator") -> None:
    """Try again what keeps failing, or what failed at the bank."""

    async def work(refunds: RefundClient) -> None:
        await refunds.retry_now(order_id, refund_id, by)
        say(f"Refund {refund_id} of order {order_id} tries again.")

    _carry_out(work)


@app.command(epilog='Example: python client.py refund resolve 1001 r1 --note "by bank transfer"')
def resolve(
    order_id: OrderId,
    refund_id: RefundId,
    *,
    note: Annotated[str, typer.Option(help="How it was paid, without personal data.")],
    by: By = "operator",
) -> None:
    """Say that the customer was paid back another way."""

    async def work(refunds: RefundClient) -> None:
        await refunds.resolve(order_id, refund_id, note, by)
        say(f"Refund {refund_id} of order {order_id} is settled by hand.")

    _carry_out(work)


# -- carrying it out -------------------------------------------------------------------------------


def _carry_out(work: Callable[[RefundClient], Awaitable[None]]) -> None:
    """Do the work, or say in one sentence why not."""

    async def run() -> None:
        settings = ProcessSettings.load()
        database = store.connect(settings.database_url.get_secret_value(), pool_size=1)
        try:
            # A person is waiting: three seconds are enough to say that nobody answers.
            brief = RetryConfig(max_elapsed_time_millis=3_000)
            temporal = await connect(temporal_profile(), retry_config=brief)
            await work(RefundClient(temporal, PostgresRefundBook(database)))
        finally:
            await database.close()

    try:
        asyncio.run(run())
    except (SettingsError, InvalidOrderIdError, InvalidRefundIdError) as error:
        stop(USED_WRONGLY, str(error))
    except store.InvalidDatabaseUrlError as error:
        stop(USED_WRONGLY, str(error))
    except OrderClientError as error:
        stop(REFUSED, str(error))
    except UnreachableError as error:
        stop(UNREACHABLE, str(error))
    except ProviderError as error:
        stop(UNREACHABLE, f"{error}. Is PostgreSQL running where DATABASE_URL points?")


def _show(progress: RefundProgress, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(progress))
        return
    ref = progress.refund
    amount = f" of {progress.amount}" if progress.amount else ""
    why = f" ({progress.why})" if progress.why else ""
    say(f"Refund {ref.refund_id}{amount}, order {ref.order_id}: {progress.state}{why}.")
    if found := progress.attention:
        say(f"It needs a person: {found.problem}. What helps: {', '.join(found.can)}.")


def _quantity(text: str) -> tuple[str, int]:
    sku, _, number = text.partition("=")
    if not (sku and number.strip().isdecimal()):
        raise typer.BadParameter(f"{text!r} is not SKU=QUANTITY, MUG=2 for example")
    return sku, int(number)


def _money(text: str) -> Money:
    currency, _, written = text.partition("=")
    try:
        return Money.parse(written, currency)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
