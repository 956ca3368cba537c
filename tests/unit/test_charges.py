"""Our books of a charge, told the truth in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.charges import (
    LIVE,
    TRY_OVER,
    BookedCharge,
    has_answered,
    may_be_sent,
    merge_try,
)
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, CardTry, ChargeState

TOTAL = Money(10_00, "EUR")
NOTHING = Money(0, "EUR")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPENED = BookedCharge(ChargeState.OPEN, NOTHING, NOTHING)

TIMES = st.datetimes(timezones=st.just(UTC))
AMOUNTS = st.integers(0, 10_00).map(lambda cents: Money(cents, "EUR"))
WORDS = st.builds(
    CardCharge,
    payment_id=st.just("pi_1"),
    state=st.sampled_from(ChargeState),
    amount=st.just(TOTAL),
    captured=AMOUNTS,
    refunded=AMOUNTS,
    capture_before=st.none() | TIMES,
)


def word(state: ChargeState, captured: Money = NOTHING, refunded: Money = NOTHING) -> CardCharge:
    return CardCharge("pi_1", state, TOTAL, captured, refunded, decline_code=f"{state}-code")


@given(
    st.lists(WORDS, max_size=6).flatmap(
        lambda words: st.tuples(st.just(words), st.permutations(words))
    )
)
def test_the_books_end_alike_in_whatever_order_the_words_arrive(
    words: tuple[list[CardCharge], list[CardCharge]],
) -> None:
    def told(arrived: list[CardCharge]) -> BookedCharge:
        booked = OPENED
        for charge in arrived:
            booked = booked.merge(charge)
        return booked

    assert told(words[0]) == told(words[1])


@given(WORDS, WORDS)
def test_money_that_moved_is_never_forgotten(first: CardCharge, second: CardCharge) -> None:
    before = OPENED.merge(first)
    after = before.merge(second)
    assert before.captured <= after.captured
    assert before.refunded <= after.refunded


@given(WORDS)
def test_the_same_word_again_changes_nothing(charge: CardCharge) -> None:
    booked = OPENED.merge(charge)
    assert booked.merge(charge) == booked


def test_a_captured_charge_stays_captured() -> None:
    booked = OPENED.merge(word(ChargeState.CAPTURED, TOTAL))
    for state in ChargeState:
        assert booked.merge(word(state)).state is ChargeState.CAPTURED


def test_how_long_a_hold_lasts_is_known_when_it_is_over() -> None:
    until = datetime(2026, 3, 8, tzinfo=UTC)
    held = CardCharge("pi_1", ChargeState.HELD, TOTAL, NOTHING, NOTHING, capture_before=until)
    booked = OPENED.merge(held)
    assert booked.capture_before == until
    assert booked.merge(word(ChargeState.CANCELLED)).capture_before == until


def test_why_a_charge_was_declined_belongs_to_the_decline() -> None:
    booked = OPENED.merge(word(ChargeState.DECLINED), fresh=True)
    assert booked.decline_code == "declined-code"
    assert booked.merge(word(ChargeState.OPEN)).decline_code == "declined-code"


def test_only_a_cancelled_charge_can_take_no_money_any_more() -> None:
    assert set(ChargeState) - LIVE == {ChargeState.CANCELLED}


def test_a_charge_that_is_tried_again_goes_back_by_a_fresh_report_only() -> None:
    declined = OPENED.merge(word(ChargeState.DECLINED), fresh=True)
    for state in (ChargeState.NEEDS_CUSTOMER, ChargeState.PROCESSING):
        assert declined.merge(word(state)) == declined
        again = declined.merge(word(state), fresh=True)
        assert (again.state, again.decline_code) == (state, f"{state}-code")
        # A decline of before that, told late, is no news.
        assert again.merge(word(ChargeState.DECLINED)) == again
        assert again.merge(word(ChargeState.DECLINED), fresh=True) == declined
    assert declined.merge(word(ChargeState.OPEN), fresh=True) == declined


def test_a_second_decline_says_why_and_by_which_charge() -> None:
    first = OPENED.merge(replace(word(ChargeState.DECLINED), latest_charge="ch_1"), fresh=True)
    second = replace(word(ChargeState.DECLINED), decline_code="lost_card", latest_charge="ch_2")
    assert first.merge(second) == first
    booked = first.merge(second, fresh=True)
    assert (booked.decline_code, booked.latest_charge) == ("lost_card", "ch_2")


@given(st.lists(WORDS, max_size=6))
def test_a_charge_that_is_over_stays_so(words: list[CardCharge]) -> None:
    over = (ChargeState.HELD, ChargeState.CANCELLED, ChargeState.CAPTURED)
    seen = [OPENED]
    for charge in words:
        seen.append(seen[-1].merge(charge, fresh=True))
    ends = [over.index(booked.state) for booked in seen if booked.state in over]
    assert ends == sorted(ends)
    assert all(booked.state in over for booked in seen[len(seen) - len(ends) :])


# -- tries -----------------------------------------------------------------------------------------


def a_try(state: ChargeState = ChargeState.OPEN, before: str = "ch_0") -> CardTry:
    return CardTry(1, "pm_card_visa", before, "key", NOW, state)


@given(st.lists(WORDS, max_size=6))
def test_a_try_only_goes_forward_and_ends_once(words: list[CardCharge]) -> None:
    seen = [a_try()]
    for charge in words:
        seen.append(merge_try(seen[-1], charge))
    ends = [one.state for one in seen if one.state in TRY_OVER]
    assert len(set(ends)) <= 1
    for before, after in pairwise(seen):
        if before != after:
            assert before.state not in TRY_OVER
            assert after.state is not ChargeState.OPEN


def test_only_a_newer_charge_answers_a_try_or_a_state_that_no_try_begins_with() -> None:
    card_try = a_try(before="ch_1")
    for state in ChargeState:
        charge = replace(word(state), latest_charge="ch_1")
        begins = state in {ChargeState.OPEN, ChargeState.DECLINED}
        assert has_answered(card_try, charge) is not begins
        assert has_answered(card_try, replace(charge, latest_charge="ch_2"))


def test_a_try_is_not_sent_any_more_when_its_key_may_be_forgotten() -> None:
    assert may_be_sent(a_try(), NOW + timedelta(hours=22))
    for hours in (23, 24, 1_000):
        assert not may_be_sent(a_try(), NOW + timedelta(hours=hours))
