"""What makes the money of an order uncertain, and what becomes of an order because of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from durable_orders.domain.disputes.concerns import concerns_of, hold_problem, stop_for
from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentConcern,
    PaymentRisks,
    Review,
)
from durable_orders.domain.lifecycle import Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.terms import DisputePolicy, FraudWarningPolicy, OrderTerms

TOTAL, NOTHING = Money(29_00, "EUR"), Money(0, "EUR")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAID = CardCharge("pi_1", ChargeState.CAPTURED, TOTAL, captured=TOTAL, refunded=NOTHING)
HELD = CardCharge("pi_1", ChargeState.HELD, TOTAL, captured=NOTHING, refunded=NOTHING)
CHARGEBACK = Dispute(
    "du_1", "pi_1", TOTAL, TOTAL, NOTHING, "fraudulent", DisputeStatus.NEEDS_RESPONSE, NOON, NOON
)
WARNING = FraudWarning(
    "issfr_1", "pi_1", "made_with_stolen_card", is_actionable=True, opened_at=NOON
)
REVIEW = Review("prv_1", "pi_1", "rule", is_open=True, opened_at=NOON)


def euros(cents: int) -> Money:
    return Money(cents, "EUR")


@pytest.mark.parametrize(
    ("card", "id_", "detail"),
    [
        (replace(PAID, captured=euros(10_00)), "pi_1:1000", "10.00 EUR of 29.00 EUR is captured"),
        (
            replace(PAID, refunded=euros(5_00)),
            "pi_1:2400",
            "24.00 EUR of 29.00 EUR is there: 5.00 EUR was given back at the card provider",
        ),
        (replace(HELD, amount=euros(10_00)), "pi_1:1000", "10.00 EUR of 29.00 EUR is held"),
        (replace(HELD, capturable=euros(10_00)), "pi_1:1000", "10.00 EUR of 29.00 EUR is held"),
    ],
)
def test_an_amount_other_than_the_total_is_uncertain(
    card: CardCharge, id_: str, detail: str
) -> None:
    assert concerns_of(card, TOTAL) == (PaymentConcern(id_, ConcernKind.AMOUNT, detail),)


@pytest.mark.parametrize(
    "card",
    [
        PAID,
        HELD,
        replace(HELD, capturable=TOTAL),
        # A part was captured before, the rest can be: both together are the total.
        replace(HELD, captured=euros(10_00), capturable=euros(19_00)),
    ],
)
def test_the_whole_total_is_certain(card: CardCharge) -> None:
    assert concerns_of(card, TOTAL) == ()
    assert concerns_of(card, TOTAL, PaymentRisks("pi_1")) == ()


def test_another_amount_is_another_concern() -> None:
    first, second = (
        concerns_of(replace(PAID, refunded=euros(back)), TOTAL)[0] for back in (5_00, 6_00)
    )
    assert first.id != second.id


def test_what_the_books_have_open_is_uncertain_and_what_is_over_is_not() -> None:
    over = replace(CHARGEBACK, dispute_id="du_0", status=DisputeStatus.WON)
    spent = replace(WARNING, warning_id="issfr_0", is_actionable=False)
    risks = PaymentRisks("pi_1", (over, CHARGEBACK), (spent, WARNING))
    found = concerns_of(PAID, TOTAL, risks)
    assert [(one.id, one.kind) for one in found] == [
        ("du_1", ConcernKind.CHARGEBACK),
        ("issfr_1", ConcernKind.FRAUD_WARNING),
    ]


@pytest.mark.parametrize("status", [DisputeStatus.LOST, DisputeStatus.PREVENTED])
@pytest.mark.parametrize("withdrawn", [TOTAL, euros(10_00)])
def test_what_a_dispute_has_taken_for_good_is_not_there_for_the_order(
    status: DisputeStatus, withdrawn: Money
) -> None:
    over = replace(CHARGEBACK, status=status, withdrawn=withdrawn)
    [concern] = concerns_of(PAID, TOTAL, PaymentRisks("pi_1", (over,)))
    assert concern.kind is ConcernKind.CHARGEBACK
    assert concern.detail == f"chargeback du_1 is {status}: {withdrawn} is gone"
    # Who accepted the dispute while it was open has not accepted this.
    assert CHARGEBACK.concern is not None
    assert concern.id != CHARGEBACK.concern.id
    put_back = replace(over, withdrawn=NOTHING)
    assert concerns_of(PAID, TOTAL, PaymentRisks("pi_1", (put_back,))) == ()


def test_whether_a_review_is_open_is_what_the_charge_says() -> None:
    in_review = replace(PAID, review="prv_1")
    [named] = concerns_of(in_review, TOTAL)
    assert (named.id, named.kind) == ("prv_1", ConcernKind.REVIEW)
    recorded = PaymentRisks("pi_1", reviews=(REVIEW,))
    assert concerns_of(in_review, TOTAL, recorded) == (REVIEW.concern,)
    left_at_that = PaymentRisks("pi_1", reviews=(replace(REVIEW, acknowledged_by="ops-7"),))
    assert concerns_of(in_review, TOTAL, left_at_that) == ()
    # Approved, and our books have not heard of it.
    assert concerns_of(PAID, TOTAL, recorded) == ()


def test_several_concerns_are_all_named() -> None:
    card = replace(PAID, captured=euros(10_00), review="prv_1")
    risks = PaymentRisks("pi_1", (CHARGEBACK,), (WARNING,), (REVIEW,))
    assert [one.kind for one in concerns_of(card, TOTAL, risks)] == [
        ConcernKind.AMOUNT,
        ConcernKind.REVIEW,
        ConcernKind.CHARGEBACK,
        ConcernKind.FRAUD_WARNING,
    ]


# -- what becomes of the order ---------------------------------------------------------------------


def of(kind: ConcernKind) -> PaymentConcern:
    return PaymentConcern(f"{kind}_1", kind, f"{kind} of a test")


@pytest.mark.parametrize("kind", ConcernKind)
def test_usually_a_person_decides(kind: ConcernKind) -> None:
    assert stop_for([of(kind)], OrderTerms()) is None


@pytest.mark.parametrize(
    ("terms", "stops"),
    [
        (
            OrderTerms(on_dispute=DisputePolicy.STOP),
            {ConcernKind.CHARGEBACK, ConcernKind.INQUIRY, ConcernKind.FRAUD_WARNING},
        ),
        (OrderTerms(on_fraud_warning=FraudWarningPolicy.REFUND), {ConcernKind.FRAUD_WARNING}),
    ],
)
def test_a_shop_has_some_of_them_stop_an_order(terms: OrderTerms, stops: set[ConcernKind]) -> None:
    stopped = {kind: stop_for([of(ConcernKind.AMOUNT), of(kind)], terms) for kind in ConcernKind}
    assert {kind for kind, stop in stopped.items() if stop} == stops
    why = Stop(StopReason.DISPUTED, "fraud_warning of a test")
    assert stopped[ConcernKind.FRAUD_WARNING] == why


def test_a_person_is_told_what_it_is_about_and_until_when() -> None:
    concern = CHARGEBACK.concern
    assert concern is not None
    amount = of(ConcernKind.AMOUNT)
    assert hold_problem([concern, amount], accepted=False, hold_ends=NOON) == (
        "chargeback du_1 over 29.00 EUR: fraudulent (answer due by 2026-03-01 12:00 UTC); "
        "amount of a test: nothing is sent before it is decided, "
        "the money is held until 2026-03-01 12:00 UTC"
    )
    assert hold_problem([amount], accepted=True, hold_ends=None) == (
        "amount of a test: the warehouse has accepted the order, "
        "and may send it before it is decided"
    )
