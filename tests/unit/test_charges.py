"""Our books of a charge, told the truth in any order."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.charges import LIVE, BookedCharge
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState

TOTAL = Money(10_00, "EUR")
NOTHING = Money(0, "EUR")
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
    booked = OPENED.merge(word(ChargeState.DECLINED))
    assert booked.decline_code == "declined-code"
    assert booked.merge(word(ChargeState.OPEN)).decline_code == "declined-code"


def test_charges_that_are_over_are_not_live() -> None:
    assert set(ChargeState) - LIVE == {ChargeState.DECLINED, ChargeState.CANCELLED}
