"""PaymentIntents, as the official Stripe SDK sees them."""

import pytest
import stripe

NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}


async def a_payment(
    shop: stripe.StripeClient, amount: int = 2000, **more: object
) -> stripe.PaymentIntent:
    params = {
        "amount": amount,
        "currency": "eur",
        "automatic_payment_methods": NO_REDIRECTS,
        "metadata": {"order_id": "1001"},
        **more,
    }
    return await shop.v1.payment_intents.create_async(params)  # type: ignore[arg-type]


async def test_creating_moves_no_money_and_confirming_takes_all_of_it(
    shop: stripe.StripeClient,
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_visa")
    assert (intent.status, intent.amount_received) == ("requires_confirmation", 0)

    paid = await shop.v1.payment_intents.confirm_async(intent.id, {"expand": ["latest_charge"]})

    assert (paid.status, paid.amount_received) == ("succeeded", 2000)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert paid.latest_charge.captured
    assert paid.latest_charge.amount_captured == 2000
    assert paid.metadata.to_dict() == {"order_id": "1001"}


async def test_a_typo_in_a_parameter_is_refused(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await a_payment(shop, ammount=3)
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "ammount")
