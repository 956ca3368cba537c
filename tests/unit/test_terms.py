"""What a shop decides for its orders."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.money import Money
from durable_orders.domain.terms import (
    CaptureMethod,
    DisputePolicy,
    FraudWarningPolicy,
    OrderTerms,
    ShopTerms,
    approval_limits,
)

amounts = st.integers(1, 10**9)
currencies = st.sampled_from(["EUR", "USD", "JPY", "KWD"])
limits = st.dictionaries(currencies, st.integers(0, 10**9))


@given(limits, amounts, currencies)
def test_a_person_looks_at_every_total_above_the_limit_of_its_currency_and_no_other(
    limits: dict[str, int], amount: int, currency: str
) -> None:
    terms = ShopTerms(approval_above=limits).of(Money(amount, currency), flagged=False)
    assert terms.needs_approval == (currency in limits and amount > limits[currency])


@given(limits, amounts, currencies)
def test_a_person_always_looks_at_a_flagged_order(
    limits: dict[str, int], amount: int, currency: str
) -> None:
    assert ShopTerms(approval_above=limits).of(Money(amount, currency), flagged=True).needs_approval


@given(limits, amounts, st.integers(0, 10**9), currencies)
def test_a_dearer_order_is_never_looked_at_less(
    limits: dict[str, int], amount: int, more: int, currency: str
) -> None:
    shop = ShopTerms(approval_above=limits)
    cheap = shop.of(Money(amount, currency), flagged=False)
    dear = shop.of(Money(amount + more, currency), flagged=False)
    assert dear.needs_approval >= cheap.needs_approval


def test_a_total_of_exactly_the_limit_passes() -> None:
    shop = ShopTerms(approval_above={"EUR": 500_00})
    assert not shop.of(Money(500_00, "EUR"), flagged=False).needs_approval
    assert shop.of(Money(500_01, "EUR"), flagged=False).needs_approval


def test_an_order_gets_all_of_the_shops_terms() -> None:
    shop = ShopTerms(
        approval_timeout=timedelta(hours=1),
        four_eyes=True,
        payment_timeout=timedelta(minutes=2),
        new_card_window=timedelta(minutes=3),
        capture=CaptureMethod.AT_FULFILLMENT,
        delivery_deadline=timedelta(days=4),
        max_card_tries=6,
        payment_url="https://shop.example/{order_id}",
        on_dispute=DisputePolicy.STOP,
        on_fraud_warning=FraudWarningPolicy.REFUND,
    )
    terms = shop.of(Money(1, "EUR"), flagged=False, off_session=True)
    assert terms.off_session
    for field in fields(OrderTerms):
        if field.name not in {"needs_approval", "off_session"}:
            assert getattr(terms, field.name) == getattr(shop, field.name) != field.default


def test_the_page_for_payments_is_a_term_of_those_who_are_away() -> None:
    shop = ShopTerms(payment_url="https://shop.example/{order_id}")
    assert shop.of(Money(1, "EUR"), flagged=False) == OrderTerms()


def test_an_order_of_a_shop_without_terms_has_the_defaults() -> None:
    assert ShopTerms().of(Money(1, "EUR"), flagged=False) == OrderTerms()


# -- limits as a person writes them ----------------------------------------------------------------


@given(limits)
def test_limits_are_read_as_they_were_written(limits: dict[str, int]) -> None:
    pairs = (str(Money(amount, currency)).split() for currency, amount in limits.items())
    text = ",".join(f"{currency}={amount}" for amount, currency in pairs)
    assert approval_limits(text) == limits


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", {}),
        ("  ", {}),
        ("EUR=0", {"EUR": 0}),
        (" EUR = 500.00 , JPY=60000 ", {"EUR": 500_00, "JPY": 60_000}),
        ("KWD=1.5", {"KWD": 1_500}),
    ],
)
def test_limits_are_in_major_units(text: str, read: dict[str, int]) -> None:
    assert approval_limits(text) == read


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("500", "'500' is not a currency and an amount"),
        ("EUR=500,", "'' is not a currency and an amount"),
        ("EUR 500", "'EUR 500' is not a currency and an amount"),
        ("EUR=1,000.00", "'000.00' is not a currency and an amount"),
        ("EUR=500,EUR=600", "EUR is there twice"),
        ("eur=500", "three capital letters"),
        ("=500", "three capital letters"),
        ("EUR=", "'' is not an amount"),
        ("EUR=-1", "'-1' is not an amount"),
        ("JPY=0.5", "'0.5' is not an amount in the way that 500 JPY is one"),
        ("EUR=0.001", "'0.001' is not an amount in the way that 500.00 EUR is one"),
        ("EUR=5=5", "'5=5' is not an amount"),
    ],
)
def test_a_wrong_limit_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        approval_limits(text)
