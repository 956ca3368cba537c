"""The promises of ``demo.invariants``: books that are doctored are found out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from demo.invariants import Account, Stock, examine, faults_of
from orders.lifecycle import Status
from orders.messages import Outcome
from orders.money import Money
from orders.order import Line, Order, Recipient
from orders.refunds import RefundEntry, RefundRequest, RefundState
from orders.views import OrderView, ParcelView, PaymentView
from sandbox.books_client import Charge, Fulfillment, Mail, OrderBooks, Parcel, Payment, Refund

TOTAL = Money(29_00, "EUR")
NOTHING = Money(0, "EUR")
ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")


def completed() -> Account:
    """An order of two mugs, as it should be."""
    lines = (Line("MUG", "Mug", 2, Money(14_50, "EUR")),)
    order = Order("1", "customer-1", ADA, lines, TOTAL, "pm_card_visa", Status.COMPLETED)
    return Account(
        view=OrderView(
            order,
            datetime(2026, 1, 1, tzinfo=UTC),
            stock="committed",
            payments=(PaymentView("pi_1", 1, "captured", TOTAL, TOTAL, NOTHING),),
            parcels=(ParcelView("par_1", "accepted"),),
        ),
        page=OrderBooks(
            "1",
            captured=29_00,
            refunded=0,
            payments=(payment(),),
            refunds=(),
            fulfillments=(fulfillment(),),
            mails=(mail(),),
        ),
        outcome=Outcome("1", Status.COMPLETED, TOTAL, NOTHING, ("par_1",)),
        shown="completed",
    )


def half_back() -> Account:
    """The same order, of which one mug came back."""
    account = completed()
    half = Money(14_50, "EUR")
    paid = replace(account.view.payments[0], refunded=half)
    given_back = Refund("re_1", "pi_1", "ch_1", 14_50, "eur", "succeeded")
    note = replace(mail("refund"), key="order-1:mail:refund:r1:1")
    return replace(
        account,
        view=replace(account.view, payments=(paid,)),
        page=replace(account.page, refunded=14_50, refunds=(given_back,), mails=(mail(), note)),
        refunds=(
            RefundEntry(
                RefundRequest("1", "r1", (("MUG", 1),), restock=True),
                *(half, (("MUG", 1),), 1, "pi_1", RefundState.SUCCEEDED),
                card_refund_id="re_1",
                restocked=True,
            ),
        ),
    )


def payment(number: int = 1) -> Payment:
    charges = (Charge(f"ch_{number}", "succeeded", 29_00, 29_00, None),)
    return Payment(f"pi_{number}", "succeeded", 29_00, "eur", None, 0, 29_00, 0, charges)


def fulfillment(number: int = 1, quantity: int = 2) -> Fulfillment:
    parcel = Parcel(f"par_{number}", "accepted", (("MUG", quantity),))
    return Fulfillment(f"ful_{number}", "accepted", (parcel,))


def mail(kind: str = "confirmation") -> Mail:
    return Mail("m", f"order-1:mail:{kind}", kind, ("ada@example.com",), "Thank you")


def with_page(**changes: object) -> Callable[[Account], Account]:
    return lambda account: replace(account, page=replace(account.page, **changes))  # type: ignore[arg-type]


def with_refund(**changes: object) -> Callable[[Account], Account]:
    return lambda account: replace(account, refunds=(replace(account.refunds[0], **changes),))  # type: ignore[arg-type]


def with_order(**changes: object) -> Callable[[Account], Account]:
    def doctor(account: Account) -> Account:
        order = replace(account.view.order, **changes)  # type: ignore[arg-type]
        return replace(account, view=replace(account.view, order=order))

    return doctor


DOCTORED: list[tuple[Callable[[Account], Account], str]] = [
    (with_page(payments=(payment(), payment(2)), captured=58_00), "charged 2 times"),
    (with_page(payments=(payment(), payment(2)), captured=58_00), "Stripe kept 5800, not 2900"),
    (with_page(refunded=29_00), "Stripe kept 0, not 2900"),
    (with_page(payments=(replace(payment(), capturable=5),)), "5 is still held"),
    (with_page(fulfillments=()), "completed, with 0 fulfilments"),
    (with_page(fulfillments=(fulfillment(), fulfillment(2))), "completed, with 2 fulfilments"),
    (with_page(fulfillments=(fulfillment(quantity=3),)), "not what was ordered"),
    (with_page(fulfillments=(fulfillment(7),)), "the database names other parcels"),
    (with_page(mails=()), "its mails are {}"),
    (with_page(mails=(mail(), mail())), "'order-1:mail:confirmation': 2"),
    (with_page(mails=(mail(), mail("closing"))), "order-1:mail:closing"),
    (with_order(status=Status.FULFILLED), "it has not ended, it is fulfilled"),
    (with_order(status=Status.REFUNDED), "refunded in the database, completed in Temporal"),
    (with_order(status=Status.REJECTED), "it is rejected, but 2900 was taken"),
    (lambda account: replace(account, outcome=None), "its run has not ended"),
    (lambda account: replace(account, shown="paid"), "the Web UI shows paid"),
]


def again(account: Account) -> Account:
    """The same refund, given twice."""
    page = account.page
    twice = (*page.refunds, replace(page.refunds[0], id="re_2"))
    return replace(account, page=replace(page, refunded=29_00, refunds=twice))


DOCTORED_REFUNDS: list[tuple[Callable[[Account], Account], str]] = [
    (again, "Stripe kept 0, not 1450"),
    (again, "given back {'re_1': 1450, 're_2': 1450} at Stripe"),
    (with_refund(state=RefundState.REJECTED), "Stripe kept 1450, not 2900"),
    (with_refund(amount=Money(10_00, "EUR")), "asked for were {'re_1': 1000}"),
    (with_refund(state=RefundState.ISSUING), "its refund r1 is issuing"),
    (with_page(mails=(mail(),)), "its mails are {'order-1:mail:confirmation': 1}"),
    (lambda account: replace(account, refunds=()), "given back {'re_1': 1450} at Stripe"),
]


def test_what_is_missing_from_the_parcel_may_have_been_short() -> None:
    short = replace(fulfillment(quantity=1), short=(("MUG", 1),))

    assert not faults_of(examine([with_page(fulfillments=(short,))(completed())], []))


def resent(*parcels: Parcel) -> Account:
    """An order whose warehouse sent these parcels; everybody knows of all of them."""
    account, ids = completed(), tuple(parcel.id for parcel in parcels)
    assert account.outcome
    sent = replace(fulfillment(), status="left", parcels=parcels)
    return replace(
        account,
        view=replace(account.view, parcels=tuple(ParcelView(id_, "shipped") for id_ in ids)),
        page=replace(account.page, fulfillments=(sent,)),
        outcome=replace(account.outcome, parcel_ids=ids),
    )


def test_a_parcel_that_was_sent_again_is_still_one_parcel_for_the_order() -> None:
    lost = Parcel("par_1", "lost", (("MUG", 2),))
    again = Parcel("par_2", "lost", lost.lines, resends="par_1")
    and_again = Parcel("par_3", "delivered", lost.lines, resends="par_2")
    twice = replace(and_again, resends="par_1")
    other = replace(again, lines=(("MUG", 1),))

    good = resent(lost, again, and_again)
    assert good.page.parcels == (and_again,)
    assert not faults_of(examine([good], []))
    for bad in (resent(lost, again, twice), resent(lost, other)):
        assert "not what was ordered" in "\n".join(faults_of(examine([bad], [])))


def test_a_parcel_is_mailed_once_when_it_has_left_and_never_before() -> None:
    left = replace(mail("shipped"), key="order-1:mail:shipped-par_1")
    told = with_page(mails=(mail(), left))(completed())
    gone = replace(told, view=replace(told.view, parcels=(ParcelView("par_1", "shipped"),)))
    twice = with_page(mails=(mail(), left, left))(gone)

    assert not faults_of(examine([gone], []))
    assert "its mails are" in "\n".join(faults_of(examine([told], [])))
    assert "its mails are" in "\n".join(faults_of(examine([twice], [])))


def test_a_refund_that_was_asked_for_is_no_fault() -> None:
    stock = Stock("MUG", 10, on_hand=9, reserved=0, sold=2, held=0, returned=1)

    assert faults_of(examine([half_back()], [stock])) == []


@pytest.mark.parametrize(("doctor", "fault"), DOCTORED_REFUNDS)
def test_a_refund_that_was_doctored_is_said(
    doctor: Callable[[Account], Account], fault: str
) -> None:
    assert fault in "\n".join(faults_of(examine([doctor(half_back())], [])))


def test_nothing_is_found_where_all_is_well() -> None:
    assert faults_of(examine([completed()], [Stock("MUG", 10, 8, 1, sold=2, held=1)])) == []


@pytest.mark.parametrize(("doctor", "fault"), DOCTORED)
def test_what_was_doctored_is_said(doctor: Callable[[Account], Account], fault: str) -> None:
    findings = examine([doctor(completed())], [])

    assert fault in "\n".join(faults_of(findings))
    assert not all(finding.holds for finding in findings)


@pytest.mark.parametrize(
    ("stock", "fault"),
    [
        (Stock("MUG", 10, on_hand=9, reserved=0, sold=2, held=0), "do not make the 10"),
        (Stock("MUG", 10, on_hand=10, reserved=0, sold=2, held=0, returned=1), "1 came back"),
        (Stock("MUG", 10, on_hand=8, reserved=1, sold=2, held=0), "1 set aside, for orders of 0"),
        (Stock("MUG", 1, on_hand=-1, reserved=0, sold=2, held=0), "oversold"),
    ],
)
def test_stock_that_does_not_add_up_is_said(stock: Stock, fault: str) -> None:
    assert fault in "\n".join(faults_of(examine([], [stock])))


def test_what_the_database_finds_is_passed_on() -> None:
    assert faults_of(examine([], [], ["MUG has 1 reserved"])) == ["MUG has 1 reserved"]
