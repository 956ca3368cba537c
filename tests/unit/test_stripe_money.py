"""Stripe's own ideas of minor units (https://docs.stripe.com/currencies)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.money import Money
from durable_orders.domain.ports import AmountRefusedError
from durable_orders.providers.stripe.money import from_stripe, to_stripe

CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "ISK", "UGX", "MGA", "KWD", "BHD", "CLP"])


@pytest.mark.parametrize(
    ("money", "amount", "currency"),
    [
        (Money(1099, "USD"), 1099, "usd"),
        (Money(500, "JPY"), 500, "jpy"),
        (Money(5, "ISK"), 500, "isk"),
        (Money(2000, "UGX"), 200_000, "ugx"),
        (Money(50_000, "MGA"), 500, "mga"),
        (Money(5120, "KWD"), 5120, "kwd"),
    ],
    ids=str,
)
def test_money_is_written_as_stripe_wants_it(money: Money, amount: int, currency: str) -> None:
    assert to_stripe(money) == (amount, currency)
    assert from_stripe(amount, currency) == money


@given(amount=st.integers(0, 10**12), currency=CURRENCIES)
def test_money_comes_back_as_it_went_or_does_not_go(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    try:
        written = to_stripe(money)
    except AmountRefusedError:
        assert currency in {"MGA", "KWD", "BHD"}
    else:
        assert from_stripe(*written) == money


@pytest.mark.parametrize("money", [Money(5124, "KWD"), Money(150, "MGA")], ids=str)
def test_what_stripe_cannot_express_is_refused(money: Money) -> None:
    with pytest.raises(AmountRefusedError):
        to_stripe(money)


def test_fractions_that_cannot_be_are_not_rounded() -> None:
    with pytest.raises(ValueError, match="whole"):
        from_stripe(550, "isk")
