"""``demo.invariants`` reports every inconsistency between the books, the database and Temporal."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from demo.invariants import OrderEvidence, Stock, check_invariants, violations_of
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.disputes.dispute import Dispute as RecordedDispute
from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order, Recipient
from durable_orders.domain.refunds.refund import (
    RefundEntry,
    RefundRequest,
    RefundState,
    undo_request,
)
from durable_orders.domain.views import HistoryLine, OrderView, ParcelView, PaymentView
from sandbox.books_client import (
    Charge,
    Dispute,
    Fulfillment,
    Mail,
    OrderBooks,
    Parcel,
    Payment,
    Refund,
)

TOTAL = Money(29_00, "EUR")
NOTHING = Money(0, "EUR")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")


def completed() -> OrderEvidence:
    """A consistent order of two mugs."""
    lines = (Line("MUG", "Mug", 2, Money(14_50, "EUR")),)
    order = Order(
        *("1", "customer-1", ADA, lines, TOTAL, "pm_card_visa", Status.COMPLETED),
        key_prefix="testshop",
    )
    return OrderEvidence(
        view=OrderView(
            order,
            datetime(2026, 1, 1, tzinfo=UTC),
            stock="committed",
            payments=(PaymentView("pi_1", "captured", TOTAL, TOTAL, NOTHING),),
            parcels=(ParcelView("par_1", "accepted"),),
        ),
        books=OrderBooks(
            "1",
            captured=29_00,
            refunded=0,
            payments=(payment(),),
            refunds=(),
            fulfillments=(fulfillment(),),
            mails=(mail(),),
        ),
        outcome=Outcome("1", Status.COMPLETED, TOTAL, NOTHING, ("par_1",)),
        visible_status="completed",
    )


def half_back() -> OrderEvidence:
    """The same order after a refund of one mug."""
    evidence = completed()
    half = Money(14_50, "EUR")
    paid = replace(evidence.view.payments[0], refunded=half)
    given_back = Refund("re_1", "pi_1", "ch_1", 14_50, "eur", "succeeded")
    note = replace(mail("refund"), key="testshop:order-1:mail:refund:r1:1")
    return replace(
        evidence,
        view=replace(evidence.view, payments=(paid,)),
        books=replace(evidence.books, refunded=14_50, refunds=(given_back,), mails=(mail(), note)),
        refunds=(
            RefundEntry(
                RefundRequest("1", "r1", (("MUG", 1),), restock=True),
                half,
                (("MUG", 1),),
                1,
                "pi_1",
                RefundState.SUCCEEDED,
                card_refund_id="re_1",
                restocked=True,
            ),
        ),
    )


def undone(state: RefundState = RefundState.SUCCEEDED, *, was: str = "") -> OrderEvidence:
    """The same order, cancelled once it was paid; its refund ``was`` pending or failed before."""
    evidence = completed()
    arrived = state is RefundState.SUCCEEDED
    back = TOTAL if arrived else NOTHING
    refund = Refund("re_1", "pi_1", "ch_1", 29_00, "eur", "succeeded" if arrived else "failed")
    mails = [mail("closing")]
    if arrived and was:
        mails.append(replace(mail("refund"), key="testshop:order-1:mail:refund:undo:1"))
    entry = RefundEntry(undo_request("1"), TOTAL, (), 1, "pi_1", state, card_refund_id="re_1")
    history = (HistoryLine(BEGIN, was, {"refund_id": "undo"}),) if was else ()
    order = replace(evidence.view.order, status=Status.REFUNDED)
    return OrderEvidence(
        view=OrderView(
            order,
            BEGIN,
            stock="released",
            payments=(PaymentView("pi_1", "captured", TOTAL, TOTAL, back),),
            history=history,
        ),
        books=replace(
            evidence.books,
            refunded=back.amount,
            refunds=(refund,),
            fulfillments=(),
            mails=tuple(mails),
        ),
        outcome=Outcome("1", Status.REFUNDED, TOTAL, TOTAL),
        visible_status="refunded",
        refunds=(entry,),
    )


def disputed(status: str = "lost") -> OrderEvidence:
    """The same order, charged back after it was sent, and decided."""
    evidence = completed()
    withdrawn = NOTHING if status == "won" else TOTAL
    at_stripe = Dispute(
        "du_1", "pi_1", "ch_1", 29_00, "eur", "fraudulent", status, withdrawn.amount
    )
    ours = RecordedDispute(
        dispute_id="du_1",
        payment_id="pi_1",
        amount=TOTAL,
        withdrawn=withdrawn,
        fee=Money(15_00, "EUR"),
        reason="fraudulent",
        status=DisputeStatus(status),
        opened_at=evidence.view.placed_at,
    )
    books = replace(evidence.books, disputes=(at_stripe,))
    return replace(evidence, books=books, disputes=(ours,))


def undone_and_disputed() -> OrderEvidence:
    """An order that was charged back before it was sent, and undone; the dispute is lost."""
    evidence = disputed()
    order = replace(evidence.view.order, status=Status.REFUNDED)
    view = replace(evidence.view, order=order, stock="released", parcels=())
    return replace(
        evidence,
        view=view,
        books=replace(evidence.books, fulfillments=(), mails=(mail("closing"),)),
        outcome=Outcome("1", Status.REFUNDED, TOTAL, TOTAL),
        visible_status="refunded",
    )


def payment(number: int = 1) -> Payment:
    charges = (Charge(f"ch_{number}", "succeeded", 29_00, 29_00, None),)
    return Payment(f"pi_{number}", "succeeded", 29_00, "eur", None, 0, 29_00, 0, charges)


def fulfillment(number: int = 1, quantity: int = 2) -> Fulfillment:
    parcel = Parcel(f"par_{number}", "accepted", (("MUG", quantity),))
    return Fulfillment(f"ful_{number}", "accepted", (parcel,))


def mail(kind: str = "confirmation") -> Mail:
    return Mail("m", f"testshop:order-1:mail:{kind}", kind, ("ada@example.com",), "Thank you")


def with_books(**changes: object) -> Callable[[OrderEvidence], OrderEvidence]:
    return lambda evidence: replace(evidence, books=replace(evidence.books, **changes))  # type: ignore[arg-type]


def with_refund(**changes: object) -> Callable[[OrderEvidence], OrderEvidence]:
    return lambda evidence: replace(evidence, refunds=(replace(evidence.refunds[0], **changes),))  # type: ignore[arg-type]


def with_order(**changes: object) -> Callable[[OrderEvidence], OrderEvidence]:
    def change(evidence: OrderEvidence) -> OrderEvidence:
        order = replace(evidence.view.order, **changes)  # type: ignore[arg-type]
        return replace(evidence, view=replace(evidence.view, order=order))

    return change


BROKEN: list[tuple[Callable[[OrderEvidence], OrderEvidence], str]] = [
    (with_books(payments=(payment(), payment(2)), captured=58_00), "charged 2 times"),
    (with_books(payments=(payment(), payment(2)), captured=58_00), "Stripe kept 5800, not 2900"),
    (with_books(refunded=29_00), "Stripe kept 0, not 2900"),
    (with_books(payments=(replace(payment(), capturable=5),)), "5 is still held"),
    (with_books(fulfillments=()), "completed, with 0 fulfilments"),
    (with_books(fulfillments=(fulfillment(), fulfillment(2))), "completed, with 2 fulfilments"),
    (with_books(fulfillments=(fulfillment(quantity=3),)), "not what was ordered"),
    (with_books(fulfillments=(fulfillment(7),)), "the database names other parcels"),
    (with_books(mails=()), "its mails are {}"),
    (with_books(mails=(mail(), mail())), "'testshop:order-1:mail:confirmation': 2"),
    (with_books(mails=(mail(), mail("closing"))), "testshop:order-1:mail:closing"),
    (with_order(status=Status.FULFILLED), "it has not ended, it is fulfilled"),
    (with_order(status=Status.REFUNDED), "refunded in the database, completed in Temporal"),
    (with_order(status=Status.REJECTED), "it is rejected, but 2900 was taken"),
    (lambda evidence: replace(evidence, outcome=None), "its run has not ended"),
    (lambda evidence: replace(evidence, visible_status="paid"), "the Web UI shows paid"),
]


def again(evidence: OrderEvidence) -> OrderEvidence:
    """The same refund, given twice."""
    books = evidence.books
    twice = (*books.refunds, replace(books.refunds[0], id="re_2"))
    return replace(evidence, books=replace(books, refunded=29_00, refunds=twice))


@pytest.mark.parametrize(
    "evidence", [disputed("won"), disputed("lost"), disputed("under_review"), undone_and_disputed()]
)
def test_a_dispute_is_part_of_the_balance(evidence: OrderEvidence) -> None:
    assert violations_of(check_invariants([evidence], [])) == []


BROKEN_DISPUTES: list[tuple[OrderEvidence, str]] = [
    (replace(disputed(), disputes=()), "its disputes are {} in our books"),
    (replace(disputed("won"), disputes=disputed().disputes), "{'du_1': ('won', 0)} at Stripe"),
    (with_books(refunded=29_00)(undone_and_disputed()), "Stripe kept -2900, not 0"),
    (with_books(disputes=())(undone_and_disputed()), "Stripe kept 2900, not 0"),
    (
        replace(undone_and_disputed(), outcome=Outcome("1", Status.REFUNDED, TOTAL, NOTHING)),
        "(2900, 0) in Temporal",
    ),
]


@pytest.mark.parametrize(("evidence", "violation"), BROKEN_DISPUTES)
def test_a_dispute_that_is_not_in_the_balance_is_seen(
    evidence: OrderEvidence, violation: str
) -> None:
    found = violations_of(check_invariants([evidence], []))
    assert any(violation in one for one in found), found


BROKEN_REFUNDS: list[tuple[Callable[[OrderEvidence], OrderEvidence], str]] = [
    (again, "Stripe kept 0, not 1450"),
    (again, "given back {'re_1': 1450, 're_2': 1450} at Stripe"),
    (with_refund(state=RefundState.REJECTED), "Stripe kept 1450, not 2900"),
    (with_refund(amount=Money(10_00, "EUR")), "asked for were {'re_1': 1000}"),
    (with_refund(state=RefundState.ISSUING), "its refund r1 is issuing"),
    (with_books(mails=(mail(),)), "its mails are {'testshop:order-1:mail:confirmation': 1}"),
    (lambda evidence: replace(evidence, refunds=()), "given back {'re_1': 1450} at Stripe"),
]


def test_a_line_may_be_short_instead_of_packed_when_it_is_refunded() -> None:
    missing = with_books(fulfillments=(replace(fulfillment(quantity=1), short=(("MUG", 1),)),))
    forgotten = "{'MUG': 1} was never sent, and is not refunded"

    assert not violations_of(check_invariants([missing(half_back())], []))
    for dropped in (completed(), with_refund(state=RefundState.REJECTED)(half_back())):
        assert forgotten in "\n".join(violations_of(check_invariants([missing(dropped)], [])))


def test_a_parcel_is_not_sent_again_and_refunded_both() -> None:
    lost = Parcel("par_1", "lost", (("MUG", 2),))
    both = (lost, Parcel("par_2", "left", lost.lines, resends="par_1"))
    sent = with_books(fulfillments=(replace(fulfillment(), status="left", parcels=both),))
    refund = half_back().refunds[0]
    of_parcel = replace(refund, request=replace(refund.request, refund_id="parcel.par_1"))
    twice = replace(sent(half_back()), refunds=(of_parcel,))

    words = "parcel par_1 was sent again and refunded"
    assert words in "\n".join(violations_of(check_invariants([twice], [])))
    assert words not in "\n".join(violations_of(check_invariants([sent(half_back())], [])))


def resent(*parcels: Parcel) -> OrderEvidence:
    """An order with these parcels in the books, the database and Temporal."""
    evidence, ids = completed(), tuple(parcel.id for parcel in parcels)
    assert evidence.outcome
    sent = replace(fulfillment(), status="left", parcels=parcels)
    return replace(
        evidence,
        view=replace(evidence.view, parcels=tuple(ParcelView(id_, "shipped") for id_ in ids)),
        books=replace(evidence.books, fulfillments=(sent,)),
        outcome=replace(evidence.outcome, parcel_ids=ids),
    )


def test_a_parcel_that_was_sent_again_is_still_one_parcel_for_the_order() -> None:
    lost = Parcel("par_1", "lost", (("MUG", 2),))
    again = Parcel("par_2", "lost", lost.lines, resends="par_1")
    and_again = Parcel("par_3", "delivered", lost.lines, resends="par_2")
    twice = replace(and_again, resends="par_1")
    other = replace(again, lines=(("MUG", 1),))

    good = resent(lost, again, and_again)
    assert good.books.parcels == (and_again,)
    assert not violations_of(check_invariants([good], []))
    for bad in (resent(lost, again, twice), resent(lost, other)):
        assert "not what was ordered" in "\n".join(violations_of(check_invariants([bad], [])))


def test_a_parcel_is_mailed_once_when_it_has_left_and_never_before() -> None:
    left = replace(mail("shipped"), key="testshop:order-1:mail:shipped-par_1")
    early = with_books(mails=(mail(), left))(completed())
    shipped = replace(early, view=replace(early.view, parcels=(ParcelView("par_1", "shipped"),)))
    twice = with_books(mails=(mail(), left, left))(shipped)

    assert not violations_of(check_invariants([shipped], []))
    assert "its mails are" in "\n".join(violations_of(check_invariants([early], [])))
    assert "its mails are" in "\n".join(violations_of(check_invariants([twice], [])))


def test_the_approver_is_reminded_once() -> None:
    reminder = replace(mail("dispute_reminder"), key="testshop:order-1:mail:dispute_reminder_du_1")

    reminded = with_books(mails=(mail(), reminder))(completed())
    twice = with_books(mails=(mail(), reminder, reminder))(completed())

    assert not violations_of(check_invariants([reminded], []))
    assert "its mails are" in "\n".join(violations_of(check_invariants([twice], [])))


def test_a_requested_refund_is_no_violation() -> None:
    stock = Stock("MUG", 10, on_hand=9, reserved=0, sold=2, held=0, returned=1)

    assert violations_of(check_invariants([half_back()], [stock])) == []


@pytest.mark.parametrize(("change", "violation"), BROKEN_REFUNDS)
def test_an_inconsistent_refund_is_reported(
    change: Callable[[OrderEvidence], OrderEvidence], violation: str
) -> None:
    assert violation in "\n".join(violations_of(check_invariants([change(half_back())], [])))


def test_consistent_orders_and_stock_have_no_violations() -> None:
    assert (
        violations_of(check_invariants([completed()], [Stock("MUG", 10, 8, 1, sold=2, held=1)]))
        == []
    )


@pytest.mark.parametrize(("change", "violation"), BROKEN)
def test_an_inconsistent_order_is_reported(
    change: Callable[[OrderEvidence], OrderEvidence], violation: str
) -> None:
    results = check_invariants([change(completed())], [])

    assert violation in "\n".join(violations_of(results))
    assert not all(result.holds for result in results)


@pytest.mark.parametrize(
    ("stock", "violation"),
    [
        (Stock("MUG", 10, on_hand=9, reserved=0, sold=2, held=0), "do not make the 10"),
        (Stock("MUG", 10, on_hand=10, reserved=0, sold=2, held=0, returned=1), "1 came back"),
        (Stock("MUG", 10, on_hand=8, reserved=1, sold=2, held=0), "1 set aside, for orders of 0"),
        (Stock("MUG", 1, on_hand=-1, reserved=0, sold=2, held=0), "oversold"),
    ],
)
def test_inconsistent_stock_is_reported(stock: Stock, violation: str) -> None:
    assert violation in "\n".join(violations_of(check_invariants([], [stock])))


def test_the_databases_own_inconsistencies_are_passed_on() -> None:
    assert violations_of(check_invariants([], [], ["MUG has 1 reserved"])) == ["MUG has 1 reserved"]


@pytest.mark.parametrize(
    "evidence",
    [
        undone(),
        undone(was="refund_pending"),
        undone(was="refund_failed"),
        undone(RefundState.SETTLED, was="refund_failed"),
    ],
)
def test_an_undone_order_whose_money_is_back_breaks_nothing(evidence: OrderEvidence) -> None:
    assert violations_of(check_invariants([evidence], [])) == []


@pytest.mark.parametrize(
    ("evidence", "violation"),
    [
        (undone(RefundState.FAILED, was="refund_failed"), "its refund undo is failed"),
        (undone(RefundState.FAILED, was="refund_failed"), "Stripe kept 2900, not 0"),
        (with_refund(state=RefundState.PENDING)(undone()), "its refund undo is pending"),
        (
            with_books(mails=(mail("closing"),))(undone(was="refund_pending")),
            "it is refunded, and its mails are",
        ),
        (
            with_books(mails=undone(was="refund_pending").books.mails)(undone()),
            "it is refunded, and its mails are",
        ),
        (
            with_refund(amount=Money(19_00, "EUR"))(undone(RefundState.SETTLED)),
            "Stripe kept 2900, not 1900",
        ),
    ],
)
def test_an_undone_order_whose_money_is_not_back_is_a_violation(
    evidence: OrderEvidence, violation: str
) -> None:
    found = violations_of(check_invariants([evidence], []))
    assert any(violation in sentence for sentence in found), found
