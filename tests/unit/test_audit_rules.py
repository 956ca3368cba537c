"""What the audit makes of an order: which disagreement, and which remedy, if any."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.audit.advice import acknowledge_command, advice
from durable_orders.domain.audit.messages import (
    AuditPosition,
    AuditReport,
    AuditScan,
    DiscrepancyOutcome,
    Finding,
    NothingToAcknowledgeError,
    findings_to_acknowledge,
)
from durable_orders.domain.audit.model import (
    AuditCase,
    AuditTerms,
    BookedOrder,
    BookedRefund,
    Discrepancy,
    DiscrepancyKind,
    LedgerEntry,
    ListedCharge,
    ListedRefund,
    RecordedManualRefund,
    Remedy,
    RunState,
    RunStatus,
)
from durable_orders.domain.audit.rules import (
    can_tell,
    find_discrepancies,
    find_moved_money,
    find_open_run_discrepancies,
    find_risk_discrepancies,
    find_stranded_refunds,
    may_have_discrepancies,
)
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.disputes.dispute import Dispute, DisputeStatus, PaymentRisks
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    CardRefundState,
    ChargeEntry,
    ChargeState,
)
from durable_orders.domain.refunds.refund import REFUNDABLE, RefundState, UnfinishedRefund

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TOTAL = Money(29_00, "EUR")
NOTHING = Money(0, "EUR")
TERMS = AuditTerms()

OPEN = RunStatus(RunState.OPEN)
ENDED = RunStatus(RunState.CLOSED, NOW - HOUR, "completed")
TERMINATED = RunStatus(RunState.CLOSED, NOW - HOUR, "terminated")
NO_RUN = RunStatus(RunState.NONE)

C = ChargeState
R = RefundState
S = Status


def charge(
    state: ChargeState, *, payment_id: str = "pi_1", captured: int = 0, refunded: int = 0
) -> CardCharge:
    money = (Money(captured, "EUR"), Money(refunded, "EUR"))
    return CardCharge(payment_id, state, TOTAL, *money)


PAID = charge(C.CAPTURED, captured=29_00)
GIVEN_BACK = charge(C.CAPTURED, captured=29_00, refunded=29_00)
PARTLY = charge(C.CAPTURED, captured=29_00, refunded=5_00)
A_PART = charge(C.CAPTURED, captured=10_00)
HELD = charge(C.HELD)
CANCELLED = charge(C.CANCELLED)

ALL_BY_HAND = RecordedManualRefund(TOTAL, "ops-7")


def listed(one: CardCharge, age: timedelta = HOUR, *refunds: ListedRefund) -> ListedCharge:
    return ListedCharge("1001", NOW - age, one, refunds)


def refund(amount: int, age: timedelta) -> ListedRefund:
    return ListedRefund("pi_1", NOW - age, CardRefund("re_1", Money(amount, "EUR")))


def booked(one: CardCharge) -> LedgerEntry:
    entry = ChargeEntry("1001", one.payment_id, one.amount, one.state)
    return LedgerEntry(entry, BookedCharge(one.state, one.captured, one.refunded))


def order(status: Status, *entries: LedgerEntry, age: timedelta = HOUR) -> BookedOrder:
    return BookedOrder("1001", status, TOTAL, NOW - age, NOW - age, entries)


def untold(age: timedelta) -> BookedOrder:
    return replace(order(S.CANCELLED, age=age), is_untold=True)


def found(
    standing: BookedOrder | None, *charges: ListedCharge, run: RunStatus = ENDED
) -> list[tuple[DiscrepancyKind, Remedy]]:
    case = AuditCase("1001", standing, charges, run)
    return [(one.kind, one.remedy) for one in find_discrepancies(case, NOW, TERMS)]


def undoing(
    state: RefundState, age: timedelta, *, amount: Money = TOTAL, id_: str = "undo"
) -> BookedRefund:
    return BookedRefund(
        id_, "pi_1", amount, state, NOW - age, "lost_card" if state is R.FAILED else ""
    )


HEALTHY = [
    (order(S.COMPLETED, booked(PAID)), (listed(PAID),)),
    (order(S.REFUNDED, booked(GIVEN_BACK)), (listed(GIVEN_BACK),)),
    (order(S.REJECTED, booked(CANCELLED)), (listed(CANCELLED),)),
    (order(S.REJECTED), ()),
    (order(S.CANCELLED), ()),
    (None, (listed(CANCELLED),)),
    (None, (listed(GIVEN_BACK),)),
]


@pytest.mark.parametrize(("standing", "charges"), HEALTHY)
def test_books_that_agree_show_nothing(
    standing: BookedOrder | None, charges: tuple[ListedCharge, ...]
) -> None:
    assert found(standing, *charges) == []
    assert not may_have_discrepancies(AuditCase("1001", standing, charges, NO_RUN), NOW, TERMS)


DISAGREEING = [
    # placed, and nobody started it
    (order(S.PLACED), (), NO_RUN, DiscrepancyKind.NEVER_STARTED, Remedy.START),
    (order(S.PLACED, age=25 * HOUR), (), NO_RUN, DiscrepancyKind.NEVER_STARTED, Remedy.FLAG),
    # cancelled before it was started, and nobody told the customer
    (untold(HOUR), (), NO_RUN, DiscrepancyKind.CANCELLED_UNTOLD, Remedy.START),
    (untold(40 * HOUR), (), TERMINATED, DiscrepancyKind.CANCELLED_UNTOLD, Remedy.START),
    # its run is over and it is not
    (order(S.PLACED), (), TERMINATED, DiscrepancyKind.STRANDED, Remedy.FLAG),
    (order(S.AWAITING_APPROVAL), (), NO_RUN, DiscrepancyKind.STRANDED, Remedy.FLAG),
    (
        order(S.PAID, booked(PAID)),
        (listed(PAID),),
        TERMINATED,
        DiscrepancyKind.STRANDED_WITH_MONEY,
        Remedy.FLAG,
    ),
    (order(S.PAID, booked(PAID)), (), TERMINATED, DiscrepancyKind.STRANDED_WITH_MONEY, Remedy.FLAG),
    (
        order(S.HELD, booked(HELD)),
        (listed(HELD),),
        TERMINATED,
        DiscrepancyKind.STRANDED_WITH_MONEY,
        Remedy.FLAG,
    ),
    # our books are behind, or ahead
    (
        order(S.COMPLETED, booked(HELD)),
        (listed(PAID),),
        ENDED,
        DiscrepancyKind.BOOKS_BEHIND,
        Remedy.RECORD,
    ),
    (
        order(S.REFUNDED, booked(PAID)),
        (listed(GIVEN_BACK, HOUR, refund(29_00, HOUR)),),
        ENDED,
        DiscrepancyKind.BOOKS_BEHIND,
        Remedy.RECORD,
    ),
    (
        order(S.COMPLETED, booked(PAID)),
        (listed(replace(PAID, refunded=Money(5_00, "EUR")), HOUR, refund(5_00, HOUR)),),
        ENDED,
        DiscrepancyKind.BOOKS_BEHIND,
        Remedy.RECORD,
    ),
    (
        order(S.REFUNDED, booked(GIVEN_BACK)),
        (listed(PAID),),
        ENDED,
        DiscrepancyKind.REFUND_FAILED,
        Remedy.FLAG,
    ),
    (
        order(S.COMPLETED, booked(PAID)),
        (listed(HELD),),
        ENDED,
        DiscrepancyKind.BOOKS_AHEAD,
        Remedy.FLAG,
    ),
    # money held for nothing
    (
        order(S.CANCELLED, booked(HELD)),
        (listed(HELD),),
        ENDED,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.RELEASE,
    ),
    (
        order(S.REJECTED),
        (listed(charge(C.OPEN)),),
        NO_RUN,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.RELEASE,
    ),
    (
        order(S.REJECTED, booked(charge(C.DECLINED))),
        (listed(charge(C.DECLINED)),),
        ENDED,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.RELEASE,
    ),
    (
        order(S.CANCELLED, booked(charge(C.PROCESSING))),
        (listed(charge(C.PROCESSING)),),
        ENDED,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.FLAG,
    ),
    (None, (listed(HELD, 25 * HOUR),), NO_RUN, DiscrepancyKind.LIVE_CHARGE, Remedy.RELEASE),
    (None, (listed(HELD),), NO_RUN, DiscrepancyKind.LIVE_CHARGE, Remedy.FLAG),
    # a hold beside the money that paid for the goods; and a hold that was to pay for them
    (
        order(S.COMPLETED, booked(PAID)),
        (listed(charge(C.HELD, payment_id="pi_2")),),
        ENDED,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.RELEASE,
    ),
    (
        order(S.COMPLETED, booked(HELD)),
        (listed(HELD),),
        ENDED,
        DiscrepancyKind.LIVE_CHARGE,
        Remedy.FLAG,
    ),
    # money that nobody expects
    (None, (listed(PAID),), NO_RUN, DiscrepancyKind.PAID_WITHOUT_ORDER, Remedy.FLAG),
    (order(S.REJECTED), (listed(PAID),), ENDED, DiscrepancyKind.UNBOOKED_CHARGE, Remedy.FLAG),
    (
        order(S.CANCELLED, booked(PAID)),
        (listed(PAID),),
        ENDED,
        DiscrepancyKind.MONEY_KEPT,
        Remedy.FLAG,
    ),
    (order(S.COMPLETED), (), ENDED, DiscrepancyKind.SHIPPED_UNPAID, Remedy.FLAG),
    # a part of the hold was captured in the dashboard
    (
        order(S.COMPLETED, booked(A_PART)),
        (listed(A_PART),),
        ENDED,
        DiscrepancyKind.PAID_IN_PART,
        Remedy.FLAG,
    ),
    # an operator gave it back, and the provider did too
    (
        replace(order(S.REFUNDED, booked(GIVEN_BACK)), by_hand=ALL_BY_HAND),
        (listed(GIVEN_BACK),),
        ENDED,
        DiscrepancyKind.GIVEN_BACK_TOO_MUCH,
        Remedy.FLAG,
    ),
    # the refund that undoes it has failed, or has been on its way for too long
    (
        replace(order(S.REFUNDED, booked(PAID)), unsettled=(undoing(R.FAILED, HOUR),)),
        (listed(PAID),),
        ENDED,
        DiscrepancyKind.REFUND_FAILED,
        Remedy.FLAG,
    ),
    (
        replace(order(S.REFUNDED, booked(GIVEN_BACK)), unsettled=(undoing(R.PENDING, 40 * DAY),)),
        (listed(GIVEN_BACK, 40 * DAY),),
        ENDED,
        DiscrepancyKind.REFUND_OVERDUE,
        Remedy.FLAG,
    ),
    # a refund in the dashboard that nobody asked for here
    (
        replace(order(S.COMPLETED, booked(PARTLY)), refunds=NOTHING),
        (listed(PARTLY),),
        ENDED,
        DiscrepancyKind.REFUNDS_DIFFER,
        Remedy.FLAG,
    ),
]


@pytest.mark.parametrize(("standing", "charges", "run", "kind", "remedy"), DISAGREEING)
def test_each_disagreement_has_its_name_and_its_remedy(
    standing: BookedOrder | None,
    charges: tuple[ListedCharge, ...],
    run: RunStatus,
    kind: DiscrepancyKind,
    remedy: Remedy,
) -> None:
    assert (kind, remedy) in found(standing, *charges, run=run)


def test_every_disagreement_is_in_the_table() -> None:
    of_open_runs = {DiscrepancyKind.RUN_WITHOUT_ORDER, DiscrepancyKind.RUN_AFTER_END}
    others = {
        DiscrepancyKind.MONEY_MOVED,
        DiscrepancyKind.REFUND_STRANDED,
        DiscrepancyKind.RISK_BEHIND,
        DiscrepancyKind.RISK_UNFOLLOWED,
    }
    assert {row[3] for row in DISAGREEING} | of_open_runs | others == set(DiscrepancyKind)


@pytest.mark.parametrize(
    ("standing", "charge_at_provider", "is_told"),
    [
        (order(S.COMPLETED, booked(PAID)), PARTLY, True),
        (order(S.COMPLETED, booked(PAID), age=400 * DAY), PARTLY, True),
        (order(S.CANCELLED, booked(HELD)), PAID, True),
        (order(S.REFUNDED, booked(PAID)), GIVEN_BACK, True),
        (order(S.COMPLETED, booked(PAID)), PAID, False),
        (order(S.CANCELLED, booked(HELD)), CANCELLED, False),  # no money moved
        (order(S.REFUNDED, booked(GIVEN_BACK)), PAID, False),  # never forgotten, so not recorded
        (order(S.PAID, booked(charge(C.OPEN))), PAID, False),  # it has not ended: it is stranded
        (order(S.REJECTED), PAID, False),  # not in our books, and stays so: a finding by itself
    ],
)
def test_money_that_moved_after_the_end_is_told_before_it_is_recorded(
    standing: BookedOrder, charge_at_provider: CardCharge, *, is_told: bool
) -> None:
    moved = find_moved_money(standing, listed(charge_at_provider))
    assert (moved is not None) is is_told
    if moved is not None:
        assert (moved.kind, moved.remedy) == (DiscrepancyKind.MONEY_MOVED, Remedy.FLAG)
        assert str(standing.status) in moved.detail


K = DiscrepancyKind
REFUNDED = replace(order(S.COMPLETED, booked(PARTLY)), refunds=Money(5_00, "EUR"))


@pytest.mark.parametrize(
    ("kind", "standing", "run", "can"),
    [
        (K.MONEY_KEPT, REFUNDED, ENDED, True),
        (K.MONEY_KEPT, REFUNDED, OPEN, False),  # no rule about its money is applied
        (K.MONEY_KEPT, replace(REFUNDED, refunds=None), ENDED, False),  # only the provider knows
        (K.LIVE_CHARGE, None, NO_RUN, True),
        (K.LIVE_CHARGE, None, OPEN, False),
        *((kind, None, OPEN, True) for kind in (K.NEVER_STARTED, K.STRANDED)),
        (K.STRANDED_WITH_MONEY, None, OPEN, True),
        (K.REFUND_FAILED, REFUNDED, OPEN, True),
        (K.REFUND_OVERDUE, None, OPEN, False),
    ],
)
def test_a_finding_is_over_only_when_a_look_can_tell(
    kind: DiscrepancyKind, standing: BookedOrder | None, run: RunStatus, *, can: bool
) -> None:
    assert can_tell(kind, AuditCase("1001", standing, (), run)) is can


def unfinished(refund_id: str, state: RefundState, age: timedelta = HOUR) -> UnfinishedRefund:
    return UnfinishedRefund("1001", refund_id, Money(5_00, "EUR"), state, NOW - age)


def stranded(*known: tuple[UnfinishedRefund, RunStatus]) -> list[str]:
    return [one.detail for one in find_stranded_refunds("1001", known, NOW, TERMS)]


def test_refunds_that_no_run_carries_on_are_one_finding_that_names_them() -> None:
    requested, pending = (
        unfinished("r1", RefundState.REQUESTED),
        unfinished("r2", RefundState.PENDING),
    )
    open_ = unfinished("r3", RefundState.FAILED)
    [found] = find_stranded_refunds(
        "1001",
        [(requested, TERMINATED), (pending, NO_RUN), (open_, RunStatus(RunState.OPEN))],
        NOW,
        TERMS,
    )
    assert (found.kind, found.remedy) == (DiscrepancyKind.REFUND_STRANDED, Remedy.START)
    assert found.detail == (
        "refund r1 of 5.00 EUR is requested: its run is terminated; "
        "refund r2 of 5.00 EUR is pending: it has no run"
    )


def test_a_refund_that_moved_a_moment_ago_or_whose_run_just_ended_is_left_alone() -> None:
    assert stranded((unfinished("r1", RefundState.REQUESTED, timedelta(minutes=1)), NO_RUN)) == []
    just_ended = RunStatus(RunState.CLOSED, NOW - timedelta(minutes=1), "terminated")
    assert stranded((unfinished("r1", RefundState.REQUESTED), just_ended)) == []
    assert stranded((unfinished("r1", RefundState.REQUESTED), TERMINATED)) != []


# -- disputes --------------------------------------------------------------------------------------

CHARGED_BACK = replace(order(S.REFUNDED, booked(PAID)), withdrawn=TOTAL)


def test_what_a_dispute_took_of_an_order_that_was_undone_is_not_kept() -> None:
    assert found(CHARGED_BACK, listed(PAID)) == []
    won = replace(CHARGED_BACK, withdrawn=NOTHING)
    assert found(won, listed(PAID)) == [(DiscrepancyKind.MONEY_KEPT, Remedy.FLAG)]
    part = replace(CHARGED_BACK, withdrawn=Money(10_00, "EUR"))
    assert found(part, listed(PAID)) == [(DiscrepancyKind.MONEY_KEPT, Remedy.FLAG)]


def test_money_that_was_refunded_and_disputed_is_given_back_too_much() -> None:
    twice = replace(order(S.REFUNDED, booked(GIVEN_BACK)), withdrawn=TOTAL)
    wanted = [(DiscrepancyKind.GIVEN_BACK_TOO_MUCH, Remedy.FLAG)]
    assert found(twice, listed(GIVEN_BACK)) == wanted


def test_a_completed_order_may_lose_its_dispute() -> None:
    lost = replace(order(S.COMPLETED, booked(PAID)), withdrawn=TOTAL)
    assert found(lost, listed(PAID)) == []


DISPUTE = Dispute("du_1", "pi_1", TOTAL, TOTAL, NOTHING, "general", DisputeStatus.LOST, NOW)
OPEN_DISPUTE = replace(DISPUTE, status=DisputeStatus.NEEDS_RESPONSE)


@pytest.mark.parametrize(
    ("known", "report", "followed", "kind"),
    [
        ((), (OPEN_DISPUTE,), True, DiscrepancyKind.RISK_BEHIND),
        ((), (DISPUTE,), False, DiscrepancyKind.RISK_BEHIND),
        ((OPEN_DISPUTE,), (DISPUTE,), True, DiscrepancyKind.RISK_BEHIND),
        ((OPEN_DISPUTE,), (OPEN_DISPUTE,), False, DiscrepancyKind.RISK_UNFOLLOWED),
        ((OPEN_DISPUTE,), (OPEN_DISPUTE,), True, None),
        ((DISPUTE,), (DISPUTE,), False, None),
        ((DISPUTE,), (), False, None),
        ((), (), False, None),
    ],
)
def test_a_dispute_is_in_our_books_and_followed_while_it_is_open(
    known: tuple[Dispute, ...],
    report: tuple[Dispute, ...],
    followed: bool,  # noqa: FBT001 - a parameter of the test
    kind: DiscrepancyKind | None,
) -> None:
    ours, theirs = PaymentRisks("pi_1", known, revision=3), PaymentRisks("pi_1", report)
    told = find_risk_discrepancies("1001", ours, theirs, followed=followed)
    assert [(one.kind, one.remedy) for one in told] == ([(kind, Remedy.FOLLOW)] if kind else [])


@pytest.mark.parametrize(
    ("status", "charges", "by_hand", "kind", "detail"),
    [
        (
            S.REFUNDED,
            (PAID,),
            TOTAL,
            DiscrepancyKind.MONEY_KEPT,
            "refunded: at the provider 29.00 EUR was taken and 0.00 EUR given back; "
            "29.00 EUR was given back by hand, as ops-7 says",
        ),
        (
            S.REJECTED,
            (PAID,),
            NOTHING,
            DiscrepancyKind.MONEY_KEPT,
            "rejected: at the provider 29.00 EUR was taken and 0.00 EUR given back; "
            "0.00 EUR was given back by hand, as ops-7 says",
        ),
        (
            S.REFUNDED,
            (CANCELLED,),
            TOTAL,
            DiscrepancyKind.GIVEN_BACK_TOO_MUCH,
            "refunded: at the provider 0.00 EUR was taken and 0.00 EUR given back; "
            "29.00 EUR was given back by hand, as ops-7 says",
        ),
        (
            S.REFUNDED,
            (PARTLY,),
            TOTAL,
            DiscrepancyKind.GIVEN_BACK_TOO_MUCH,
            "refunded: at the provider 29.00 EUR was taken and 5.00 EUR given back; "
            "29.00 EUR was given back by hand, as ops-7 says",
        ),
    ],
)
def test_an_operators_word_stands_beside_the_providers(
    status: Status,
    charges: tuple[CardCharge, ...],
    by_hand: Money,
    kind: DiscrepancyKind,
    detail: str,
) -> None:
    standing = order(status, *map(booked, charges))
    standing = replace(standing, by_hand=RecordedManualRefund(by_hand, "ops-7"))
    case = AuditCase("1001", standing, tuple(map(listed, charges)), ENDED)
    [one] = find_discrepancies(case, NOW, TERMS)
    assert (one.kind, one.detail) == (kind, detail)


def test_an_operators_word_that_nothing_was_taken_needs_no_finding_where_it_is_true() -> None:
    standing = replace(
        order(S.REJECTED, booked(CANCELLED)), by_hand=RecordedManualRefund(NOTHING, "ops-7")
    )
    assert found(standing, listed(CANCELLED)) == []


@pytest.mark.parametrize("refunds", [Money(5_00, "EUR"), None])
def test_what_refunds_come_to_agrees_with_what_was_given_back(refunds: Money | None) -> None:
    standing = replace(order(S.COMPLETED, booked(PARTLY)), refunds=refunds)
    assert found(standing, listed(PARTLY)) == []


def test_a_refund_under_way_is_not_a_disagreement_yet() -> None:
    just_now = refund(5_00, timedelta(minutes=1))
    partly = replace(PAID, refunded=Money(5_00, "EUR"))
    assert found(order(S.COMPLETED, booked(PAID)), listed(partly, HOUR, just_now)) == []
    told = order(S.COMPLETED, booked(partly))
    assert found(told, listed(partly, HOUR, just_now)) == []


def test_a_refund_that_failed_gave_nothing() -> None:
    failed = ListedRefund("pi_1", NOW, CardRefund("re_1", TOTAL, CardRefundState.FAILED))
    assert failed.given == NOTHING
    assert found(order(S.COMPLETED, booked(PAID)), listed(PAID, HOUR, failed)) == []


def test_a_live_charge_that_only_our_books_show_is_looked_for_at_the_provider() -> None:
    case = AuditCase("1001", order(S.CANCELLED, booked(HELD)), (), NO_RUN)
    assert may_have_discrepancies(case, NOW, TERMS)


def test_a_refund_that_came_back_is_looked_for_however_lately_its_order_changed() -> None:
    partly = replace(PAID, refunded=Money(5_00, "EUR"))
    changed = replace(order(S.FULFILLED, booked(partly)), changed_at=NOW)
    case = AuditCase("1001", changed, (listed(PAID),), OPEN)
    assert [one.kind for one in find_discrepancies(case, NOW, TERMS)] == [
        DiscrepancyKind.REFUND_FAILED
    ]
    assert may_have_discrepancies(case, NOW, TERMS)


def test_what_is_wrong_with_an_open_run_is_only_flagged() -> None:
    def of_run(
        standing: BookedOrder | None, age: timedelta
    ) -> list[tuple[DiscrepancyKind, Remedy]]:
        seen = find_open_run_discrepancies("1001", standing, NOW - age, NOW, TERMS)
        return [(one.kind, one.remedy) for one in seen]

    assert of_run(None, HOUR) == [(DiscrepancyKind.RUN_WITHOUT_ORDER, Remedy.FLAG)]
    assert of_run(None, timedelta(minutes=1)) == []
    assert of_run(order(S.PAID), HOUR) == []
    assert of_run(order(S.COMPLETED), 30 * HOUR) == []  # its mail is still being tried
    overdue = order(S.COMPLETED, age=26 * HOUR)
    assert of_run(overdue, 30 * HOUR) == [(DiscrepancyKind.RUN_AFTER_END, Remedy.FLAG)]


# -- whatever the case -----------------------------------------------------------------------------

# Made once: a strategy that an example makes for itself costs more than what is drawn from it.
ages = st.integers(0, 60 * 24 * 10).map(lambda minutes: timedelta(minutes=minutes))
payment_ids = st.lists(st.sampled_from(["pi_1", "pi_2", "pi_3"]), unique=True)
in_any_order, are_booked = st.permutations(["pi_1", "pi_2", "pi_3"]), st.booleans()
charge_states, statuses = st.sampled_from(ChargeState), st.sampled_from(Status)
run_states, are_there = st.sampled_from(RunState), st.booleans()
cents = st.integers(0, 29_00)
amounts = st.none() | cents.map(lambda amount: Money(amount, "EUR"))


def card_charge(draw: st.DrawFn, payment_id: str) -> CardCharge:
    state = draw(charge_states)
    captured, refunded = (29_00, draw(cents)) if state is C.CAPTURED else (0, 0)
    return charge(state, payment_id=payment_id, captured=captured, refunded=refunded)


@st.composite
def cases(draw: st.DrawFn) -> AuditCase:
    listed_ids = draw(payment_ids)
    booked_ids = [id_ for id_ in draw(in_any_order) if id_ in listed_ids and draw(are_booked)]
    charges = tuple(
        ListedCharge("1001", NOW - draw(ages), card_charge(draw, id_)) for id_ in listed_ids
    )
    entries = tuple(booked(card_charge(draw, id_)) for id_ in booked_ids)
    placed, changed = sorted([draw(ages), draw(ages)], reverse=True)
    status, said = draw(statuses), draw(amounts)
    by_hand = RecordedManualRefund(said, "ops-7") if said else None
    standing = BookedOrder(
        "1001", status, TOTAL, NOW - placed, NOW - changed, entries, draw(amounts), by_hand
    )
    state = draw(run_states)
    closed_at = NOW - draw(ages) if state is RunState.CLOSED else None
    run = RunStatus(state, closed_at, "terminated")
    return AuditCase("1001", standing if draw(are_there) else None, charges, run)


def is_a_refund_of_what_has_shipped(case: AuditCase, one: Discrepancy) -> bool:
    """Refunds are no part of its run: what is wrong with them is told, nothing is done about it."""
    shipped = case.order is not None and case.order.status in REFUNDABLE
    of_refunds = {DiscrepancyKind.REFUND_FAILED, DiscrepancyKind.REFUND_OVERDUE}
    return shipped and one.kind in of_refunds and one.remedy is Remedy.FLAG


@given(cases())
def test_an_order_under_way_is_never_touched(case: AuditCase) -> None:
    case = replace(case, run=OPEN)
    found = find_discrepancies(case, NOW, TERMS)
    assert all(is_a_refund_of_what_has_shipped(case, one) for one in found)


@given(cases(), st.integers(0, 14))
def test_an_order_that_moved_within_the_grace_period_is_left_alone(
    case: AuditCase, age: int
) -> None:
    lately = NOW - timedelta(minutes=age)
    if case.order is not None:
        moved = replace(case, order=replace(case.order, changed_at=lately))
        found = find_discrepancies(moved, NOW, TERMS)
        is_open = case.run.state is RunState.OPEN
        assert all(is_open and is_a_refund_of_what_has_shipped(moved, one) for one in found)
    closed = replace(case, run=RunStatus(RunState.CLOSED, lately))
    assert find_discrepancies(closed, NOW, TERMS) == []


@given(cases())
def test_only_what_took_no_money_for_an_order_that_is_over_is_released(case: AuditCase) -> None:
    of = {one.charge.payment_id: one.charge for one in case.charges}
    for one in find_discrepancies(case, NOW, TERMS):
        if one.remedy is Remedy.RELEASE:
            assert of[one.payment_id].captured == NOTHING
            assert of[one.payment_id].state not in {C.CAPTURED, C.CANCELLED, C.PROCESSING}
            assert case.order is None or case.order.status.is_final


@given(cases())
def test_only_an_order_without_a_run_and_without_a_past_is_started(case: AuditCase) -> None:
    for one in find_discrepancies(case, NOW, TERMS):
        if one.remedy is Remedy.START:
            assert case.order is not None
            assert case.order.status is Status.PLACED
            assert case.run.state is RunState.NONE
            assert case.order.placed_at >= NOW - TERMS.start_within


@given(cases())
def test_recording_what_the_provider_says_settles_the_books(case: AuditCase) -> None:
    if case.order is None:
        return
    words = {one.charge.payment_id: one.charge for one in case.charges}
    told = tuple(
        replace(e, booked=e.booked.merge(words[e.payment_id], fresh=True))
        if e.payment_id in words
        else e
        for e in case.order.entries
    )
    after = replace(case, order=replace(case.order, entries=told))
    assert not [
        one
        for one in find_discrepancies(after, NOW, TERMS)
        if one.kind is DiscrepancyKind.BOOKS_BEHIND
    ]


@given(cases())
def test_whatever_disagrees_is_worth_a_look_and_is_named_once(case: AuditCase) -> None:
    seen = find_discrepancies(case, NOW, TERMS)
    assert not seen or may_have_discrepancies(case, NOW, TERMS)
    assert len({(one.kind, one.payment_id) for one in seen}) == len(seen)


@given(cases())
def test_every_finding_comes_with_advice(case: AuditCase) -> None:
    for one in find_discrepancies(case, NOW, TERMS):
        known = Finding(one.kind, "1001", one.payment_id, one.detail, one.remedy, NOW, NOW)
        assert advice(known).text
        assert known.discrepancy == one


def test_an_audit_pages_through_every_scan_and_ends() -> None:
    at: AuditPosition | None = AuditPosition(NOW)
    seen = []
    cursors = iter(["next", None] * len(AuditScan))
    while at is not None:
        assert at.as_of == NOW
        seen.append((at.scan, at.cursor))
        at = at.next(next(cursors))
    assert seen == [(scan, cursor) for scan in AuditScan for cursor in (None, "next")]


def test_a_report_counts_what_became_of_everything_but_what_was_gone() -> None:
    report = AuditReport().reviewed(7)
    outcomes: tuple[DiscrepancyOutcome, ...] = get_args(DiscrepancyOutcome)
    for outcome in outcomes:
        report = report.settled(DiscrepancyKind.STRANDED, outcome)
    assert report == AuditReport(7, {"stranded": 5}, 1, 1, 1, 1, 1)
    assert str(report).startswith("7 looked at; found 5 stranded; repaired 1")
    assert "acknowledged 1" in str(report)


def finding(kind: DiscrepancyKind, payment_id: str = "pi_1") -> Finding:
    return Finding(kind, "1001", payment_id, "so it is", Remedy.FLAG, NOW, NOW)


def test_what_did_not_arrive_is_taken_up_again_by_a_command() -> None:
    advised = advice(finding(DiscrepancyKind.REFUND_FAILED))
    assert advised.commands == ("refund list 1001", "refund look-again 1001 REFUND")
    command = "acknowledge 1001 --kind refund_failed"
    assert acknowledge_command(finding(DiscrepancyKind.REFUND_FAILED)).startswith(command)


def test_somebody_answers_for_what_he_names() -> None:
    kept, live = finding(DiscrepancyKind.MONEY_KEPT, ""), finding(DiscrepancyKind.LIVE_CHARGE)
    other = finding(DiscrepancyKind.LIVE_CHARGE, "pi_2")
    assert findings_to_acknowledge("1001", [kept], None) == (kept,)
    assert findings_to_acknowledge("1001", [live, other], None) == (live, other)
    assert findings_to_acknowledge("1001", [kept, live, other], DiscrepancyKind.LIVE_CHARGE) == (
        live,
        other,
    )


@pytest.mark.parametrize(
    ("known", "kind", "sentence"),
    [
        ((), None, "no audit found anything about order 1001"),
        (
            (DiscrepancyKind.MONEY_KEPT,),
            DiscrepancyKind.LIVE_CHARGE,
            "has no finding live_charge, only money_kept",
        ),
        (
            (DiscrepancyKind.MONEY_KEPT, DiscrepancyKind.LIVE_CHARGE),
            None,
            "name one: --kind live_charge or money_kept",
        ),
    ],
)
def test_nobody_answers_for_what_is_not_there_or_not_named(
    known: tuple[DiscrepancyKind, ...], kind: DiscrepancyKind | None, sentence: str
) -> None:
    with pytest.raises(NothingToAcknowledgeError, match=sentence):
        findings_to_acknowledge("1001", [finding(one) for one in known], kind)


# -- refunds that are on their way, or owed --------------------------------------------------------


def undone(one: CardCharge, *unsettled: BookedRefund, settled: Money | None = None) -> BookedOrder:
    """An order that was undone long ago, whose charge our books have like this."""
    ended = order(S.REFUNDED, booked(one), age=50 * DAY)
    return replace(ended, unsettled=unsettled, settled_undo=settled)


def details(standing: BookedOrder, *charges: CardCharge, run: RunStatus = ENDED) -> dict[str, str]:
    seen = tuple(listed(one, 50 * DAY) for one in charges)
    case = AuditCase("1001", standing, seen, run)
    return {one.kind.value: one.detail for one in find_discrepancies(case, NOW, TERMS)}


def test_money_that_is_owed_is_one_finding_which_says_since_when() -> None:
    failed = undoing(R.FAILED, 10 * DAY)
    assert details(undone(PAID, failed), PAID) == {
        "refund_failed": "refund undo of 29.00 EUR failed at the bank (lost_card) and is owed "
        "since 2026-11-12 12:00 UTC"
    }


@pytest.mark.parametrize("days", [3, 10])
@pytest.mark.parametrize("state", [R.PENDING, None])
def test_a_refund_that_failed_and_that_nobody_heard_of_is_found(
    state: RefundState | None, days: int
) -> None:
    """Our books have it as pending, or as arrived."""
    unsettled = (undoing(state, days * DAY),) if state else ()
    kinds = details(undone(GIVEN_BACK, *unsettled), PAID)
    assert "refund_failed" in kinds
    assert ("refund_overdue" in kinds) is (state is R.PENDING and days > 7)


@pytest.mark.parametrize(
    ("state", "age", "is_found"),
    [
        (R.PENDING, timedelta(days=6, hours=23), False),
        (R.PENDING, 7 * DAY, True),
        (R.PENDING, 40 * DAY, True),
        (R.ISSUING, timedelta(hours=23), False),
        (R.ISSUING, 1 * DAY, True),
        (R.FAILED, timedelta(minutes=14), False),
        (R.FAILED, timedelta(minutes=15), True),
    ],
)
def test_a_refund_has_its_time_before_it_is_a_finding(
    state: RefundState, age: timedelta, *, is_found: bool
) -> None:
    charged = GIVEN_BACK if state is R.PENDING else PAID
    if state is R.ISSUING:
        charged = GIVEN_BACK  # made, and its answer not recorded
    assert bool(details(undone(charged, undoing(state, age)), charged)) is is_found


def test_money_that_was_given_back_in_place_of_a_refund_needs_no_finding() -> None:
    assert details(undone(PAID, settled=TOTAL), PAID) == {}


@pytest.mark.parametrize(
    ("charged", "settled", "kind"),
    [
        (PAID, Money(19_00, "EUR"), "money_kept"),
        (PARTLY, TOTAL, "given_back_too_much"),
        (GIVEN_BACK, TOTAL, "given_back_too_much"),
    ],
)
def test_what_was_given_back_in_place_of_a_refund_is_compared_with_the_provider(
    charged: CardCharge, settled: Money, kind: str
) -> None:
    assert list(details(undone(charged, settled=settled), charged)) == [kind]


def test_an_operators_word_on_the_order_counts_before_that_on_its_refund() -> None:
    standing = replace(undone(PAID, settled=TOTAL), by_hand=ALL_BY_HAND)
    assert list(details(standing, PAID)) == ["money_kept"]


def test_the_rest_that_a_failed_refund_does_not_account_for_is_kept() -> None:
    part = undoing(R.FAILED, DAY, amount=Money(19_00, "EUR"))
    found_ = details(undone(PAID, part), PAID)
    assert list(found_) == ["refund_failed", "money_kept"]
    assert found_["money_kept"] == "refunded, and 10.00 EUR was not given back"


@pytest.mark.parametrize("status", [S.FULFILLED, S.SHIPPED, S.COMPLETED])
def test_a_refund_of_an_order_that_is_still_followed_is_looked_at(status: Status) -> None:
    five = Money(5_00, "EUR")
    shipped = replace(order(status, booked(PARTLY)), refunds=five)
    assert list(details(shipped, PAID, run=OPEN)) == ["refund_failed"]
    assert details(shipped, PARTLY, run=OPEN) == {}
    failed = replace(shipped, unsettled=(undoing(R.FAILED, DAY, amount=five, id_="r1"),))
    assert list(details(failed, PARTLY, run=OPEN)) == ["refund_failed"]


@pytest.mark.parametrize("state", [R.FAILED, R.PENDING, R.ISSUING])
def test_the_refund_of_an_order_that_is_being_undone_is_left_to_it(state: RefundState) -> None:
    going = replace(order(S.PAID, booked(PAID)), unsettled=(undoing(state, 40 * DAY),))
    assert details(going, PAID, run=OPEN) == {}


def test_an_order_with_a_refund_that_is_not_settled_is_always_read_at_the_provider() -> None:
    for state in (R.FAILED, R.PENDING, R.ISSUING):
        case = AuditCase("1001", undone(GIVEN_BACK, undoing(state, HOUR)), (), NO_RUN)
        assert may_have_discrepancies(case, NOW, TERMS)
