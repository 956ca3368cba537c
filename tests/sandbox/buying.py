"""Helpers that make payments with Stripe's SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import stripe

NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}


@asynccontextmanager
async def stripe_client(url: str) -> AsyncIterator[stripe.StripeClient]:
    """Stripe's SDK for the stand-in at `url`, without retries."""
    http = stripe.HTTPXClient(timeout=20)
    yield stripe.StripeClient(
        "sk_test_sandbox", base_addresses={"api": url}, http_client=http, max_network_retries=0
    )
    await http.close_async()  # type: ignore[no-untyped-call]


def keyed(key: str) -> Any:
    """Request options with an idempotency key."""
    return {"idempotency_key": key}


def payment_parameters(order_id: str = "1001", amount: Any = 2000, **more: Any) -> Any:
    """Parameters of a PaymentIntent for an order."""
    return {
        "amount": amount,
        "currency": "eur",
        "automatic_payment_methods": NO_REDIRECTS,
        "metadata": {"order_id": order_id},
        **more,
    }


async def a_payment(
    shop: stripe.StripeClient, order_id: str = "1001", amount: int = 2000, **more: Any
) -> stripe.PaymentIntent:
    return await shop.v1.payment_intents.create_async(payment_parameters(order_id, amount, **more))


async def paid(
    shop: stripe.StripeClient,
    order_id: str = "1001",
    amount: int = 2000,
    card: str = "pm_card_visa",
    **more: Any,
) -> stripe.PaymentIntent:
    return await a_payment(shop, order_id, amount, payment_method=card, confirm=True, **more)


def latest_charge(intent: stripe.PaymentIntent) -> stripe.Charge:
    """The charge of an intent that was requested with `expand`."""
    assert isinstance(intent.latest_charge, stripe.Charge)
    return intent.latest_charge
