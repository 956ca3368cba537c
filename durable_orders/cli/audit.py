"""Commands for the audit: schedule it, run it once now, list and acknowledge its findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from durable_orders.cli.findings import advice_as_dict, show_finding
from durable_orders.cli.terminal import AsJson, OrderId, checked, example, print_json, say
from durable_orders.domain.audit.advice import advice
from durable_orders.domain.audit.messages import Acknowledgement, Finding
from durable_orders.domain.audit.model import AuditTerms, DiscrepancyKind
from durable_orders.domain.ids import ACTOR_ID
from durable_orders.domain.texts import REMARK

if TYPE_CHECKING:
    from durable_orders.clients.audits import AuditClient
    from durable_orders.store.audit_findings import PostgresFindingRepository

T = TypeVar("T")

app = typer.Typer()

Window = Annotated[
    float, typer.Option(min=1, max=8_760, help="Hours to look back, for what has ended.")
]
RefundWindow = Annotated[
    float,
    typer.Option(min=1, max=365, help="Days to look back for refunds: banks return them late."),
]
Grace = Annotated[
    float,
    typer.Option(min=0, max=10_080, help="Minutes that anything is left alone after it moved."),
]


@app.command(epilog=example("schedule --every 1"))
def schedule(
    *,
    every: Annotated[float, typer.Option(min=0.1, max=168, help="Hours between audits.")] = 1,
    window: Window = 48,
    refund_window: RefundWindow = 80,
    grace: Grace = 15,
    as_json: AsJson = False,
) -> None:
    """Schedule the audit. A second call only changes its interval and how far it looks back."""

    async def work(audits: AuditClient) -> None:
        terms = _terms(window, refund_window, grace)
        is_new = await audits.schedule(timedelta(hours=every), terms)
        if as_json:
            print_json({"created": is_new, "every_hours": every})
        else:
            done = "is scheduled" if is_new else "was scheduled before, and now runs"
            say(f"The audit {done}, every {every:g} h over the last {window:g} h.")

    _with_audits(work)


@app.command(epilog=example("reconcile"))
def reconcile(
    *,
    window: Window = 48,
    refund_window: RefundWindow = 80,
    grace: Grace = 15,
    as_json: AsJson = False,
) -> None:
    """Run the audit once, now: compare the card provider, the database and the workflow runs."""

    async def work(audits: AuditClient) -> None:
        report = await audits.run_now(_terms(window, refund_window, grace))
        if as_json:
            print_json(asdict(report))
        else:
            say(f"Audited: {report}.")

    _with_audits(work)


@app.command(epilog=example("findings"))
def findings(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is settled or acknowledged.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the open findings of audits, newest first, with advice."""

    async def work(book: PostgresFindingRepository) -> list[Finding]:
        return await book.listed(everything=everything, limit=limit)

    found = _with_findings(work)
    if as_json:
        print_json([{**asdict(one), **advice_as_dict(advice(one))} for one in found])
        return
    for one in found:
        show_finding(one)
    if not found:
        say("Nothing disagrees that nobody answers for, as far as audits know.")


@app.command(epilog=example('acknowledge 1001 --by ops-7 --note "bank transfer"'))
def acknowledge(
    order_id: OrderId,
    *,
    kind: Annotated[
        DiscrepancyKind | None, typer.Option(help="Which finding, if the order has several.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            callback=checked(ACTOR_ID), help="Who answers for it: an account id or a role."
        ),
    ],
    note: Annotated[
        str,
        typer.Option(callback=checked(REMARK), help="Why it may stay so, without personal data."),
    ],
    as_json: AsJson = False,
) -> None:
    """Acknowledge a finding: it needs nobody until its content changes. Safe to repeat."""
    acknowledgement = Acknowledgement(by, note, datetime.now(UTC))

    async def work(book: PostgresFindingRepository) -> tuple[Finding, ...]:
        return await book.acknowledge(order_id, kind, acknowledgement)

    acknowledged = _with_findings(work)
    if as_json:
        print_json([asdict(one) for one in acknowledged])
        return
    for one in acknowledged:
        show_finding(one)


def _terms(window: float, refund_window: float, grace: float) -> AuditTerms:
    return AuditTerms(
        window=timedelta(hours=window),
        refund_window=timedelta(days=refund_window),
        grace=timedelta(minutes=grace),
    )


def _with_audits(work: Callable[[AuditClient], Awaitable[None]]) -> None:
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    composition.run_with_audits(work)


def _with_findings(work: Callable[[PostgresFindingRepository], Awaitable[T]]) -> T:
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    return composition.run_with_findings(work)
