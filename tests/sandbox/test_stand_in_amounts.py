"""Amounts per currency (https://docs.stripe.com/currencies)."""

import pytest
import stripe

from tests.sandbox.buying import a_payment, paid


@pytest.mark.parametrize(
    ("currency", "smallest"),
    [("usd", 50), ("eur", 50), ("gbp", 30), ("jpy", 50), ("huf", 17500), ("aed", 200),
     ("czk", 1500), ("thb", 1000), ("bif", 1), ("kwd", 10), ("isk", 100)],
)  # fmt: skip
async def test_each_currency_has_its_smallest_amount(
    shop: stripe.StripeClient, currency: str, smallest: int
) -> None:
    assert (await a_payment(shop, amount=smallest, currency=currency)).amount == smallest
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await a_payment(shop, amount=smallest - 1, currency=currency)
    codes = {"amount_too_small", "parameter_invalid_integer", "invalid_charge_amount"}
    assert (refused.value.http_status, refused.value.param) == (400, "amount")
    assert refused.value.code in codes


async def test_twenty_cents_are_too_small(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=r"at least 0\.50 eur") as refused:
        await a_payment(shop, amount=20)
    assert refused.value.code == "amount_too_small"


@pytest.mark.parametrize(
    ("currency", "largest"),
    [("eur", 99_999_999), ("inr", 999_999_999), ("idr", 999_999_999_999), ("jpy", 9_999_999_999)],
)
async def test_each_currency_has_its_largest_amount(
    shop: stripe.StripeClient, currency: str, largest: int
) -> None:
    assert (await a_payment(shop, amount=largest, currency=currency)).amount == largest
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await a_payment(shop, amount=largest + 1, currency=currency)
    assert refused.value.code == "amount_too_large"


@pytest.mark.parametrize(
    ("currency", "amount"), [("kwd", 1235), ("bhd", 1001), ("isk", 550), ("ugx", 100_001)]
)
async def test_digits_that_a_currency_does_not_have_are_refused(
    shop: stripe.StripeClient, currency: str, amount: int
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="evenly divisible") as refused:
        await a_payment(shop, amount=amount, currency=currency)
    assert (refused.value.http_status, refused.value.param) == (400, "amount")


async def test_a_refund_has_the_steps_of_its_currency(shop: stripe.StripeClient) -> None:
    intent = await paid(shop, amount=5000, currency="kwd")
    with pytest.raises(stripe.InvalidRequestError, match="evenly divisible"):
        await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1235})
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1240})
    assert refund.status == "succeeded"


@pytest.mark.parametrize("currency", ["xxx", "iqd", "euro", "e"])
async def test_an_unknown_currency_is_refused(shop: stripe.StripeClient, currency: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Invalid currency") as refused:
        await a_payment(shop, currency=currency)
    assert refused.value.param == "currency"
