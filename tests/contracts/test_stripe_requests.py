"""What our providers send to Stripe: a fixed set of requests, all within the SDK's own types.

The types themselves are checked after every test of this directory (``conftest.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_orders.domain.money import Money
from durable_orders.providers.stripe.disputes import StripeDisputes
from durable_orders.providers.stripe.listing import StripeChargeListing
from tests.contracts.conftest import SandboxControl
from tests.support.keys import INSTALLATION, capture_key, charge_key, payment_key, refund_key
from tests.support.stripe_types import mistakes_of_request

PRICE = Money(42_00, "EUR")

#: Extend it when a provider needs another request; `docs/stripe.md` lists them too.
OURS = frozenset({INSTALLATION})

SENT = {
    ("POST", "/v1/payment_intents"),
    ("GET", "/v1/payment_intents"),
    ("GET", "/v1/payment_intents/*"),
    ("POST", "/v1/payment_intents/*/confirm"),
    ("POST", "/v1/payment_intents/*/capture"),
    ("POST", "/v1/payment_intents/*/cancel"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/refunds"),
    ("GET", "/v1/disputes"),
    ("POST", "/v1/disputes/*"),
    ("GET", "/v1/radar/early_fraud_warnings"),
    ("GET", "/v1/reviews"),
}


async def test_each_request_of_a_whole_life_is_one_that_stripe_describes(
    control: SandboxControl, order_id: str
) -> None:
    before = await control.newest_request()
    async with StripeChargeListing("sk_test_sandbox", api_base=control.url) as cards:
        for number, hold in ((1, False), (2, True), (3, True)):
            one = f"{order_id}-{number}"
            announced = await cards.create(
                installation=INSTALLATION,
                order_id=one,
                amount=PRICE,
                key=payment_key(one),
                hold=hold,
            )
            await cards.client_secret(announced.payment_id)
            card = "pm_card_visa"
            key = charge_key(one, 1)
            await cards.confirm(announced.payment_id, payment_method=card, key=key)
            if number == 2:
                capture = capture_key(one, announced.payment_id)
                await cards.capture(announced.payment_id, key=capture)
            if number == 3:
                await cards.cancel(announced.payment_id)
            else:
                refund = refund_key(one, "r1")
                await cards.refund(
                    announced.payment_id,
                    PRICE,
                    installation=INSTALLATION,
                    order_id=one,
                    key=refund,
                )
            await cards.find(OURS, announced.payment_id)
        disputed = await cards.create(
            installation=INSTALLATION, order_id=order_id, amount=PRICE, key=payment_key(order_id)
        )
        key = charge_key(order_id, 1)
        await cards.confirm(disputed.payment_id, payment_method="pm_card_visa", key=key)
        now = datetime.now(UTC)
        window = (now - timedelta(hours=1), now, None, 10)
        await cards.charges(OURS, *window)
        await cards.refunds(OURS, *window)
        risks = StripeDisputes(cards)
        await risks.risks_of(disputed.payment_id)
        await risks.disputes(*window)
        await risks.warnings(*window)
        await risks.reviews(*window)
        dispute_id = await control.dispute(disputed.payment_id)
        evidence = {"product_description": "A mug", "uncategorized_text": "It was delivered"}
        await risks.submit_evidence(dispute_id, evidence, submit=True, key=f"{order_id}:evidence")

    sent = await control.sent_to_stripe(before)

    assert {request.pattern for request in sent} == SENT
    assert {str(request): mistakes_of_request(request) for request in sent} == {
        str(request): [] for request in sent
    }
