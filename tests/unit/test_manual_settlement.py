"""What an operator may say was given back by hand: all, or that nothing was taken."""

from __future__ import annotations

import pytest

from durable_orders.domain.manual_settlement import ManualSettlement, WrongAmountError
from durable_orders.domain.money import Money

TOTAL = Money(29_00, "EUR")
NOTHING = Money(0, "EUR")

TAKEN = ManualSettlement(TOTAL, TOTAL)
UNKNOWN = ManualSettlement(NOTHING, TOTAL)


@pytest.mark.parametrize(
    ("stake", "said", "back"),
    [
        (TAKEN, None, TOTAL),
        (TAKEN, 29_00, TOTAL),
        (UNKNOWN, 29_00, TOTAL),
        (UNKNOWN, 0, NOTHING),
    ],
)
def test_an_end_that_can_be_is_believed(
    stake: ManualSettlement, said: int | None, back: Money
) -> None:
    assert stake.given_back(said) == back


@pytest.mark.parametrize(
    ("stake", "said", "sentence"),
    [
        (TAKEN, 0, "29.00 EUR was taken: .* has all of it again, and not with 0.00 EUR"),
        (TAKEN, 14_50, "29.00 EUR was taken: .*, and not with 14.50 EUR"),
        (UNKNOWN, None, "whether the card was charged is not known: .* 29.00 EUR, or 0"),
        (UNKNOWN, 14_50, "all of 29.00 EUR or nothing: .*, and not 14.50 EUR"),
        (UNKNOWN, -1, "and not -0.01 EUR"),
    ],
)
def test_any_other_end_is_refused_with_what_can_be(
    stake: ManualSettlement, said: int | None, sentence: str
) -> None:
    with pytest.raises(WrongAmountError, match=sentence):
        stake.given_back(said)


def test_what_was_seen_to_be_taken_is_known() -> None:
    assert TAKEN.is_known
    assert not UNKNOWN.is_known
