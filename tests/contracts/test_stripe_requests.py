"""What our providers send to Stripe: a fixed set of requests, all within the SDK's own types.

The types themselves are checked after every test of this directory (``conftest.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_orders.domain.ids import capture_key, charge_key, payment_key, refund_key
from durable_orders.domain.money import Money
from durable_orders.providers.stripe.listing import StripeChargeListing
from tests.contracts.conftest import SandboxControl
from tests.support.stripe_types import mistakes_of_request

PRICE = Money(42_00, "EUR")

#: Extend it when a provider needs another request; `docs/stripe.md` lists them too.
SENT = {
    ("POST", "/v1/payment_intents"),
    ("GET", "/v1/payment_intents"),
    ("GET", "/v1/payment_intents/*"),
    ("POST", "/v1/payment_intents/*/confirm"),
    ("POST", "/v1/payment_intents/*/capture"),
    ("POST", "/v1/payment_intents/*/cancel"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/refunds"),
}


async def test_each_request_of_a_whole_life_is_one_that_stripe_describes(
    control: SandboxControl, order_id: str
) -> None:
    before = await control.newest_request()
    async with StripeChargeListing("sk_test_sandbox", api_base=control.url) as cards:
        for end, hold in (("paid", False), ("captured", True), ("released", True)):
            this = f"{order_id}-{end}"
            key = payment_key(this)
            announced = await cards.create(order_id=this, amount=PRICE, key=key, hold=hold)
            payment_id = announced.payment_id
            await cards.client_secret(payment_id)
            for number, card in enumerate(("pm_card_visa_chargeDeclined", "pm_card_visa"), 1):
                key = charge_key(this, number)
                await cards.confirm(payment_id, payment_method=card, key=key)
            if end == "captured":
                await cards.capture(payment_id, key=capture_key(this, payment_id))
            if end == "released":
                await cards.cancel(payment_id)
            else:
                refund = refund_key(this, "r1")
                await cards.refund(payment_id, PRICE, order_id=this, key=refund)
            await cards.find(payment_id)
        now = datetime.now(UTC)
        window = (now - timedelta(hours=1), now, None, 10)
        await cards.charges(*window)
        await cards.refunds(*window)

    sent = await control.sent_to_stripe(before)

    assert {request.pattern for request in sent} == SENT
    assert {str(request): mistakes_of_request(request) for request in sent} == {
        str(request): [] for request in sent
    }
