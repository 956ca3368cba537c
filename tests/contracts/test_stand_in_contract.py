"""Contract of the stand-in with Stripe: the same calls of the SDK, the same answers.

Against Stripe's test mode it runs with ``STRIPE_TEST_KEY`` (``make test-stripe``). What Stripe's
documentation leaves open is not asserted here but asked, in ``stripe_questions.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import stripe

from tests.contracts.conftest import SandboxControl
from tests.contracts.stripe_account import (
    API_BASE,
    AT_STRIPE,
    ON_SANDBOX,
    stripe_client,
    stripe_test_key,
)
from tests.support.eventually import eventually

PRICE = 42_00
#: Stripe's test mode makes disputes and warnings some seconds after the charge.
SOON = 60.0


@pytest_asyncio.fixture(params=[ON_SANDBOX, AT_STRIPE])
async def shop(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[stripe.StripeClient]:
    if request.param == ON_SANDBOX:
        key, url = "sk_test_sandbox", control.url
    else:
        key, url = stripe_test_key(), API_BASE
    async with stripe_client(key, url) as client:
        yield client


async def an_intent(shop: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    parameters: Any = {
        "amount": PRICE,
        "currency": "eur",
        "allowed_payment_method_types": ["card"],
        **more,
    }
    return await shop.v1.payment_intents.create_async(parameters)


async def confirm(shop: stripe.StripeClient, intent_id: str, **more: Any) -> stripe.PaymentIntent:
    parameters: Any = {"expand": ["latest_charge"], **more}
    return await shop.v1.payment_intents.confirm_async(intent_id, parameters)


async def paid(
    shop: stripe.StripeClient, card: str = "pm_card_visa", **more: Any
) -> stripe.PaymentIntent:
    intent = await an_intent(shop, payment_method=card, **more)
    return await confirm(shop, intent.id)


def charge_of(intent: stripe.PaymentIntent) -> stripe.Charge:
    assert isinstance(intent.latest_charge, stripe.Charge)
    return intent.latest_charge


async def a_method(shop: stripe.StripeClient, card: str = "visa") -> str:
    method = await shop.v1.payment_methods.create_async(
        {"type": "card", "card": {"token": f"tok_{card}"}}
    )
    return method.id


# -- payments --------------------------------------------------------------------------------------


async def test_a_confirmed_payment_is_taken_at_once(shop: stripe.StripeClient) -> None:
    done = await paid(shop)
    charge = charge_of(done)
    assert (done.status, done.amount_received) == ("succeeded", PRICE)
    assert (charge.captured, charge.amount_captured, charge.amount_refunded) == (True, PRICE, 0)


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined",
         "card_velocity_exceeded"),
    ],
)  # fmt: skip
async def test_a_declined_card_says_why_and_clears_the_payment_method(
    shop: stripe.StripeClient, card: str, code: str, decline_code: str | None
) -> None:
    intent = await an_intent(shop)
    with pytest.raises(stripe.CardError) as declined:
        await confirm(shop, intent.id, payment_method=card)
    assert (declined.value.http_status, declined.value.code) == (402, code)
    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == code
    if decline_code is not None:
        assert after.last_payment_error.decline_code == decline_code


async def test_one_intent_takes_several_tries_each_with_a_charge(shop: stripe.StripeClient) -> None:
    intent = await an_intent(shop)
    for card in ("pm_card_visa_chargeDeclined", "pm_card_chargeDeclinedProcessingError"):
        with pytest.raises(stripe.CardError):
            await confirm(shop, intent.id, payment_method=card)
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await confirm(shop, intent.id)
    assert missing.value.code == "payment_intent_unexpected_state"

    done = await confirm(shop, intent.id, payment_method="pm_card_mastercard")

    assert (done.status, done.last_payment_error) == ("succeeded", None)
    listed = await shop.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.status for charge in listed.data] == ["succeeded", "failed", "failed"]
    assert listed.data[0].id == charge_of(done).id
    with pytest.raises(stripe.InvalidRequestError) as again:
        await confirm(shop, intent.id, payment_method="pm_card_visa")
    assert again.value.code == "payment_intent_unexpected_state"


async def test_a_released_hold_is_no_refund(shop: stripe.StripeClient) -> None:
    held = await paid(shop, capture_method="manual")
    assert (held.status, held.amount_capturable) == ("requires_capture", PRICE)
    released = await shop.v1.payment_intents.cancel_async(held.id, {"expand": ["latest_charge"]})
    assert (released.status, released.amount_capturable) == ("canceled", 0)
    charge = charge_of(released)
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, False, 0)
    assert (await shop.v1.refunds.list_async({"payment_intent": held.id})).data == []


async def test_what_a_capture_leaves_is_no_refund(shop: stripe.StripeClient) -> None:
    held = await paid(shop, capture_method="manual")
    done = await shop.v1.payment_intents.capture_async(
        held.id, {"amount_to_capture": PRICE - 500, "expand": ["latest_charge"]}
    )
    charge = charge_of(done)
    assert (done.amount_received, charge.amount_captured) == (PRICE - 500, PRICE - 500)
    assert (charge.refunded, charge.amount_refunded) == (False, 0)


async def test_amounts_have_a_minimum(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as small:
        await an_intent(shop, amount=20)
    assert (small.value.http_status, small.value.code) == (400, "amount_too_small")


@pytest.mark.usefixtures("sends_wrong_requests")
@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"ammount": 3}, "parameter_unknown"),
        ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported"),
    ],
)
async def test_a_parameter_that_is_not_there_is_refused(
    shop: stripe.StripeClient, parameters: dict[str, Any], code: str
) -> None:
    given: Any = {"amount": PRICE, "currency": "eur", **parameters}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.create_async(given)
    assert (refused.value.http_status, refused.value.code) == (400, code)


@pytest.mark.parametrize(
    ("name", "value"), [("payment_method", "pm_nobody"), ("customer", "cus_nobody")]
)
async def test_a_stranger_is_refused(shop: stripe.StripeClient, name: str, value: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await an_intent(shop, **{name: value})
    assert (refused.value.http_status, refused.value.code) == (400, "resource_missing")


async def test_an_allow_list_excludes_automatic_payment_methods(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await an_intent(shop, automatic_payment_methods={"enabled": True})
    assert refused.value.http_status == 400


# -- customers -------------------------------------------------------------------------------------


async def test_a_test_name_pays_again_and_again(shop: stripe.StripeClient) -> None:
    first, second = await paid(shop), await paid(shop)
    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert first.payment_method != second.payment_method


async def test_a_payment_method_without_a_customer_pays_one_intent(
    shop: stripe.StripeClient,
) -> None:
    method = await a_method(shop)
    assert (await paid(shop, method)).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again") as refused:
        await paid(shop, method)
    assert refused.value.http_status == 400


async def test_a_saved_card_pays_for_its_customer(shop: stripe.StripeClient) -> None:
    customer = await shop.v1.customers.create_async({"email": "ada@example.com"})
    saved = await shop.v1.payment_methods.attach_async(
        await a_method(shop), {"customer": customer.id}
    )
    assert saved.customer == customer.id
    for _ in range(2):
        done = await paid(shop, saved.id, customer=customer.id)
        assert (done.status, charge_of(done).customer) == ("succeeded", customer.id)
    with pytest.raises(stripe.InvalidRequestError):
        await paid(shop, saved.id)
    listed = await shop.v1.customers.payment_methods.list_async(customer.id)
    assert [method.id for method in listed.data] == [saved.id]
    await shop.v1.payment_methods.detach_async(saved.id)
    with pytest.raises(stripe.InvalidRequestError):
        await paid(shop, saved.id, customer=customer.id)
    await shop.v1.customers.delete_async(customer.id)


async def test_a_payment_saves_the_card_if_asked(shop: stripe.StripeClient) -> None:
    customer = await shop.v1.customers.create_async()
    done = await paid(shop, customer=customer.id, setup_future_usage="off_session")
    listed = await shop.v1.payment_methods.list_async({"customer": customer.id, "type": "card"})
    assert [method.id for method in listed.data] == [done.payment_method]
    later = await an_intent(shop, customer=customer.id)
    charged = await confirm(
        shop, later.id, payment_method=str(done.payment_method), off_session=True
    )
    assert charged.status == "succeeded"


async def test_off_session_a_card_that_needs_its_customer_is_declined(
    shop: stripe.StripeClient,
) -> None:
    customer = await shop.v1.customers.create_async()
    saved = await shop.v1.payment_methods.attach_async(
        "pm_card_authenticationRequired", {"customer": customer.id}
    )
    intent = await an_intent(shop, customer=customer.id)
    with pytest.raises(stripe.CardError) as declined:
        await confirm(shop, intent.id, payment_method=saved.id, off_session=True)
    assert (declined.value.http_status, declined.value.code) == (402, "authentication_required")
    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert after.status == "requires_payment_method"


# -- refunds ---------------------------------------------------------------------------------------


async def test_refunds_add_up_to_the_charge_and_no_further(shop: stripe.StripeClient) -> None:
    done = await paid(shop)
    await shop.v1.refunds.create_async({"payment_intent": done.id, "amount": 1000})
    with pytest.raises(stripe.InvalidRequestError):
        await shop.v1.refunds.create_async({"payment_intent": done.id, "amount": PRICE})
    rest = await shop.v1.refunds.create_async({"payment_intent": done.id})
    assert (rest.amount, rest.status) == (PRICE - 1000, "succeeded")
    charge = await shop.v1.charges.retrieve_async(charge_of(done).id)
    assert (charge.amount_refunded, charge.refunded) == (PRICE, True)
    with pytest.raises(stripe.InvalidRequestError) as again:
        await shop.v1.refunds.create_async({"payment_intent": done.id})
    assert again.value.code == "charge_already_refunded"


async def test_a_refund_may_be_pending(shop: stripe.StripeClient) -> None:
    done = await paid(shop, "pm_card_pendingRefund")
    refund = await shop.v1.refunds.create_async({"payment_intent": done.id})
    assert refund.status == "pending"


# -- disputes --------------------------------------------------------------------------------------


async def the_dispute(shop: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Dispute:
    found: list[stripe.Dispute] = []

    async def is_there() -> bool:
        listed = await shop.v1.disputes.list_async({"payment_intent": intent.id})
        found[:] = listed.data
        return bool(found)

    await eventually(is_there, within=SOON)
    return found[0]


async def test_a_disputed_payment_is_found_by_its_intent_alone(shop: stripe.StripeClient) -> None:
    done = await paid(shop, "pm_card_createDispute", metadata={"order_id": "1001"})
    dispute = await the_dispute(shop, done)
    assert (dispute.reason, dispute.status) == ("fraudulent", "needs_response")
    assert (dispute.amount, dispute.payment_intent) == (PRICE, done.id)
    assert dispute.metadata.to_dict() == {}
    charge = await shop.v1.charges.retrieve_async(charge_of(done).id)
    assert (charge.disputed, charge.amount_refunded, charge.refunded) == (True, 0, False)
    with pytest.raises(stripe.InvalidRequestError):
        await shop.v1.refunds.create_async({"payment_intent": done.id})


async def test_an_inquiry_takes_no_money(shop: stripe.StripeClient) -> None:
    inquiry = await the_dispute(shop, await paid(shop, "pm_card_createDisputeInquiry"))
    assert (inquiry.status, inquiry.balance_transactions) == ("warning_needs_response", [])


@pytest.mark.parametrize(
    ("evidence", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")]
)
async def test_evidence_decides_a_dispute(
    shop: stripe.StripeClient, evidence: str, status: str
) -> None:
    dispute = await the_dispute(shop, await paid(shop, "pm_card_createDispute"))
    await shop.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True}
    )

    async def is_decided() -> bool:
        return (await shop.v1.disputes.retrieve_async(dispute.id)).status == status

    await eventually(is_decided, within=SOON)
    after = await shop.v1.charges.retrieve_async(str(dispute.charge))
    assert (after.disputed, after.amount_refunded) == (True, 0)


async def test_an_early_fraud_warning_comes_before_the_dispute(shop: stripe.StripeClient) -> None:
    done = await paid(shop, "pm_card_createIssuerFraudRecord")

    async def is_warned() -> bool:
        listed = await shop.v1.radar.early_fraud_warnings.list_async({"payment_intent": done.id})
        return [warning.charge for warning in listed.data] == [charge_of(done).id]

    await eventually(is_warned, within=SOON)
