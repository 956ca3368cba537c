"""Amounts of money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.money import CurrencyMismatchError, Money, decimals, total

amounts = st.integers(-(10**12), 10**12)
currencies = st.sampled_from(["EUR", "USD", "JPY", "KWD"])


@given(amounts, amounts, currencies)
def test_taking_away_what_was_added_leaves_what_was_there(a: int, b: int, currency: str) -> None:
    assert Money(a, currency) + Money(b, currency) - Money(b, currency) == Money(a, currency)


@given(st.lists(amounts), currencies)
def test_a_total_is_the_sum_of_its_parts(parts: list[int], currency: str) -> None:
    assert total((Money(p, currency) for p in parts), currency) == Money(sum(parts), currency)


@given(amounts, currencies)
def test_an_amount_is_written_with_its_currencys_decimals(amount: int, currency: str) -> None:
    written, code = str(Money(amount, currency)).split()
    assert code == currency
    _, _, fraction = written.partition(".")
    assert len(fraction) == decimals(currency)
    assert int(written.replace(".", "")) == amount


@pytest.mark.parametrize(
    ("money", "written"),
    [
        (Money(1450, "EUR"), "14.50 EUR"),
        (Money(5, "EUR"), "0.05 EUR"),
        (Money(-5, "EUR"), "-0.05 EUR"),
        (Money(1800, "JPY"), "1800 JPY"),
        (Money(1500, "KWD"), "1.500 KWD"),
    ],
)
def test_money_reads_as_on_a_bill(money: Money, written: str) -> None:
    assert str(money) == written


@given(st.integers(0, 10**12), currencies)
def test_what_was_written_is_read_back(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    assert Money.parse(str(money).removesuffix(f" {currency}"), currency) == money


@pytest.mark.parametrize(
    ("written", "currency", "amount"),
    [("500", "EUR", 500_00), ("500.5", "EUR", 500_50), ("7", "KWD", 7_000), ("0", "JPY", 0)],
)
def test_decimals_may_be_left_out(written: str, currency: str, amount: int) -> None:
    assert Money.parse(written, currency) == Money(amount, currency)


@pytest.mark.parametrize(
    ("written", "currency"),
    [
        ("", "EUR"),
        ("-5", "EUR"),
        ("+5", "EUR"),
        ("1e3", "EUR"),
        ("5,00", "EUR"),
        (".5", "EUR"),
        ("5.", "EUR"),
        ("5 000", "EUR"),
        ("\u0665", "EUR"),
        ("NaN", "EUR"),
        ("5.001", "EUR"),
        ("5.0", "JPY"),
        ("5.0000", "KWD"),
    ],
)
def test_what_is_not_clearly_an_amount_is_refused(written: str, currency: str) -> None:
    with pytest.raises(ValueError, match=f"not an amount.* {currency} is one"):
        Money.parse(written, currency)


def test_two_currencies_are_never_mixed() -> None:
    with pytest.raises(CurrencyMismatchError):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(CurrencyMismatchError):
        assert Money(1, "EUR") < Money(1, "USD")


@pytest.mark.parametrize("amount", [1.5, "1", True, None])
def test_an_amount_is_a_whole_number(amount: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        Money(amount, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "€€€", "EU\x00", "EU\n", "E1R", "EU "])
def test_a_currency_is_three_capitals(currency: str) -> None:
    with pytest.raises(ValueError, match="three capital letters"):
        Money(1, currency)
