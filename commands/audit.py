"""Commands for the audit: schedule it, run it once now, list and acknowledge its findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RetryConfig

from audit_client import AuditClient
from commands.terminal import (
    REFUSED,
    UNREACHABLE,
    USED_WRONGLY,
    AsJson,
    OrderId,
    print_json,
    run_until_done,
    say,
    stop,
)
from connection import UnreachableError, connect
from orders.advice import acknowledging, advice
from orders.audits import Acknowledgement, Finding, NothingToAcknowledgeError
from orders.discrepancies import AuditTerms, Kind
from orders.ports import NoSuchOrderError, ProviderError
from settings import ProcessSettings, SettingsError, temporal_profile
from store import database as store
from store.findings import PostgresFindings

T = TypeVar("T")

app = typer.Typer()

Window = Annotated[
    float, typer.Option(min=1, max=8_760, help="Hours to look back, for what has ended.")
]
Grace = Annotated[
    float,
    typer.Option(min=0, max=10_080, help="Minutes that anything is left alone after it moved."),
]


@app.command(epilog="Example: python client.py schedule --every 1")
def schedule(
    *,
    every: Annotated[float, typer.Option(min=0.1, max=168, help="Hours between audits.")] = 1,
    window: Window = 48,
    grace: Grace = 15,
    as_json: AsJson = False,
) -> None:
    """Schedule the audit. A second call only changes its interval and how far it looks back."""

    async def work(temporal: Client) -> None:
        terms = _terms(window, grace)
        is_new = await AuditClient(temporal).schedule(timedelta(hours=every), terms)
        if as_json:
            print_json({"created": is_new, "every_hours": every})
        else:
            done = "is scheduled" if is_new else "was scheduled before, and now runs"
            say(f"The audit {done}, every {every:g} h over the last {window:g} h.")

    _with_temporal(work)


@app.command(epilog="Example: python client.py reconcile")
def reconcile(*, window: Window = 48, grace: Grace = 15, as_json: AsJson = False) -> None:
    """Run the audit once, now: compare the card provider, the database and the workflow runs."""

    async def work(temporal: Client) -> None:
        report = await AuditClient(temporal).run_now(_terms(window, grace))
        if as_json:
            print_json(asdict(report))
        else:
            say(f"Audited: {report}.")

    _with_temporal(work)


@app.command(epilog="Example: python client.py findings")
def findings(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is settled or acknowledged.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the open findings of audits, newest first, with advice."""

    async def work(book: PostgresFindings) -> list[Finding]:
        return await book.listed(everything=everything, limit=limit)

    found = _with_findings(work)
    if as_json:
        print_json([{**asdict(one), "advice": advice(one)} for one in found])
        return
    for one in found:
        _show(one)
    if not found:
        say("Nothing disagrees that nobody answers for, as far as audits know.")


@app.command(
    epilog='Example: python client.py acknowledge 1001 --by ops-7 --note "by bank transfer"'
)
def acknowledge(
    order_id: OrderId,
    *,
    kind: Annotated[
        Kind | None, typer.Option(help="Which finding, if the order has several.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who answers for it: an account id or a role.")],
    note: Annotated[str, typer.Option(help="Why it may stay so, without personal data.")],
    as_json: AsJson = False,
) -> None:
    """Acknowledge a finding: it needs nobody until its content changes. Safe to repeat."""
    acknowledgement = Acknowledgement(by, note, datetime.now(UTC))

    async def work(book: PostgresFindings) -> tuple[Finding, ...]:
        return await book.acknowledge(order_id, kind, acknowledgement)

    acknowledged = _with_findings(work)
    if as_json:
        print_json([asdict(one) for one in acknowledged])
        return
    for one in acknowledged:
        _show(one)


def _show(one: Finding) -> None:
    """Print a finding as lines, not as a table row: ids and commands stay whole, to be copied."""
    about = f"order {one.order_id}" + (f", {one.payment_id}" if one.payment_id else "")
    say(f"{one.kind}: {about}, since {one.first_seen:%Y-%m-%d %H:%M} UTC")
    say(f"  {one.detail}")
    if one.resolution:
        say(f"  {one.resolution}")
    elif note := one.acknowledged:
        say(f"  acknowledged by {note.by} {note.at:%Y-%m-%d %H:%M} UTC: {note.note}")
    else:
        say(f"  what to do: {advice(one)}")
        say(f"  nothing more can be done: {acknowledging(one)}")


def _terms(window: float, grace: float) -> AuditTerms:
    return AuditTerms(window=timedelta(hours=window), grace=timedelta(minutes=grace))


def _with_temporal(work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        await work(await connect(temporal_profile(), retry_config=brief))

    _run(run)


def _with_findings(work: Callable[[PostgresFindings], Awaitable[T]]) -> T:
    async def run() -> T:
        url = ProcessSettings.load().database_url.get_secret_value()
        database = store.connect(url, pool_size=1)
        try:
            return await work(PostgresFindings(database))
        finally:
            await database.close()

    return _run(run)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the work, or exit with a sentence about the error."""
    try:
        return run_until_done(work())
    except (SettingsError, store.InvalidDatabaseUrlError) as error:
        stop(USED_WRONGLY, str(error))
    except (NothingToAcknowledgeError, NoSuchOrderError) as error:
        stop(REFUSED, str(error))
    except WorkflowFailureError as error:
        stop(REFUSED, f"the audit failed: {error.cause}. See its run in the Temporal Web UI")
    except (UnreachableError, ProviderError) as error:
        stop(UNREACHABLE, str(error))
