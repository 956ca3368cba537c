"""Which changes of a payment the books hold already, and which a run has to be told."""

from __future__ import annotations

from itertools import product

import pytest

from durable_orders.domain.lifecycle import CLOSED_EARLY, Status
from durable_orders.domain.ports import ChargeState
from durable_orders.domain.webhooks import (
    BookedPayment,
    Novelty,
    is_known_by_end,
    novelty_of,
)
from durable_orders.domain.workflow_messages import PaymentChange

#: An order of one of these has a run that may wait for its customer or for its first charge.
UNPAID = (Status.PLACED, Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT)

#: Everything that the books can say of a payment and its order.
EVERY = [
    BookedPayment(status, state, tried, undone or status in CLOSED_EARLY, waited)
    for status, state, tried, undone, waited in product(
        Status, ChargeState, (False, True), (False, True), (False, True)
    )
]


@pytest.mark.parametrize("status", UNPAID)
@pytest.mark.parametrize("state", ChargeState)
def test_an_order_that_is_not_paid_yet_is_told_whatever_its_charge_says(
    status: Status, state: ChargeState
) -> None:
    """Its run may wait, also one of a Temporal that was put back."""
    for change, tried in product(PaymentChange, (False, True)):
        booked = BookedPayment(status, state, is_being_tried=tried)
        assert novelty_of(change, booked) is not Novelty.KNOWN


def test_what_may_be_anything_or_is_of_no_payment_of_ours_is_always_new() -> None:
    assert {novelty_of(None, booked) for booked in EVERY} == {Novelty.NEW}
    assert {novelty_of(change, None) for change in PaymentChange} == {Novelty.NEW}


@pytest.mark.parametrize(
    ("change", "status", "state"),
    [
        (PaymentChange.PAID, Status.PAID, ChargeState.CAPTURED),
        (PaymentChange.PAID, Status.COMPLETED, ChargeState.CAPTURED),
        (PaymentChange.PAID, Status.REFUNDED, ChargeState.CAPTURED),
        (PaymentChange.HELD, Status.HELD, ChargeState.HELD),
        (PaymentChange.HELD, Status.PAID, ChargeState.CAPTURED),
        (PaymentChange.DECLINED, Status.PAID, ChargeState.CAPTURED),
        (PaymentChange.DECLINED, Status.REJECTED, ChargeState.CANCELLED),
        (PaymentChange.DECLINED, Status.REJECTED, ChargeState.DECLINED),
        (PaymentChange.REQUIRES_ACTION, Status.HELD, ChargeState.HELD),
        (PaymentChange.CANCELLED, Status.REJECTED, ChargeState.CANCELLED),
        (PaymentChange.CANCELLED, Status.CANCELLED, ChargeState.CANCELLED),
    ],
)
def test_what_the_order_has_moved_past_is_known(
    change: PaymentChange, status: Status, state: ChargeState
) -> None:
    booked = BookedPayment(status, state, is_undone=status in CLOSED_EARLY)
    assert novelty_of(change, booked) is Novelty.KNOWN


@pytest.mark.parametrize(
    ("change", "status", "state"),
    [
        # The bank has let go of what it held, or a person has captured it in the dashboard.
        (PaymentChange.CANCELLED, Status.HELD, ChargeState.HELD),
        (PaymentChange.PAID, Status.HELD, ChargeState.HELD),
        # It was cancelled in the dashboard.
        (PaymentChange.CANCELLED, Status.AWAITING_PAYMENT, ChargeState.NEEDS_CUSTOMER),
        (PaymentChange.CANCELLED, Status.AWAITING_PAYMENT, ChargeState.CANCELLED),
        # The customer has confirmed; or has paid what was being given up.
        (PaymentChange.PAID, Status.AWAITING_PAYMENT, ChargeState.NEEDS_CUSTOMER),
        (PaymentChange.PAID, Status.AWAITING_PAYMENT, ChargeState.PROCESSING),
        (PaymentChange.PAID, Status.AWAITING_PAYMENT, ChargeState.DECLINED),
        (PaymentChange.PAID, Status.CANCELLED, ChargeState.CANCELLED),
        (PaymentChange.PAID, Status.REJECTED, ChargeState.CAPTURED),
        # The books say paid of the order, and not of its charge.
        (PaymentChange.PAID, Status.PAID, ChargeState.CANCELLED),
    ],
)
def test_what_the_books_do_not_hold_is_told_at_once(
    change: PaymentChange, status: Status, state: ChargeState
) -> None:
    booked = BookedPayment(status, state, is_undone=status in CLOSED_EARLY)
    assert novelty_of(change, booked) is Novelty.NEW


@pytest.mark.parametrize(
    ("change", "status", "state"),
    [
        (PaymentChange.PAID, Status.PAID, ChargeState.CAPTURED),
        (PaymentChange.HELD, Status.PAID, ChargeState.CAPTURED),
        (PaymentChange.HELD, Status.HELD, ChargeState.HELD),
    ],
)
def test_money_that_an_order_has_waited_for_is_told_until_the_run_has_gone_on(
    change: PaymentChange, status: Status, state: ChargeState
) -> None:
    assert novelty_of(change, BookedPayment(status, state, has_waited=True)) is Novelty.NEW
    gone_on = BookedPayment(Status.FULFILLED, ChargeState.CAPTURED, has_waited=True)
    assert novelty_of(change, gone_on) is Novelty.KNOWN
    for nothing in (PaymentChange.DECLINED, PaymentChange.REQUIRES_ACTION):
        known = BookedPayment(status, state, has_waited=True)
        assert novelty_of(nothing, known) is Novelty.KNOWN


@pytest.mark.parametrize("change", [PaymentChange.DECLINED, PaymentChange.REQUIRES_ACTION])
def test_an_order_that_is_being_undone_needs_to_hear_of_no_decline(change: PaymentChange) -> None:
    for status, state in product(UNPAID, ChargeState):
        booked = BookedPayment(status, state, is_undone=True)
        assert novelty_of(change, booked) is Novelty.KNOWN


def test_what_a_worker_is_about_to_write_waits_a_moment() -> None:
    recorded = Novelty.BEING_RECORDED
    for change in PaymentChange:
        asking = BookedPayment(Status.PLACED, ChargeState.OPEN, is_being_tried=True)
        assert novelty_of(change, asking) is recorded
        next_card = BookedPayment(
            Status.AWAITING_PAYMENT, ChargeState.DECLINED, is_being_tried=True
        )
        assert novelty_of(change, next_card) is recorded
    # The charge's row is written before the order's.
    for status in UNPAID:
        captured = BookedPayment(status, ChargeState.CAPTURED)
        assert novelty_of(PaymentChange.PAID, captured) is recorded
        held = BookedPayment(status, ChargeState.HELD)
        assert novelty_of(PaymentChange.HELD, held) is recorded
    undone = BookedPayment(Status.AWAITING_PAYMENT, ChargeState.NEEDS_CUSTOMER, is_undone=True)
    assert novelty_of(PaymentChange.CANCELLED, undone) is recorded


def test_nothing_is_known_of_an_ended_order_that_it_was_examined_for_before() -> None:
    """But for a cancellation of ours."""
    for change, booked in product(PaymentChange, EVERY):
        is_known = novelty_of(change, booked) is Novelty.KNOWN
        if (
            is_known
            and booked.order_status.is_final
            and not is_known_by_end(change, booked.order_status)
        ):
            assert (change, booked.state) == (PaymentChange.CANCELLED, ChargeState.CANCELLED)
