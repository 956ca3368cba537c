"""The commands about disputes, warnings and reviews, with Stripe's SDK on the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from durable_orders.cli import app
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.lifecycle import Status
from durable_orders.process import PROGRAM
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.disputes import StripeDisputes
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from sandbox.world import StandInServer
from tests.cli.shell import Aside, Run, read, refused

CHARGEBACK = "pm_card_createDisputeProductNotReceived"
INQUIRY = "pm_card_createDisputeInquiry"
WARNED = "pm_card_createIssuerFraudRecord"
REVIEWED = "pm_card_riskLevelElevated"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandInServer]:
    async with StandInServer(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
async def cards(world: StandInServer) -> AsyncIterator[StripeCards]:
    """The worker's card provider."""
    cards = StripeCards("sk_test_sandbox", api_base=world.url)
    yield cards
    await cards.aclose()


@pytest.fixture(autouse=True)
def key(working: None, world: StandInServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a worker, and the command line has the provider's key."""
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_sandbox")
    monkeypatch.setenv("STRIPE_API_BASE", world.url)


Paid = Callable[[str, str], Awaitable[PaymentRisks]]


@pytest.fixture
def paid(aside: Aside, cards: StripeCards, database: Database) -> Paid:
    """An order that is completed and paid with this card, and what is recorded of its payment."""

    async def paid(order_id: str, card: str) -> PaymentRisks:
        await aside.place(order_id, card)
        if card == REVIEWED:  # its order is held until a person decides
            await aside.reaches(order_id, "waiting for a decision about the payment")
            await aside.operations.approve(order_id, "ops-7")
        assert (await aside.orders.result(order_id)).status is Status.COMPLETED
        [payment] = (await aside.orders.view(order_id)).payments
        risks = await StripeDisputes(cards).risks_of(payment.payment_id)
        book = PostgresDisputeRepository(database)
        return await book.record(order_id, risks, datetime.now(UTC))

    return paid


async def at_stripe(world: StandInServer, path: str) -> dict[str, Any]:
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    async with httpx.AsyncClient(base_url=world.url, headers=headers) as http:
        return dict((await http.get(f"/v1/{path}")).raise_for_status().json())


async def answering(answer: str, *arguments: str) -> Result:
    """Run a command whose questions are answered with this."""
    return await asyncio.to_thread(CliRunner().invoke, app.app, arguments, input=answer)


async def test_what_is_open_is_listed_with_the_command_that_helps(
    run: Run, aside: Aside, paid: Paid
) -> None:
    [dispute] = (await paid("listed-1", CHARGEBACK)).disputes
    [warning] = (await paid("listed-2", WARNED)).warnings
    [review] = (await paid("listed-3", REVIEWED)).reviews
    assert dispute.due_by

    table = (await run("disputes")).stdout
    due = f"{dispute.due_by:%Y-%m-%d %H:%M}"
    assert table.startswith(
        f"Chargeback {dispute.dispute_id} of order listed-1, which is completed: 29.00 EUR, "
        f"product not received, needs response. An answer is due by {due} UTC.\n"
        "What helps: send evidence before the deadline"
    )
    ids = [dispute.dispute_id, warning.warning_id, review.review_id]
    assert sorted(ids, key=table.index) == ids  # deadlines first, then by age
    helps = [line.strip() for line in table.splitlines() if line.startswith("  ")]
    assert f"{PROGRAM} disputes evidence {dispute.dispute_id}" in helps
    refund = next(line for line in helps if warning.warning_id in line)
    assert refund.startswith(f"{PROGRAM} refund request listed-2 ")
    assert f"payment {review.payment_id} in Stripe's dashboard" in table

    listed = {one["risk"]["risk_id"]: one for one in read(await run("disputes", "--json"))}
    assert listed[dispute.dispute_id]["risk"]["reason"] == "product_not_received"
    assert listed[warning.warning_id]["risk"]["kind"] == "fraud_warning"
    assert listed[review.review_id]["order_id"] == "listed-3"

    attention = (await run("attention")).stdout
    assert f"Chargeback {dispute.dispute_id} of order listed-1, which is completed: 29.00 EUR" in (
        attention
    )
    assert f"due by {due} UTC" in attention
    needing = {one["order_id"]: one for one in read(await run("attention", "--json"))}
    assert needing["listed-2"]["risk"]["risk_id"] == warning.warning_id
    assert "spares the dispute" in needing["listed-2"]["doing"]

    # The command that is printed for the warning does what it says.
    given_back = await run(*refund.removeprefix(f"{PROGRAM} ").split(" --message ")[0].split())
    assert given_back.exit_code == 0, given_back.output
    refund_id = refund.split()[refund.split().index("listed-2") + 1]
    await aside.refunds.result("listed-2", refund_id)
    [payment] = (await aside.orders.view("listed-2")).payments
    assert payment.refunded == payment.captured


async def test_one_of_them_is_shown(run: Run, paid: Paid) -> None:
    [dispute] = (await paid("shown-1", CHARGEBACK)).disputes
    shown = (await run("disputes", "show", dispute.dispute_id)).stdout
    assert f"Payment {dispute.payment_id}" in shown
    assert "It has taken 29.00 EUR from your balance, and charged a fee of 15.00 EUR." in shown
    assert (
        read(await run("disputes", "show", dispute.dispute_id, "--json"))["order_id"] == "shown-1"
    )
    unknown = await run("disputes", "show", "du_none")
    refused(unknown, "No order has a dispute, warning or review du_none", 1)
    refused(await run("disputes", "show", "1001"), "is not an id of a dispute", 2)


async def test_what_nobody_has_to_act_on_is_not_listed(run: Run, paid: Paid) -> None:
    [warning] = (await paid("left-1", WARNED)).warnings
    id_ = warning.warning_id
    acknowledged = await run("disputes", "acknowledge", id_, "--by", "ops-7", "--json")
    assert read(acknowledged)["risk"]["acknowledged_by"] == "ops-7"
    assert id_ not in (await run("disputes")).stdout
    assert id_ in (await run("disputes", "--all")).stdout
    for shown in (("show", id_), ("--all",)):
        assert "ops-7 has acknowledged it" in (await run("disputes", *shown)).stdout


async def test_the_evidence_is_printed_with_what_is_missing(run: Run, paid: Paid) -> None:
    [dispute] = (await paid("printed-1", CHARGEBACK)).disputes
    printed = (await run("disputes", "evidence", dispute.dispute_id)).stdout
    assert "customer_name: the customer's name\n    Ada Lovelace\n" in printed
    assert "missing: the warehouse does not report it" in printed
    assert "missing: a file: upload it in Stripe's dashboard" in printed
    assert f"{PROGRAM} disputes evidence {dispute.dispute_id} --submit" in printed
    with_carrier = await run(
        *("disputes", "evidence", dispute.dispute_id, "--set", "shipping_carrier=DHL", "--json")
    )
    told = read(with_carrier)
    assert told["evidence"]["shipping_carrier"] == "DHL"
    fields = {field["field"]: field for field in told["fields"]}
    assert fields["receipt"]["is_file"]
    assert fields["customer_purchase_ip"]["counts"] is False


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--set", "carrier=DHL"), "no field of Stripe's evidence"),
        (("--set", "receipt=file_1"), "takes a file"),
        (("--set", "shipping_carrier"), "is not FIELD=TEXT"),
        (("--set", "customer_name=A", "--set", "customer_name=B"), "there twice"),
        (("--save", "--submit"), "exclude each other"),
    ],
)
async def test_wrong_evidence_is_refused(
    run: Run, paid: Paid, options: tuple[str, ...], sentence: str
) -> None:
    order_id = f"wrong-{len(sentence)}"
    [dispute] = (await paid(order_id, CHARGEBACK)).disputes
    refused(await run("disputes", "evidence", dispute.dispute_id, *options), sentence, 2)


async def test_evidence_is_saved_and_then_sent_once_a_person_agrees(
    run: Run, paid: Paid, aside: Aside, world: StandInServer
) -> None:
    [dispute] = (await paid("sent-1", CHARGEBACK)).disputes
    command = ("disputes", "evidence", dispute.dispute_id)
    saved = await run(*command, "--save")
    assert "saved with Stripe, and not sent to the bank yet" in saved.stdout
    with_texts = await run(*command, "--set", "shipping_carrier=Royal Mail", "--save")
    pasted = f"evidence {dispute.dispute_id} --set 'shipping_carrier=Royal Mail' --submit"
    assert pasted in with_texts.stdout
    there = await at_stripe(world, f"disputes/{dispute.dispute_id}")
    assert there["evidence"]["customer_name"] == "Ada Lovelace"
    assert there["evidence"]["product_description"].startswith("2 x Mug, hand-glazed (MUG)")
    assert there["evidence_details"]["submission_count"] == 0

    for answer in ("n\n", ""):
        declined = await answering(answer, *command, "--submit")
        assert declined.exit_code == 1
        assert "Not filled in: shipping_date" in declined.stderr
        assert "Nothing was sent" in declined.stderr
    assert (await at_stripe(world, f"disputes/{dispute.dispute_id}"))["status"] == "needs_response"

    sent = await answering("y\n", *command, "--submit")
    assert sent.exit_code == 0, sent.output
    assert f"dispute {dispute.dispute_id} is under review" in sent.stdout
    there = await at_stripe(world, f"disputes/{dispute.dispute_id}")
    assert (there["status"], there["evidence_details"]["submission_count"]) == ("under_review", 1)
    [risk] = (await aside.orders.view("sent-1")).risks
    assert (risk.state, risk.submissions) == ("under_review", 1)

    again = await run(*command, "--submit", "--yes")
    refused(again, "was answered already, it is under_review", 1)
    assert "nothing: the evidence is sent" in (await run("disputes")).stdout


@pytest.mark.parametrize(
    ("text", "card", "state"),
    [
        ("winning_evidence", CHARGEBACK, "won"),
        ("losing_evidence", CHARGEBACK, "lost"),
        ("winning_evidence", INQUIRY, "warning_closed"),
    ],
)
async def test_the_bank_decides_and_the_end_is_in_the_books(
    run: Run, paid: Paid, aside: Aside, text: str, card: str, state: str
) -> None:
    order_id = f"ends-{text}-{state}"
    [dispute] = (await paid(order_id, card)).disputes
    command = ("disputes", "evidence", dispute.dispute_id)
    sent = await run(*command, "--set", f"uncategorized_text={text}", "--submit", "--yes", "--json")
    assert read(sent)["status"] == state
    [risk] = (await aside.orders.view(order_id)).risks
    assert (risk.state, risk.is_open) == (state, False)
    assert risk.withdrawn is not None
    assert risk.withdrawn.amount == (29_00 if state == "lost" else 0)
    refused(await run(*command, "--save"), f"is over, it is {state}", 1)
    assert dispute.dispute_id not in (await run("disputes")).stdout


async def test_without_the_providers_key_nothing_is_sent(
    run: Run, paid: Paid, monkeypatch: pytest.MonkeyPatch
) -> None:
    [dispute] = (await paid("keyless-1", CHARGEBACK)).disputes
    monkeypatch.delenv("STRIPE_API_KEY")
    sent = await run("disputes", "evidence", dispute.dispute_id, "--submit", "--yes")
    refused(sent, "set STRIPE_API_KEY for this process", 2)


async def test_where_nothing_is_disputed_the_list_says_so(run: Run) -> None:
    unknown = await run("disputes", "evidence", "du_none")
    refused(unknown, "No order has a dispute, warning or review du_none", 1)
