"""Commands for disputes, early fraud warnings and reviews: list them, answer disputes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from durable_orders.cli.running import run_command
from durable_orders.cli.terminal import (
    REFUSED,
    USED_WRONGLY,
    AsJson,
    By,
    Note,
    checked,
    example,
    print_json,
    say,
    stop,
)
from durable_orders.domain.disputes.advice import advice_for
from durable_orders.domain.disputes.dispute import Dispute
from durable_orders.domain.disputes.evidence import (
    DISPUTE_ID,
    Evidence,
    EvidenceItem,
    InvalidEvidenceError,
    refusal_of,
)
from durable_orders.domain.disputes.listing import RISK_ID, ListedRisk
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.cli.composition import CliContext

app: typer.Typer = typer.Typer(invoke_without_command=True)

DisputeId = Annotated[
    str, typer.Argument(callback=checked(DISPUTE_ID), help="The dispute's id, du_…")
]
RiskId = Annotated[
    str,
    typer.Argument(
        callback=checked(RISK_ID),
        help="The id of a dispute, warning or review: du_…, issfr_…, prv_…",
    ),
]


@app.callback(epilog=example("disputes --all"))
def list_disputes(
    context: typer.Context,
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that are over or acknowledged.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List disputes, early fraud warnings and reviews that are open, by deadline; answer them.

    With --all also those that are over or acknowledged, newest first.
    """
    if context.invoked_subcommand is not None:
        return

    async def work(context: CliContext) -> None:
        page = await context.disputes.page(limit, closed=all_)
        if as_json:
            print_json([asdict(one) for one in page.risks])
            return
        if not page.risks:
            say("No disputes, warnings or reviews." if all_ else "Nothing is disputed.")
            return
        for one in page.risks:
            say_risk(one)
            if one.risk.is_open:
                say_advice(one)
            elif one.risk.acknowledged_by:
                say(f"{one.risk.acknowledged_by} has acknowledged it.")
            say("")
        if page.next is not None:
            say(f"There are more: --limit {limit * 2}")

    run_command(work, lazy=True)


@app.command(epilog=example("disputes show du_1NqQ"))
def show(risk_id: RiskId, *, as_json: AsJson = False) -> None:
    """Show a dispute, warning or review, and what helps."""

    async def work(context: CliContext) -> None:
        one = await context.disputes.find(risk_id)
        if as_json:
            print_json(asdict(one))
            return
        say_risk(one)
        risk = one.risk
        say(f"Payment {risk.payment_id}, opened {_time(risk.opened_at)}.")
        if risk.withdrawn is not None:
            fee = f", and charged a fee of {risk.fee}" if risk.fee else ""
            say(f"It has taken {risk.withdrawn} from your balance{fee}.")
        if risk.submissions:
            say(f"Evidence was sent {_times(risk.submissions)}.")
        if risk.acknowledged_by:
            say(f"{risk.acknowledged_by} has acknowledged it.")
        say_advice(one)

    run_command(work, lazy=True)


@app.command(epilog=example("disputes evidence du_1NqQ --submit"))
def evidence(
    dispute_id: DisputeId,
    *,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=TEXT",
            help="Add or replace the text of one of Stripe's fields, once per field; empty "
            "leaves it out.",
        ),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Save it with Stripe, without sending it to the bank.")
    ] = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Send it to the bank: once, and for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what Stripe asks for about a dispute, with what the order tells; save it or send it.

    It holds the customer's name and addresses: for Stripe and the bank only.
    """
    if save and submit:
        stop(USED_WRONGLY, "--save and --submit exclude each other: --submit saves too")
    texts = _texts(set_ or [])

    async def work(context: CliContext) -> None:
        known = await context.disputes.evidence(dispute_id)
        try:
            filled = known.with_texts(texts)
        except InvalidEvidenceError as error:
            stop(USED_WRONGLY, str(error))
        if not (save or submit):
            _print_evidence(filled, texts, as_json=as_json)
            return
        if refusal := refusal_of(filled.dispute):
            stop(REFUSED, refusal)
        if submit and not yes:
            _confirm(filled)
        dispute = await context.disputes.send_evidence(filled, submit=submit)
        if as_json:
            print_json(asdict(dispute))
        else:
            _say_sent(dispute, len(filled.texts), None if submit else texts)

    run_command(work, lazy=True, with_cards=save or submit)


@app.command(epilog=example("disputes acknowledge issfr_1NqQ --by ops-7"))
def acknowledge(
    risk_id: RiskId, *, by: By = "operator", note: Note = "", as_json: AsJson = False
) -> None:
    """Leave it at that: no more is to be done about a warning, a review or a dispute.

    It needs nobody any more, and an order that is held for a warning or review goes on.
    """

    async def work(context: CliContext) -> None:
        one = await context.disputes.find(risk_id)
        await context.payment_risks.acknowledge(one.order_id, risk_id, by, note)
        if as_json:
            print_json(asdict(await context.disputes.find(risk_id)))
        else:
            say(f"{risk_id} of order {one.order_id} is acknowledged.")

    run_command(work)


# -- shared with other commands --------------------------------------------------------------------


def say_risk(one: ListedRisk) -> None:
    """Say what a dispute, warning or review is about, and its deadline."""
    risk = one.risk
    due = (
        f" An answer is due by {_time(risk.due_by)}." if risk.due_by and risk.needs_response else ""
    )
    say(
        f"{_words(risk.kind).capitalize()} {risk.risk_id} of order {one.order_id}, which is "
        f"{_words(one.status)}: {risk.amount}, {_words(risk.reason)}, {_words(risk.state)}.{due}"
    )


def doing(one: ListedRisk) -> str:
    """What is to be done about it, for programs."""
    return advice_for(one.risk, one.order_id, one.status).sentence


def say_advice(one: ListedRisk) -> None:
    """Say the one action that helps, with its command."""
    advice = advice_for(one.risk, one.order_id, one.status)
    say(f"What helps: {advice.sentence}.")
    if advice.command:
        say(f"  {PROGRAM} {advice.command}")


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _words(code: str) -> str:
    return code.replace("_", " ")


# -- evidence --------------------------------------------------------------------------------------


def _texts(pairs: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            stop(USED_WRONGLY, f"--set {name[:80]!r} is not FIELD=TEXT")
        if name in texts:
            stop(USED_WRONGLY, f"--set {name} is there twice")
        texts[name] = text
    return texts


def _submitting(dispute: Dispute, texts: Mapping[str, str]) -> str:
    """The command that sends the evidence with these texts: those that are left out are lost."""
    options = (("--set", f"{name}={text}") for name, text in texts.items())
    words = [dispute.dispute_id, *(word for option in options for word in option), "--submit"]
    return f"{PROGRAM} disputes evidence {shlex.join(words)}"


def _print_evidence(filled: Evidence, texts: Mapping[str, str], *, as_json: bool) -> None:
    dispute = filled.dispute
    if as_json:
        print_json(
            {
                "order_id": filled.order_id,
                "dispute": asdict(dispute),
                "evidence": filled.texts,
                "fields": [_as_json(item) for item in filled.items],
            }
        )
        return
    say(
        f"Dispute {dispute.dispute_id} of order {filled.order_id}: {dispute.amount}, "
        f"{_words(dispute.reason)}, {_words(dispute.status)}."
    )
    if dispute.due_by and dispute.needs_response:
        say(f"Evidence is due by {_time(dispute.due_by)}.")
    say("What Stripe asks for in such a dispute:")
    for item in filled.items:
        if item.counts:
            say("")
            say(f"{item.field.name}: {item.field.asks_for}")
            for line in item.text.splitlines() or [f"missing: {item.missing}"]:
                say(f"    {line}")
    say("")
    if refusal := refusal_of(dispute):
        say(f"{refusal[:1].upper()}{refusal[1:]}.")
        return
    say("Nothing is sent yet. Fill in what is missing with --set FIELD=TEXT, then send it with")
    say(f"    {_submitting(dispute, texts)}")


def _as_json(item: EvidenceItem) -> dict[str, object]:
    field = item.field
    return {
        "field": field.name,
        "asks_for": field.asks_for,
        "is_file": field.is_file,
        "counts": item.counts,
        "text": item.text,
        "missing": item.missing,
    }


def _confirm(filled: Evidence) -> None:
    """Exit unless a person agrees."""
    missing = [item.field.name for item in filled.items if item.missing]
    if missing:
        typer.echo(f"Not filled in: {', '.join(missing)}.", err=True)
    question = (
        f"Send {len(filled.texts)} texts to the bank about dispute {filled.dispute.dispute_id}? "
        "It can be done once only"
    )
    try:
        agrees = typer.confirm(question, err=True)
    except typer.Abort:  # nobody is there to answer
        typer.echo(err=True)
        agrees = False
    if not agrees:
        stop(REFUSED, "nothing was sent: agree to the question, or give --yes")


def _say_sent(dispute: Dispute, number: int, saved: Mapping[str, str] | None) -> None:
    """``saved``: the texts that were given, if the evidence was only saved."""
    if saved is None:
        state = f"dispute {dispute.dispute_id} is {_words(dispute.status)}"
        say(f"{number} texts are sent to the bank: {state}.")
        return
    say(f"{number} texts are saved with Stripe, and not sent to the bank yet.")
    say(f"Send them: {_submitting(dispute, saved)}")
