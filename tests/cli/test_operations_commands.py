"""The commands of those who pay and those who work in the shop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from durable_orders.cli import terminal
from durable_orders.cli.terminal import os_user
from durable_orders.domain.installation import CardAccount
from durable_orders.domain.ports import CardCharge, ChargeState, NoAnswerError, RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.process import PROGRAM
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.store.database import Database
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from sandbox.world import StandInServer
from sandbox.world.stripe.account import ACCOUNT_ID
from tests.cli.shell import Aside, Run, read, refused
from tests.fakes.cards import ELEVATED_RISK, InMemoryCards
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.charges import announce, record
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION, charge_key, payment_key

pytestmark = pytest.mark.usefixtures("working")

SOON = timedelta(milliseconds=10)
THREE_D_SECURE = "pm_card_authenticationRequired"


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(new_card_window=timedelta(hours=2))


async def stuck(
    aside: Aside, warehouse: InMemoryWarehouse, cards: InMemoryCards, order_id: str
) -> None:
    """Have an order that is paid and cannot be refunded."""
    cards.fail_until_healed("refund", RefusedError("the balance is too low"))
    warehouse.refuse(order_id, "the roof leaks")
    await aside.place(order_id)

    async def listed() -> bool:
        troubled = await aside.operations.attention()
        return order_id in [one.order_id for one in troubled if one.attention]

    await eventually(listed)


async def asks_what_was_given_back(aside: Aside, order_id: str) -> None:
    """The order needs a person, and does not know whether the card was charged."""

    async def asked() -> bool:
        attention = (await aside.orders.status(order_id)).attention
        return bool(attention and attention.asks_given_back)

    await eventually(asked)


# -- orders that wait for approval -----------------------------------------------------------------


async def test_an_order_is_approved(run: Run, aside: Aside) -> None:
    await aside.place("desk-1", flagged=True)
    await aside.reaches("desk-1", "waiting for approval")

    said = await run("approve", "desk-1", "--by", "ops-7", "--note", "known customer")

    assert said.stdout == f"Order desk-1 is approved. Watch it: {PROGRAM} watch desk-1\n"
    watched = await run("watch", "desk-1")
    who = f"by ops-7, note known customer, actor {os_user()}"
    assert f"order approved ({who})" in watched.stdout
    assert read(await run("result", "desk-1", "--json"))["status"] == "completed"


async def test_an_order_is_rejected(run: Run, aside: Aside) -> None:
    await aside.place("desk-2", flagged=True)
    await aside.reaches("desk-2", "waiting for approval")

    answer = read(await run("reject", "desk-2", "--by", "ops-7", "--reason", "stolen", "--json"))

    assert answer == {"order_id": "desk-2", "accepted": True}
    ended = await run("result", "desk-2")
    assert (
        f"Order desk-2 is rejected.\nWhy: rejected by {os_user()} (for ops-7): stolen."
        in ended.stdout
    )
    late = await run("approve", "desk-2", "--by", "ops-8")
    refused(late, "has ended, it is rejected", terminal.REFUSED)


def test_nobody_is_another_person_for_a_variable_they_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four eyes compare it: who requested a refund could approve it as somebody else."""
    before = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_user() == before
    # A container's user may have no name.
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert os_user() == "cli:3999999999"


@pytest.mark.parametrize(("decision", "ends"), [("approve", "completed"), ("reject", "refunded")])
async def test_an_order_that_is_held_for_its_payment_is_decided(
    run: Run, aside: Aside, decision: str, ends: str
) -> None:
    order_id = f"desk-held-{decision}"
    await aside.place(order_id, ELEVATED_RISK)
    await aside.reaches(order_id, "waiting for a decision about the payment")

    async def listed() -> bool:
        return order_id in (await run("attention")).stdout

    async def gone() -> bool:
        return not await listed()

    await eventually(listed)
    told = (await run("attention")).stdout
    assert f"Order {order_id} is paid: waiting for a decision about the payment." in told
    assert "is open at the card provider: nothing is sent before it is decided" in told
    assert f"    {PROGRAM} approve {order_id} --by WHO\n" in told
    assert f'    {PROGRAM} reject {order_id} --by WHO --reason "…"\n' in told
    other = await run("retry-now", order_id)
    refused(other, "Payment takes no retry-now, only approve or reject", terminal.REFUSED)

    await run(decision, order_id, "--by", "ops-7")

    assert read(await run("result", order_id, "--json"))["status"] == ends
    await eventually(gone)


async def test_orders_that_wait_for_approval_are_listed(run: Run) -> None:
    await run("place", "--order-id", "desk-3", "--flagged")

    async def listed() -> bool:
        rows = read(await run("list", "--status", "awaiting_approval", "--json"))
        return "desk-3" in [row["order_id"] for row in rows]

    await eventually(listed)


async def test_a_decision_needs_somebody_who_takes_it(run: Run) -> None:
    for command in ("approve", "reject"):
        result = await run(command, "desk-1")
        assert result.exit_code == terminal.USED_WRONGLY
        assert "--by" in result.stderr


async def test_a_decision_that_nobody_waits_for_is_one_sentence(run: Run, aside: Aside) -> None:
    await aside.place("desk-4", THREE_D_SECURE)
    await aside.reaches("desk-4", "waiting for the customer's bank")
    approved = await run("approve", "desk-4", "--by", "ops-7")
    refused(approved, "does not wait for an approval: it is awaiting_payment", terminal.REFUSED)
    card = await run("new-card", "desk-4", "pm_card_visa")
    refused(card, "does not wait for another card", terminal.REFUSED)


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "nobody", "--by", "ops-7"),
        ("reject", "nobody", "--by", "ops-7"),
        ("new-card", "nobody", "pm_card_visa"),
        ("finish-payment", "nobody"),
        ("payment-updated", "nobody"),
        ("retry-now", "nobody"),
        ("skip-step", "nobody", "--reason", "no"),
        ("resolve", "nobody", "--note", "done"),
    ],
)
async def test_an_unknown_order_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    refused(await run(*arguments), "There is no order nobody.", terminal.REFUSED)


# -- customers who pay -----------------------------------------------------------------------------


async def test_another_card_is_tried(run: Run, aside: Aside) -> None:
    await aside.place("desk-5", "pm_card_visa_chargeDeclined")
    await aside.reaches("desk-5", "waiting for another card")

    answer = read(await run("new-card", "desk-5", "pm_card_mastercard", "--json"))

    assert answer["number"] == 2
    assert read(await run("result", "desk-5", "--json"))["status"] == "completed"


async def test_a_payment_is_looked_at_again(run: Run, aside: Aside, cards: InMemoryCards) -> None:
    await aside.place("desk-6", THREE_D_SECURE)
    await aside.reaches("desk-6", "waiting for the customer's bank")
    [charge] = cards.charges_of("desk-6")
    cards.authenticate(charge.payment_id)

    said = await run("payment-updated", "desk-6")

    assert "Order desk-6 looks again." in said.stdout
    assert read(await run("result", "desk-6", "--json"))["status"] == "completed"
    none = await run("finish-payment", "desk-6")
    refused(none, "no payment for the customer to finish: it is completed", terminal.REFUSED)


async def test_without_stripes_key_there_is_one_sentence(
    run: Run, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aside.place("desk-7", THREE_D_SECURE)
    await aside.reaches("desk-7", "waiting for the customer's bank")
    for key in (None, ""):
        monkeypatch.delenv("STRIPE_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("STRIPE_API_KEY", key)
        asked = await run("finish-payment", "desk-7")
        refused(asked, "set STRIPE_API_KEY for this process", terminal.USED_WRONGLY)

    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_sandbox")
    monkeypatch.setenv("STRIPE_API_BASE", "http://127.0.0.1:1")
    asked = await run("finish-payment", "desk-7")
    refused(asked, "Stripe gave no answer", terminal.UNREACHABLE)
    assert "PostgreSQL" not in asked.stderr
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_1")
    asked = await run("finish-payment", "desk-7")
    refused(asked, "a live key is only ever sent to Stripe", terminal.USED_WRONGLY)


# -- orders with a step that keeps failing ---------------------------------------------------------


async def test_what_needs_a_person_is_listed_with_what_helps(
    run: Run, aside: Aside, warehouse: InMemoryWarehouse, cards: InMemoryCards
) -> None:
    await stuck(aside, warehouse, cards, "desk-8")

    [row] = read(await run("attention", "--json"))
    listed = (await run("attention")).stdout
    status = (await run("status", "desk-8")).stdout

    assert (row["order_id"], row["attention"]["problem"]) == ("desk-8", "the balance is too low")

    assert "Order desk-8 is paid: " in listed
    for shown in (listed, status):
        assert "refund_card needs attention since" in shown
        assert ": the balance is too low\n" in shown
        assert f"    {PROGRAM} retry-now desk-8\n" in shown
        assert f'    {PROGRAM} resolve desk-8 --note "…"\n' in shown
        assert "skip-step" not in shown
    skipped = await run("skip-step", "desk-8", "--reason", "never mind")
    refused(skipped, "takes no skip-step, only retry-now or resolve", terminal.REFUSED)

    cards.heal("refund")
    said = await run("retry-now", "desk-8", "--by", "ops-7")
    assert "Order desk-8 tries again." in said.stdout
    assert read(await run("result", "desk-8", "--json"))["status"] == "refunded"


async def test_an_undo_done_by_hand_is_settled(
    run: Run, aside: Aside, warehouse: InMemoryWarehouse, cards: InMemoryCards
) -> None:
    await stuck(aside, warehouse, cards, "desk-9")

    answer = read(await run("resolve", "desk-9", "--note", "by bank transfer", "--json"))

    assert answer == {"order_id": "desk-9", "accepted": True}
    assert read(await run("result", "desk-9", "--json"))["status"] == "refunded"
    cards.heal("refund")


async def test_what_was_given_back_by_hand_is_asked_in_the_orders_currency(
    run: Run, aside: Aside, cards: InMemoryCards
) -> None:
    cards.lose_answer_next("confirm")
    cards.fail_until_healed("read", NoAnswerError("silence", retry_after=SOON))
    await aside.place("desk-14")
    await asks_what_was_given_back(aside, "desk-14")
    assert read(await run("status", "desk-14", "--json"))["attention"]["asks_given_back"]

    async def listed() -> bool:
        return "--given-back" in (await run("attention")).stdout

    await eventually(listed)
    resolve = ("resolve", "desk-14", "--note", "by bank transfer", "--by", "ops-7")
    refused(await run(*resolve), "the card was charged is not known", terminal.REFUSED)
    for wrong in ("29.001", "EUR 29", "-29"):
        said = await run(*resolve, "--given-back", wrong)
        refused(said, "--given-back: ", terminal.USED_WRONGLY)
    part = await run(*resolve, "--given-back", "14.50")
    refused(part, "A charge takes all of 29.00 EUR or nothing", terminal.REFUSED)

    assert (await run(*resolve, "--given-back", "29.00")).exit_code == 0

    ended = read(await run("result", "desk-14", "--json"))
    assert (ended["status"], ended["given_back"]["amount"]) == ("refunded", 29_00)
    watched = (await run("watch", "desk-14")).stdout
    assert f"given back by hand (by {os_user()} (for ops-7), note by bank transfer" in watched
    cards.heal("read")


async def test_our_books_may_know_what_was_taken_though_the_order_did_not_hear_of_it(
    run: Run, aside: Aside, cards: InMemoryCards, database: Database
) -> None:
    cards.lose_answer_next("confirm")
    cards.fail_next("read", NoAnswerError("silence", retry_after=SOON), times=2)
    cards.fail_until_healed("refund", RefusedError("the account is closed"))
    await aside.place("desk-15")
    await asks_what_was_given_back(aside, "desk-15")
    [charge] = cards.charges_of("desk-15")
    await record(PostgresPaymentLedger(database), "desk-15", charge)

    nothing = await run("resolve", "desk-15", "--note", "not charged", "--given-back", "0")
    refused(nothing, "29.00 EUR was taken: ", terminal.REFUSED)
    await run("resolve", "desk-15", "--note", "by bank transfer")

    assert read(await run("result", "desk-15", "--json"))["given_back"]["amount"] == 29_00
    cards.heal("refund")


async def test_a_step_is_given_up(run: Run, aside: Aside, warehouse: InMemoryWarehouse) -> None:
    silence = NoAnswerError("nobody answers", retry_after=timedelta(milliseconds=10))
    warehouse.fail_next("fulfill", silence, times=6)
    warehouse.fail_until_healed("fulfill", NoAnswerError("nobody answers"))
    await aside.place("desk-10")

    async def flagged() -> bool:
        return bool((await aside.orders.status("desk-10")).attention)

    await eventually(flagged)
    said = await run("skip-step", "desk-10", "--reason", "burnt down", "--by", "ops-7")
    warehouse.heal("fulfill")

    assert "gives that step up, and is being undone" in said.stdout
    ended = await run("result", "desk-10")
    assert f"Why: given up by {os_user()} (for ops-7): burnt down." in ended.stdout


async def test_a_word_is_refused_while_nothing_fails(run: Run, aside: Aside) -> None:
    await aside.place("desk-11", flagged=True)
    await aside.reaches("desk-11", "waiting for approval")
    retried = await run("retry-now", "desk-11")
    refused(retried, "Nothing keeps failing, at the moment it is", terminal.REFUSED)
    approved = read(await run("approve", "desk-11", "--by", "ops-7", "--json"))
    assert approved == {"order_id": "desk-11", "accepted": True}


async def test_nothing_to_do_says_so(run: Run) -> None:
    async def quiet() -> bool:
        return (await run("attention")).stdout == "No order, refund or dispute needs attention.\n"

    await eventually(quiet)
    assert read(await run("attention", "--json")) == []


# -- with Stripe -----------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInServer]:
    """Stripe's stand-in, named by the settings."""
    async with StandInServer(tmp_path) as world:
        monkeypatch.setenv("STRIPE_API_KEY", "sk_test_sandbox")
        monkeypatch.setenv("STRIPE_API_BASE", world.url)
        yield world


async def test_the_browsers_secret_is_read_from_stripe_when_it_is_asked_for(
    run: Run, world: StandInServer, database: Database
) -> None:
    await run("place", "--order-id", "desk-13", "--no-start")
    order = await PostgresOrderRepository(database).get("desk-13")
    async with StripeCards("sk_test_sandbox", api_base=world.url) as cards:
        charge = await cards.create(
            installation=INSTALLATION,
            order_id=order.id,
            amount=order.total,
            key=payment_key(order.id),
        )
        key = charge_key(order.id, 1)
        charge = await cards.confirm(charge.payment_id, payment_method=THREE_D_SECURE, key=key)
        secret = await cards.client_secret(charge.payment_id)
    ledger = PostgresPaymentLedger(database)
    await announce(ledger, order, payment_id=charge.payment_id)
    await record(ledger, order.id, charge, answers=1)

    answer = read(await run("finish-payment", "desk-13", "--json"))

    assert answer == {"payment_id": charge.payment_id, "client_secret": secret}
    assert f"Client secret: {secret}\n" in (await run("finish-payment", "desk-13")).stdout


async def test_a_key_of_another_account_than_the_databases_reads_no_secret(
    run: Run, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run("place", "--order-id", "desk-16", "--no-start")
    order = await PostgresOrderRepository(database).get("desk-16")
    nothing, ledger = order.total * 0, PostgresPaymentLedger(database)
    await announce(ledger, order, payment_id="pi_ours")
    waiting = CardCharge("pi_ours", ChargeState.NEEDS_CUSTOMER, order.total, nothing, nothing)
    await record(ledger, order.id, waiting, answers=1)
    ours = CardAccount(ACCOUNT_ID, livemode=False)
    await PostgresInstallationRepository(database).bind(ours)

    async with StandInServer(tmp_path, account_id="acct_1Other000") as other:
        monkeypatch.setenv("STRIPE_API_KEY", "sk_test_sandbox")
        monkeypatch.setenv("STRIPE_API_BASE", other.url)
        asked = await run("finish-payment", "desk-16")

    refused(asked, f"is bound to {ours}, and STRIPE_API_KEY is a key", terminal.USED_WRONGLY)
