"""The commands of those who give money back."""

from __future__ import annotations

import pytest

from durable_orders.cli import terminal
from durable_orders.domain.ids import refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.refunds.messages import RefundRef, ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.process import PROGRAM
from tests.cli.shell import Aside, Run, read, refused
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING, InMemoryCards
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.support.servers import Temporal

pytestmark = pytest.mark.usefixtures("working")


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    """A mug is given back by itself, two of them wait for a person."""
    return ShopRefundTerms(approval_above={"EUR": 20_00})


async def paid(aside: Aside, order_id: str, card: str = "pm_card_visa") -> None:
    """An order of two mugs, 29.00 EUR, that is completed."""
    await aside.place(order_id, card)
    assert (await aside.orders.result(order_id)).status is Status.COMPLETED


async def reaches(aside: Aside, order_id: str, state: RefundState) -> None:
    """The order's refund r1 is in this state."""

    async def there() -> bool:
        return (await aside.refunds.status(order_id, "r1")).state is state

    await eventually(there)


async def waits(aside: Aside, order_id: str) -> None:
    """A refund r1 of everything, that waits for a person."""
    await paid(aside, order_id)
    await aside.refunds.request(RefundRequest(order_id, "r1"))
    await reaches(aside, order_id, RefundState.AWAITING_APPROVAL)


async def stuck(aside: Aside, cards: InMemoryCards, order_id: str) -> None:
    """A refund r1 of a mug that the provider refuses."""
    await paid(aside, order_id)
    cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
    await aside.refunds.request(RefundRequest(order_id, "r1", lines=(("MUG", 1),)))

    async def listed() -> bool:
        troubled = [one.refund for one in await aside.refunds.attention() if one.attention]
        return RefundRef(order_id, "r1") in troubled

    await eventually(listed)


# -- asking and following --------------------------------------------------------------------------


async def test_a_line_is_given_back_followed_and_listed(run: Run, aside: Aside) -> None:
    await paid(aside, "ref-1")

    asked = read(await run("refund", "request", "ref-1", "r1", "--line", "MUG=1", "--json"))

    assert (asked["amount"], asked["refund"]["refund_id"]) == (
        {"amount": 1450, "currency": "EUR"},
        "r1",
    )
    await reaches(aside, "ref-1", RefundState.SUCCEEDED)
    assert read(await run("refund", "status", "ref-1", "r1", "--json"))["state"] == "succeeded"
    said = (await run("refund", "status", "ref-1", "r1")).stdout
    assert said == "Refund r1 of 14.50 EUR, order ref-1: succeeded.\n"
    [row] = read(await run("refund", "list", "ref-1", "--json"))
    assert (row["request"]["refund_id"], row["state"]) == ("r1", "succeeded")
    table = (await run("refund", "list", "ref-1")).stdout
    assert "14.50 EUR" in table
    assert "1 x MUG" in table


async def test_an_amount_is_given_back_in_the_currency_that_is_written(
    run: Run, aside: Aside
) -> None:
    await paid(aside, "ref-2")
    said = await run("refund", "request", "ref-2", "r1", "--amount", "EUR=5.00")
    assert "Refund r1 of 5.00 EUR, order ref-2" in said.stdout
    yen = await run("refund", "request", "ref-2", "r2", "--amount", "JPY=500")
    refused(yen, "was paid in EUR, not in 500 JPY", terminal.REFUSED)
    for wrong, why in (
        ("5.00", "'5.00' is not CURRENCY=AMOUNT, EUR=5.00 for example"),
        ("EUR", "'EUR' is not CURRENCY=AMOUNT"),
        ("EUR=5.001", "'5.001' is not an amount"),
    ):
        result = await run("refund", "request", "ref-2", "r2", "--amount", wrong)
        assert result.exit_code == terminal.USED_WRONGLY
        assert why in result.stderr
    result = await run("refund", "request", "ref-2", "r2", "--line", "MUG")
    assert result.exit_code == terminal.USED_WRONGLY


async def test_more_than_is_left_is_refused(run: Run, aside: Aside) -> None:
    await paid(aside, "ref-3")
    await run("refund", "request", "ref-3", "r1", "--line", "MUG=1")
    too_much = await run("refund", "request", "ref-3", "r2", "--line", "MUG=2")
    refused(too_much, "2 of MUG cannot be returned: 1 are left", terminal.REFUSED)
    other = await run("refund", "request", "ref-3", "r1", "--line", "MUG=2")
    refused(other, "of other contents", terminal.REFUSED)


async def test_an_order_without_refunds_says_so(run: Run, aside: Aside) -> None:
    await paid(aside, "ref-4")
    assert (await run("refund", "list", "ref-4")).stdout == "No refunds.\n"
    assert read(await run("refund", "list", "ref-4", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("request", "nobody", "r1"), "There is no order nobody."),
        (("list", "nobody"), "There is no order nobody."),
        (("status", "nobody", "r1"), "Order nobody has no refund r1."),
        (("approve", "nobody", "r1", "--by", "ops-7"), "Order nobody has no refund r1."),
        (("reject", "nobody", "r1", "--by", "ops-7"), "Order nobody has no refund r1."),
        (("cancel", "nobody", "r1"), "Order nobody has no refund r1."),
        (("retry-now", "nobody", "r1"), "Order nobody has no refund r1."),
        (("look-again", "nobody", "r1"), "Order nobody has no refund r1."),
        (("resolve", "nobody", "r1", "--note", "paid"), "Order nobody has no refund r1."),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_what_nobody_knows_is_one_sentence(
    run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    refused(await run("refund", *arguments), sentence, terminal.REFUSED)


async def test_what_cannot_be_an_id_is_used_wrongly(run: Run) -> None:
    wrong = await run("refund", "status", "ref-1", "r-1")
    refused(wrong, "is not a refund id", terminal.USED_WRONGLY)


# -- deciding --------------------------------------------------------------------------------------


async def test_a_refund_that_waits_is_listed_and_approved(run: Run, aside: Aside) -> None:
    await waits(aside, "ref-5")

    rows = read(await run("refund", "waiting", "--json"))
    assert ["ref-5", "r1"] in [[r["request"]["order_id"], r["request"]["refund_id"]] for r in rows]
    assert "29.00 EUR" in (await run("refund", "waiting")).stdout
    assert len(read(await run("refund", "waiting", "--limit", "1", "--json"))) == 1
    said = await run("refund", "approve", "ref-5", "r1", "--by", "ops-7", "--note", "seen it")

    assert said.stdout.startswith("Refund r1 of order ref-5 is approved.")
    assert f"How it is: {PROGRAM} refund status ref-5 r1\n" in said.stdout
    await reaches(aside, "ref-5", RefundState.SUCCEEDED)
    assert "ref-5" not in (await run("refund", "waiting")).stdout
    for late in (("approve", "ref-5", "r1", "--by", "ops-8"), ("cancel", "ref-5", "r1")):
        refused(await run("refund", *late), "is succeeded, and nothing runs", terminal.REFUSED)


async def test_a_refund_is_rejected(run: Run, aside: Aside) -> None:
    await waits(aside, "ref-6")
    word = ("ref-6", "r1", "--by", "ops-7", "--reason", "worn")
    answer = read(await run("refund", "reject", *word, "--json"))
    assert answer == {"order_id": "ref-6", "refund_id": "r1", "accepted": True}
    await reaches(aside, "ref-6", RefundState.REJECTED)
    said = (await run("refund", "status", "ref-6", "r1")).stdout
    assert f"rejected (rejected by {terminal.os_user()} (for ops-7): worn)" in said


async def test_a_request_is_taken_back(run: Run, aside: Aside) -> None:
    await paid(aside, "ref-7")
    await run("refund", "request", "ref-7", "r1")
    await reaches(aside, "ref-7", RefundState.AWAITING_APPROVAL)
    told = read(await run("refund", "cancel", "ref-7", "r1", "--json"))
    assert told["state"] == "cancelled"


async def test_a_decision_needs_somebody_who_takes_it(run: Run) -> None:
    for command in ("approve", "reject"):
        result = await run("refund", command, "ref-1", "r1")
        assert result.exit_code == terminal.USED_WRONGLY
        assert "--by" in result.stderr


async def test_nobody_waits_says_so(run: Run) -> None:
    for row in read(await run("refund", "waiting", "--json")):
        await run("refund", "cancel", row["request"]["order_id"], row["request"]["refund_id"])

    async def empty() -> bool:
        return (await run("refund", "waiting")).stdout == "No refund waits for approval.\n"

    await eventually(empty)


# -- helping ---------------------------------------------------------------------------------------


async def test_a_refund_that_keeps_failing_needs_attention_and_is_tried_again(
    run: Run, aside: Aside, cards: InMemoryCards
) -> None:
    await stuck(aside, cards, "ref-8")

    [row] = read(await run("attention", "--json"))
    listed = (await run("attention")).stdout
    status = (await run("refund", "status", "ref-8", "r1")).stdout

    assert (row["order_id"], row["refund_id"]) == ("ref-8", "r1")

    assert "Refund r1 of 14.50 EUR for order ref-8: " in listed
    for shown in (listed, status):
        assert "issue_refund needs attention since" in shown
        assert ": the charge is disputed\n" in shown
        assert f"    {PROGRAM} refund retry-now ref-8 r1\n" in shown
        assert f'    {PROGRAM} refund resolve ref-8 r1 --note "…"\n' in shown
    late = await run("refund", "cancel", "ref-8", "r1")
    refused(late, "it is too late to cancel it", terminal.REFUSED)
    early = await run("refund", "approve", "ref-8", "r1", "--by", "ops-7")
    refused(early, "does not wait for an approval", terminal.REFUSED)

    cards.heal("refund")
    said = await run("refund", "retry-now", "ref-8", "r1", "--by", "ops-7")
    assert said.stdout.startswith("Refund r1 of order ref-8 tries again.")
    await reaches(aside, "ref-8", RefundState.SUCCEEDED)


async def test_a_refund_paid_another_way_is_settled(
    run: Run, aside: Aside, cards: InMemoryCards
) -> None:
    await stuck(aside, cards, "ref-9")
    word = ("ref-9", "r1", "--note", "by bank transfer", "--by", "ops-7")
    answer = read(await run("refund", "resolve", *word, "--json"))
    cards.heal("refund")
    assert answer["accepted"] is True
    await reaches(aside, "ref-9", RefundState.SETTLED)
    refused(await run("refund", "retry-now", "ref-9", "r1"), "is settled", terminal.REFUSED)


async def test_a_word_is_refused_while_nothing_fails(run: Run, aside: Aside) -> None:
    await paid(aside, "ref-10", REFUND_PENDING)
    await run("refund", "request", "ref-10", "r1", "--line", "MUG=1")
    await reaches(aside, "ref-10", RefundState.PENDING)
    retried = await run("refund", "retry-now", "ref-10", "r1")
    refused(retried, "Nothing keeps failing, at the moment it is", terminal.REFUSED)


async def test_a_refund_that_the_bank_sent_back_later_is_taken_up_again(
    run: Run, aside: Aside, cards: InMemoryCards
) -> None:
    await paid(aside, "ref-11", REFUND_FAILS)
    await run("refund", "request", "ref-11", "r1", "--line", "MUG=1")
    await reaches(aside, "ref-11", RefundState.SUCCEEDED)
    cards.settle_refund(refund_key("ref-11", "r1"))

    async def sent_back() -> bool:
        told = await aside.refunds.status("ref-11", "r1")
        # The book says so a moment before its run takes a person's word.
        return told.state is RefundState.FAILED and told.attention is not None

    said = await run("refund", "look-again", "ref-11", "r1")

    assert said.stdout.startswith("Refund r1 of order ref-11 looks again.")
    await eventually(sent_back)
    again = await run("refund", "retry-now", "ref-11", "r1")
    assert again.exit_code == 0
    second = refund_key("ref-11", "r1", 2)

    async def asked_again() -> bool:
        return second in cards.refunds

    await eventually(asked_again)
    cards.settle_refund(second)
    assert read(await run("refund", "look-again", "ref-11", "r1", "--json"))["accepted"]


# -- as a shell that is told where the Web UI is ---------------------------------------------------


async def test_a_stuck_refund_and_its_order_say_where_their_runs_are_seen(
    run: Run,
    aside: Aside,
    cards: InMemoryCards,
    temporal_server: Temporal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await stuck(aside, cards, "ref-12")
    assert "See its run" not in (await run("attention")).stdout
    monkeypatch.setenv("TEMPORAL_UI_URL", "http://localhost:8233/")
    url = f"http://localhost:8233/namespaces/{temporal_server.namespace}/workflows"
    assert f"See its run: {url}/refund-ref-12-r1\n" in (await run("attention")).stdout
    await run("place", "--order-id", "ref-13", "--card", "pm_card_authenticationRequired")
    assert f"See its run: {url}/order-ref-13\n" in (await run("status", "ref-13")).stdout
    assert "See its run" not in (await run("status", "ref-12")).stdout  # it has ended
    await run("refund", "resolve", "ref-12", "r1", "--note", "by bank transfer")
    cards.heal("refund")


# -- refunds whose run is gone ---------------------------------------------------------------------


async def test_a_refund_whose_run_was_terminated_is_shown_everywhere_and_goes_on(
    run: Run, aside: Aside, temporal_server: Temporal
) -> None:
    await waits(aside, "ref-20")
    client = await temporal_server.connect()
    await client.get_workflow_handle(refund_workflow_id("ref-20", "r1")).terminate("by hand")

    async def listed() -> bool:
        return "for order ref-20" in (await run("attention")).stdout

    await eventually(listed)
    sentence = "it is awaiting_approval, and nothing carries it on: its run is terminated\n"
    for command in (
        ("attention",),
        ("refund", "status", "ref-20", "r1"),
        ("refund", "list", "ref-20"),
    ):
        shown = (await run(*command)).stdout
        assert sentence in shown
        assert f"    {PROGRAM} refund look-again ref-20 r1\n" in shown
    [row] = [row for row in read(await run("attention", "--json")) if row["order_id"] == "ref-20"]
    assert (row["refund_id"], row["attention"]["can"]) == ("r1", ["look_again"])
    [entry] = read(await run("refund", "list", "ref-20", "--json"))
    assert entry["stranded"] is True
    late = await run("refund", "approve", "ref-20", "r1", "--by", "ops-7")
    refused(late, "is awaiting_approval, and nothing runs: look again", terminal.REFUSED)

    assert (await run("refund", "look-again", "ref-20", "r1")).exit_code == 0

    [entry] = read(await run("refund", "list", "ref-20", "--json"))
    assert entry["stranded"] is False
    await eventually_approved(run, "ref-20")
    await reaches(aside, "ref-20", RefundState.SUCCEEDED)


async def eventually_approved(run: Run, order_id: str) -> None:
    async def approved() -> bool:
        return (await run("refund", "approve", order_id, "r1", "--by", "ops-7")).exit_code == 0

    await eventually(approved)


async def test_without_temporal_the_list_says_that_runs_are_not_known(
    run: Run, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    await waits(aside, "ref-21")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    shown = (await run("refund", "list", "ref-21")).stdout
    assert "29.00 EUR" in shown
    assert "Temporal does not answer: whether a run carries each of them on is not known" in shown
    [entry] = read(await run("refund", "list", "ref-21", "--json"))
    assert entry["stranded"] is None
