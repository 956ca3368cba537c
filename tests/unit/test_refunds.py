"""What a refund comes to, how far it may go, and what may follow what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.ids import (
    UNDO_REFUND_ID,
    InvalidRefundIdError,
    order_id_of,
    parcel_refund_id,
    refund_of,
    refund_of_key,
    refund_workflow_id,
    workflow_id,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order, Recipient
from durable_orders.domain.ports import CardRefund, CardRefundState, IllegalStatusError
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.calculation import (
    plan_refund,
    plan_undo,
    refundable_amount,
    returnable_quantities,
)
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    FOLLOWS,
    NEVER_ISSUED,
    NOT_YET_ISSUED,
    REFUNDABLE,
    PaidCharge,
    Quantities,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
    undo_request,
)
from tests.support.keys import capture_key, refund_key, undo_refund_key

LINES = (
    Line("MUG", "Mug", 3, Money(14_50, "EUR")),
    Line("TEE", "T-shirt", 1, Money(20_00, "EUR")),
    Line("GIFT", "Sticker", 2, Money(0, "EUR")),
)
TOTAL = Money(63_50, "EUR")
ORDER = Order(
    id="1001",
    customer_id="cus_1",
    recipient=Recipient("Ada <Lovelace>", "ada@example.com", "London"),
    lines=LINES,
    total=TOTAL,
    payment_method="pm_card_visa",
    status=Status.COMPLETED,
)
CHARGE = PaidCharge(1, "pi_1", TOTAL, Money(0, "EUR"))


def ask(refund_id: str = "r1", **asked: object) -> RefundRequest:
    return RefundRequest("1001", refund_id, **asked)  # type: ignore[arg-type]  # its own fields


def entry(request: RefundRequest, *earlier: RefundEntry) -> RefundEntry:
    found = plan_refund(request, ORDER, CHARGE, earlier)
    assert isinstance(found, RefundEntry), found
    return found


def refusal(request: RefundRequest, *earlier: RefundEntry) -> str:
    found = plan_refund(request, ORDER, CHARGE, earlier)
    assert isinstance(found, RefundRefused), found
    return found.message


DINARS = replace(
    ORDER,
    lines=(Line("DATES", "Dates", 2, Money(1235, "KWD")),),
    total=Money(2470, "KWD"),
)
PAID_IN_DINARS = PaidCharge(1, "pi_1", DINARS.total, Money(0, "KWD"))


@pytest.mark.parametrize(
    "request_", [ask(amount=Money(1235, "KWD")), ask(lines=(("DATES", 1),))], ids=str
)
def test_an_amount_that_no_card_can_take_back_is_refused_when_it_is_asked_for(
    request_: RefundRequest,
) -> None:
    found = plan_refund(request_, DINARS, PAID_IN_DINARS, ())
    assert isinstance(found, RefundRefused)
    assert "1.235 KWD cannot be moved on a card" in found.message
    assert "in steps of 0.010 KWD. Name an amount" in found.message


@pytest.mark.parametrize(
    "request_",
    [
        ask(),
        ask(amount=Money(1230, "KWD")),
        ask(amount=Money(10, "KWD")),
        ask(lines=(("DATES", 2),)),
    ],
    ids=str,
)
def test_an_amount_in_steps_is_given_back_however_little(request_: RefundRequest) -> None:
    found = plan_refund(request_, DINARS, PAID_IN_DINARS, ())
    assert isinstance(found, RefundEntry), found


# -- ids -------------------------------------------------------------------------------------------

order_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
refund_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._]{0,20}", fullmatch=True)


@given(order_ids, refund_ids, order_ids, refund_ids)
def test_two_refunds_never_share_a_run_or_a_key(
    order: str, refund: str, other_order: str, other_refund: str
) -> None:
    same = (order, refund) == (other_order, other_refund)
    runs = refund_workflow_id(order, refund), refund_workflow_id(other_order, other_refund)
    keys = refund_key(order, refund), refund_key(other_order, other_refund)
    assert (runs[0] == runs[1], keys[0] == keys[1]) == (same, same)


@given(order_ids, refund_ids, st.integers(1, 99))
def test_a_run_and_a_key_say_what_they_are_about(order: str, refund: str, attempt: int) -> None:
    assert order_id_of(refund_workflow_id(order, refund)) == order
    assert refund_of(refund_workflow_id(order, refund)) == (order, refund)
    assert refund_of(workflow_id(order)) is None
    assert refund_of_key(refund_key(order, refund, attempt)) == (order, refund)


@pytest.mark.parametrize("attempt", [1, 2, 13])
def test_a_key_of_an_undo_names_the_refund_that_undoes_its_order(attempt: int) -> None:
    assert refund_of_key(undo_refund_key("1001", "pi_1", attempt)) == ("1001", UNDO_REFUND_ID)
    assert refund_of_key(undo_refund_key("10:01", "pi_1", attempt)) is None


def test_keys_of_others_are_not_of_refunds() -> None:
    assert refund_of_key(capture_key("1001", "pi_1")) is None
    assert refund_of_key("") is None
    assert refund_key("1001", "r1", 1) != refund_key("1001", "r1", 2)


@pytest.mark.parametrize("refund_id", ["", "r-1", "r:1", "r 1", ".r", "r" * 65, "r1\n"])
def test_a_refund_id_has_no_dash(refund_id: str) -> None:
    with pytest.raises(InvalidRefundIdError):
        refund_workflow_id("1001", refund_id)
    assert "is not a refund id" in refusal(ask(refund_id))


# -- what it comes to ------------------------------------------------------------------------------


def test_lines_come_to_what_they_cost() -> None:
    found = entry(ask(lines=(("TEE", 1), ("MUG", 2))))
    assert (found.amount, found.lines) == (Money(49_00, "EUR"), (("MUG", 2), ("TEE", 1)))


def test_an_amount_instead_of_what_lines_cost_is_not_above_it() -> None:
    assert entry(ask(lines=(("MUG", 1),), amount=Money(10_00, "EUR"))).amount.amount == 10_00
    too_much = ask(lines=(("MUG", 1),), amount=Money(14_51, "EUR"))
    assert "more than these lines cost, 14.50 EUR" in refusal(too_much)


def test_everything_is_all_that_is_left() -> None:
    everything = entry(ask("r2"), entry(ask(lines=(("MUG", 1), ("GIFT", 2)))))
    assert everything.amount == Money(49_00, "EUR")
    assert everything.lines == (("MUG", 2), ("TEE", 1))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ask(lines=(("MUG", 4),)), "4 of MUG cannot be returned: 3 are left"),
        (ask(lines=(("MUG", 0),)), "0 of MUG cannot be returned"),
        (ask(lines=(("MUG", -1),)), "-1 of MUG cannot be returned"),
        (ask(lines=(("MUG", 1), ("MUG", 1))), "a line is there twice"),
        (ask(lines=(("HAT", 1),)), "order 1001 has no HAT"),
        (ask(lines=(("GIFT", 1),)), "nothing to give back"),
        (ask(amount=Money(0, "EUR")), "nothing to give back"),
        (ask(amount=Money(-1, "EUR")), "nothing to give back"),
        (ask(amount=Money(63_51, "EUR")), "63.50 EUR of order 1001 is left"),
        (ask(amount=Money(5, "USD")), "was paid in EUR"),
        (ask(amount=Money(5, "EUR"), restock=True), "only pieces can be restocked"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(request_: RefundRequest, says: str) -> None:
    assert says in refusal(request_)


@pytest.mark.parametrize("status", Status)
def test_only_orders_that_are_paid_and_not_undone_are_refunded(status: Status) -> None:
    found = plan_refund(ask(), replace(ORDER, status=status), CHARGE, ())
    assert isinstance(found, RefundEntry) == (status in REFUNDABLE)
    assert isinstance(plan_refund(ask(), ORDER, None, ()), RefundRefused)


# -- what is owed ----------------------------------------------------------------------------------


def owed(*lines: tuple[str, int]) -> RefundRequest:
    return RefundRequest("1001", "short", lines, owed=True)


def paid_back(*entries: RefundEntry) -> PaidCharge:
    back = sum(e.amount.amount for e in entries if e.state in ACCEPTED_BY_PROVIDER)
    return replace(CHARGE, refunded=Money(back, "EUR"))


def owed_entry(request: RefundRequest, *earlier: RefundEntry) -> RefundEntry | RefundRefused:
    return plan_refund(request, ORDER, paid_back(*earlier), earlier)


def made(request: RefundRequest, state: RefundState = RefundState.SUCCEEDED) -> RefundEntry:
    return replace(entry(request), state=state)


def test_what_is_owed_is_given_back_whole_when_nothing_was_before() -> None:
    found = owed_entry(owed(("TEE", 1), ("MUG", 1), ("MUG", 1)))
    assert isinstance(found, RefundEntry)
    assert (found.amount, found.why) == (Money(49_00, "EUR"), "")
    assert found.lines == (("MUG", 2), ("TEE", 1))


@pytest.mark.parametrize(
    ("earlier", "amount", "lines"),
    [
        (ask(amount=Money(30_00, "EUR")), 33_50, (("MUG", 3),)),
        (ask(lines=(("MUG", 1),)), 29_00, (("MUG", 2),)),
        (ask(lines=(("MUG", 2),), amount=Money(1_00, "EUR")), 14_50, (("MUG", 1),)),
    ],
    ids=["an amount", "a piece", "pieces for less"],
)
@pytest.mark.parametrize(
    "state", [RefundState.SUCCEEDED, RefundState.ISSUING, RefundState.FAILED, RefundState.SETTLED]
)
def test_of_what_was_refunded_in_part_the_rest_is_given_back_and_says_so(
    earlier: RefundRequest, amount: int, lines: Quantities, state: RefundState
) -> None:
    found = owed_entry(owed(("MUG", 3)), made(earlier, state))
    assert isinstance(found, RefundEntry)
    assert (found.amount.amount, found.lines) == (amount, lines)
    assert found.why.startswith(f"{found.amount} is left of the 43.50 EUR that these pieces cost")


@pytest.mark.parametrize("state", sorted(NOT_YET_ISSUED))
def test_another_refund_is_decided_before_one_that_is_owed_takes_the_rest(
    state: RefundState,
) -> None:
    undecided = made(ask(amount=Money(50_00, "EUR")), state)
    found = owed_entry(owed(("MUG", 3)), undecided)
    assert isinstance(found, RefundRefused)
    assert "43.50 EUR is owed for order 1001, and refund r1 of 50.00 EUR is not decided" in (
        found.message
    )
    assert not found.owes_nothing
    small = made(ask(amount=Money(20_00, "EUR")), state)
    whole = owed_entry(owed(("MUG", 3)), small)
    assert isinstance(whole, RefundEntry)
    assert whole.why == ""


@pytest.mark.parametrize(
    ("request_", "earlier", "says", "owes_nothing"),
    [
        (owed(("GIFT", 2)), (), "these pieces cost nothing", True),
        (owed(("MUG", 1)), (made(ask()),), "63.50 EUR, was given back already", True),
        (owed(("HAT", 1)), (), "order 1001 has no HAT", False),
        (
            owed(("MUG", 1)),
            (made(ask(lines=(("MUG", 3),), amount=Money(1, "EUR"))),),
            "there is nothing to give back for it",
            False,
        ),
        (
            owed(("MUG", 1)),
            (made(ask(), RefundState.FAILED),),
            "there is nothing to give back for it: 0.00 EUR of the order is left",
            False,
        ),
    ],
)
def test_what_is_owed_and_cannot_be_given_back_is_refused_with_a_sentence(
    request_: RefundRequest, earlier: tuple[RefundEntry, ...], says: str, *, owes_nothing: bool
) -> None:
    found = owed_entry(request_, *earlier)
    assert isinstance(found, RefundRefused)
    assert says in found.message
    assert found.owes_nothing is owes_nothing


@pytest.mark.parametrize("refund_id", ["short", parcel_refund_id("par_7"), parcel_refund_id("ö")])
def test_the_id_of_an_orders_own_refund_is_no_shops(refund_id: str) -> None:
    assert "choose another" in refusal(ask(refund_id))


requests = st.builds(
    lambda quantities, amount, restock: ask(
        lines=tuple(quantities.items()), amount=amount, restock=restock
    ),
    st.dictionaries(st.sampled_from(["MUG", "TEE", "GIFT"]), st.integers(-1, 4), max_size=3),
    st.none() | st.integers(-1, 70_00).map(lambda n: Money(n, "EUR")),
    st.booleans(),
)


@given(
    st.lists(st.tuples(requests, st.sampled_from(RefundState), st.booleans()), max_size=12),
)
def test_refunds_never_come_to_more_than_was_taken_nor_pieces_to_more_than_were_bought(
    asked: list[tuple[RefundRequest, RefundState, bool]],
) -> None:
    charge = CHARGE
    entries: list[RefundEntry] = []
    for number, (request, state, is_owed) in enumerate(asked):
        wanted = replace(request, refund_id=f"r{number}", owed=is_owed)
        found = plan_refund(wanted, ORDER, charge, entries)
        if isinstance(found, RefundRefused):
            continue
        assert found.amount.amount > 0
        entries.append(replace(found, state=state))
        if state in ACCEPTED_BY_PROVIDER:
            charge = replace(charge, refunded=charge.refunded + found.amount)
        assert refundable_amount(charge, entries).amount >= 0
        assert min(returnable_quantities(ORDER, entries).values()) >= 0
    counted = [e for e in entries if e.state not in NEVER_ISSUED]
    assert sum(e.amount.amount for e in counted) <= TOTAL.amount
    assert refundable_amount(charge, entries).amount == TOTAL.amount - sum(
        e.amount.amount for e in counted
    )


# -- what may follow what --------------------------------------------------------------------------


@given(st.sampled_from(RefundState), st.sampled_from(RefundState))
def test_a_refund_moves_only_along_the_table(state: RefundState, wanted: RefundState) -> None:
    known = replace(entry(ask()), state=state)
    if wanted is state:
        assert known.moved(wanted) is known
    elif wanted in FOLLOWS[state]:
        assert known.moved(wanted, "so").state is wanted
    else:
        with pytest.raises(IllegalStatusError):
            known.moved(wanted)


def test_money_that_may_have_moved_is_never_given_free() -> None:
    reachable = {RefundState.ISSUING}
    while more := {after for state in reachable for after in FOLLOWS[state]} - reachable:
        reachable |= more
    assert not reachable & (NEVER_ISSUED | NOT_YET_ISSUED)


@pytest.mark.parametrize("state", RefundState)
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_an_attempt_begins_once_and_only_in_its_turn(state: RefundState, attempt: int) -> None:
    known = replace(entry(ask()), state=state, attempt=2 if state not in NOT_YET_ISSUED else 1)
    if (state in NOT_YET_ISSUED and attempt == 1) or (state is RefundState.FAILED and attempt == 3):
        begun = known.begun(attempt)
        assert (begun.state, begun.attempt) == (RefundState.ISSUING, attempt)
    elif state in NEVER_ISSUED | NOT_YET_ISSUED or attempt == 3:
        with pytest.raises(IllegalStatusError):
            known.begun(attempt)
    else:
        assert known.begun(attempt) is known


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(CardRefundState)), max_size=10))
def test_the_providers_word_is_taken_in_any_order_and_a_failure_stays_one(
    told: list[tuple[int, CardRefundState]],
) -> None:
    known = entry(ask()).begun(1)
    for attempt, state in told:
        refund = CardRefund(f"re_{attempt}", known.amount, state, "why")
        after = known.merge(attempt, refund)
        assert after.merge(attempt, refund) is after
        if attempt != 1 or known.state is RefundState.FAILED:
            assert after is known
        known = after


@pytest.mark.parametrize("state", RefundState)
def test_pieces_come_back_once_and_only_for_a_refund_that_has_begun(state: RefundState) -> None:
    known = replace(entry(ask(restock=True)), state=state)
    if state in NOT_YET_ISSUED | NEVER_ISSUED:
        with pytest.raises(IllegalStatusError):
            known.with_restock()
    else:
        back = known.with_restock()
        assert back.restocked
        assert back.with_restock() is back
    kept = replace(entry(ask()), state=state)
    assert kept.with_restock() is kept


# -- terms and mail --------------------------------------------------------------------------------


def test_refunds_above_the_limit_of_their_currency_wait_for_a_person() -> None:
    shop = ShopRefundTerms(approval_above={"EUR": 50_00})
    assert not shop.of(Money(50_00, "EUR")).needs_approval
    assert shop.of(Money(50_01, "EUR")).needs_approval
    assert not shop.of(Money(1_000_00, "USD")).needs_approval


def test_the_mail_says_what_and_how_much_and_is_the_same_every_time() -> None:
    found = entry(ask(lines=(("MUG", 2),)))
    mail = refund_emails.refunded(ORDER, found)
    assert mail == refund_emails.refunded(ORDER, replace(found, state=RefundState.SUCCEEDED))
    assert mail.to == "ada@example.com"
    for body in (mail.text, mail.html):
        assert "29.00 EUR" in body
        assert "2 x Mug" in body
        assert "r1" in body
    assert "Ada &lt;Lovelace&gt;" in mail.html
    assert "It is for" not in refund_emails.refunded(ORDER, entry(ask(amount=TOTAL))).text


# -- the refund that undoes an order ---------------------------------------------------------------

LEFT = Money(19_00, "EUR")


def undo_entry(state: RefundState, attempt: int = 1) -> RefundEntry:
    request = undo_request("1001")
    return RefundEntry(request, Money(29_00, "EUR"), (), 1, "pi_1", state, attempt)


CAPTURED = PaidCharge(1, "pi_1", Money(29_00, "EUR"), Money(0, "EUR"))


def test_an_undo_is_planned_for_what_is_left_and_is_about_to_be_issued() -> None:
    planned = plan_undo("1001", CAPTURED, LEFT, None)
    assert planned is not None
    assert (planned.amount, planned.state, planned.attempt) == (LEFT, RefundState.ISSUING, 1)
    assert planned.request == undo_request("1001")
    assert planned.key("testshop", 1) == undo_refund_key("1001", "pi_1")
    assert planned.key("testshop", 2) == undo_refund_key("1001", "pi_1", 2)
    assert plan_undo("1001", CAPTURED, Money(0, "EUR"), None) is None


@pytest.mark.parametrize(
    ("state", "left", "planned"),
    [
        (RefundState.ISSUING, 29_00, (RefundState.ISSUING, 29_00, 1)),
        (RefundState.ISSUING, 19_00, (RefundState.ISSUING, 19_00, 2)),
        (RefundState.ISSUING, 0, (RefundState.CANCELLED, 29_00, 1)),
        (RefundState.CANCELLED, 0, (RefundState.CANCELLED, 29_00, 1)),
        (RefundState.CANCELLED, 29_00, (RefundState.ISSUING, 29_00, 2)),
        *(
            (state, left, (state, 29_00, 1))
            for state in (
                RefundState.PENDING,
                RefundState.SUCCEEDED,
                RefundState.FAILED,
                RefundState.SETTLED,
            )
            for left in (0, 19_00, 29_00)
        ),
    ],
)
def test_an_undo_shrinks_with_what_others_gave_back_while_nobody_knows_of_it(
    state: RefundState, left: int, planned: tuple[RefundState, int, int]
) -> None:
    after = plan_undo("1001", CAPTURED, Money(left, "EUR"), undo_entry(state))
    assert after is not None
    assert (after.state, after.amount.amount, after.attempt) == planned


def test_an_undo_grows_with_what_has_come_back_while_nobody_knows_of_it() -> None:
    small = replace(undo_entry(RefundState.ISSUING, attempt=2), amount=LEFT)
    after = plan_undo("1001", CAPTURED, Money(29_00, "EUR"), small)
    assert after is not None
    assert (after.state, after.amount.amount, after.attempt) == (RefundState.ISSUING, 29_00, 3)


@pytest.mark.parametrize("status", list(Status))
def test_a_shop_cannot_request_the_refund_that_undoes_an_order(status: Status) -> None:
    refused = plan_refund(undo_request("1001"), replace(ORDER, status=status), CHARGE, ())
    assert isinstance(refused, RefundRefused)
    assert refused.message.startswith("undo is the id of the refund that undoes an order")
