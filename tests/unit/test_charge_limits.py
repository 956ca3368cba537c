"""What a card can be charged, per currency, as Stripe's tables say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.charge_limits import (
    charge_problem,
    largest,
    smallest,
    step,
    step_problem,
)
from durable_orders.domain.money import Money
from durable_orders.providers.stripe.money import from_stripe, to_stripe

CURRENCIES = (
    *("EUR", "USD", "GBP", "CHF", "HUF", "TWD", "CZK", "PLN", "INR", "IDR", "COP", "MXN"),
    *("JPY", "KRW", "CLP", "ISK", "UGX", "MGA"),
    *("KWD", "BHD", "JOD", "OMR", "TND"),
)


@pytest.mark.parametrize(
    ("amount", "problem"),
    [
        (Money(20, "EUR"), "0.20 EUR is too little for a card: the smallest charge is 0.50 EUR"),
        (Money(49, "EUR"), "the smallest charge is 0.50 EUR"),
        (Money(29, "GBP"), "the smallest charge is 0.30 GBP"),
        (Money(174_99, "HUF"), "the smallest charge is 175.00 HUF"),
        (Money(14_99, "CZK"), "the smallest charge is 15.00 CZK"),
        (Money(49, "JPY"), "the smallest charge is 50 JPY"),
        (Money(100_000_000, "EUR"), "the largest charge is 999999.99 EUR"),
        (Money(100_000_000, "JPY"), "the largest charge is 99999999 JPY"),
        (Money(1_000_000, "ISK"), "the largest charge is 999999 ISK"),
        (Money(1_000_000, "UGX"), "the largest charge is 999999 UGX"),
        (Money(10**12, "IDR"), "the largest charge is 9999999999.99 IDR"),
        (Money(1235, "KWD"), "1.235 KWD cannot be moved on a card: amounts of KWD go in steps of"),
        (Money(5124, "BHD"), "in steps of 0.010 BHD"),
        (Money(150, "MGA"), "in steps of 1.00 MGA"),
    ],
    ids=str,
)
def test_an_amount_that_no_card_is_charged_says_why(amount: Money, problem: str) -> None:
    assert problem in str(charge_problem(amount))


@pytest.mark.parametrize(
    "amount",
    [
        *(Money(50, "EUR"), Money(30, "GBP"), Money(50, "JPY"), Money(175_00, "HUF")),
        *(Money(175_01, "HUF"), Money(800_45, "TWD")),  # whole numbers in a payout only
        *(Money(99_999_999, "EUR"), Money(999_999_999_999, "IDR")),
        *(Money(1, "ISK"), Money(999_999, "ISK"), Money(5, "UGX"), Money(100, "MGA")),
        *(Money(1230, "KWD"), Money(10, "KWD"), Money(99_999_990, "KWD")),
        Money(1, "ZMW"),  # no published minimum
    ],
    ids=str,
)
def test_an_amount_within_the_limits_may_be_charged(amount: Money) -> None:
    assert charge_problem(amount) is None


@given(amount=st.integers(1, 10**13), currency=st.sampled_from(CURRENCIES))
def test_what_may_be_charged_can_be_said_to_stripe(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    if charge_problem(money) is None:
        assert from_stripe(*to_stripe(money)) == money


@pytest.mark.parametrize("currency", CURRENCIES)
def test_the_limits_themselves_may_be_charged_and_one_step_beyond_may_not(currency: str) -> None:
    one = Money(step(currency), currency)
    least, most = smallest(currency), largest(currency)
    assert (charge_problem(least), charge_problem(most)) == (None, None)
    assert charge_problem(least - one) is not None
    assert charge_problem(most + one) is not None


def test_a_refund_has_no_minimum_but_the_same_steps() -> None:
    assert step_problem(Money(1, "EUR")) is None
    assert step_problem(Money(1230, "KWD")) is None
    assert "in steps of 0.010 KWD" in str(step_problem(Money(1235, "KWD")))
