"""PaymentIntents, as the official Stripe SDK sees them."""

from typing import Any

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from tests.sandbox.buying import a_payment, latest_charge, paid, payment_parameters

WITH_CHARGE: Any = {"expand": ["latest_charge"]}


async def test_creating_moves_no_money_and_confirming_takes_all_of_it(
    shop: stripe.StripeClient,
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_visa")
    assert (intent.status, intent.amount_received) == ("requires_confirmation", 0)
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")

    done = await shop.v1.payment_intents.confirm_async(intent.id, WITH_CHARGE)

    assert (done.status, done.amount_received) == ("succeeded", 2000)
    assert latest_charge(done).captured
    assert latest_charge(done).amount_captured == 2000
    assert done.metadata.to_dict() == {"order_id": "1001"}


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_visa_chargeDeclinedProcessingError", "processing_error", None),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
async def test_a_declined_card_takes_nothing_and_says_why(
    shop: stripe.StripeClient, card: str, code: str, decline_code: str | None
) -> None:
    intent = await a_payment(shop)
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": card})

    assert declined.value.http_status == 402
    assert declined.value.code == code
    assert declined.value.error is not None
    assert declined.value.error.decline_code == decline_code
    assert declined.value.error.payment_intent is not None
    assert declined.value.error.payment_intent.id == intent.id
    after = await shop.v1.payment_intents.retrieve_async(intent.id, WITH_CHARGE)
    assert (after.status, after.amount_received) == ("requires_payment_method", 0)
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == code
    assert latest_charge(after).status == "failed"


async def test_another_card_can_pay_after_a_decline(shop: stripe.StripeClient) -> None:
    intent = await a_payment(shop)
    with pytest.raises(stripe.CardError):
        await shop.v1.payment_intents.confirm_async(
            intent.id, {"payment_method": "pm_card_chargeDeclined"}
        )
    done = await shop.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_mastercard"}
    )
    assert (done.status, done.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", None)])
async def test_three_d_secure_waits_for_the_customer(
    shop: stripe.StripeClient, http: httpx.AsyncClient, outcome: str, status: str | None
) -> None:
    intent = await paid(
        shop, card="pm_card_authenticationRequired", return_url="https://shop.example/back"
    )
    assert (intent.status, intent.amount_received) == ("requires_action", 0)
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page = await http.get(str(intent.next_action.redirect_to_url.url))
    assert "Yes, it is me" in page.text

    await http.post(f"/sandbox/payment_intents/{intent.id}/authenticate", json={"outcome": outcome})

    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert after.status == (status or "requires_payment_method")
    if status is None:
        assert after.last_payment_error is not None
        assert after.last_payment_error.code == "payment_intent_authentication_failure"


async def test_authentication_off_session_is_a_decline(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as declined:
        await paid(shop, card="pm_card_threeDSecure2Required", off_session=True)
    assert declined.value.code == "authentication_required"


async def test_a_hold_is_captured_in_part_and_the_rest_released(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    held = await paid(shop, "held-1", capture_method="manual", expand=["latest_charge"])
    assert (held.status, held.amount_capturable) == ("requires_capture", 2000)
    assert not latest_charge(held).captured
    details = latest_charge(held).payment_method_details
    assert details is not None
    assert details.card is not None
    assert details.card.capture_before == latest_charge(held).created + 7 * 24 * 3600

    with pytest.raises(stripe.InvalidRequestError) as too_much:
        await shop.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 2001})
    assert too_much.value.code == "amount_too_large"
    done = await shop.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 1500})

    assert (done.status, done.amount_received, done.amount_capturable) == ("succeeded", 1500, 0)
    booked = await books.order("held-1")
    assert (booked.captured, booked.refunded) == (1500, 0)
    captured = await shop.v1.charges.retrieve_async(str(done.latest_charge))
    assert (captured.amount, captured.amount_captured) == (2000, 1500)
    assert (captured.refunded, captured.amount_refunded) == (False, 0)


async def test_a_canceled_hold_took_nothing_and_cannot_be_captured(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    held = await paid(shop, "held-2", capture_method="manual")
    canceled = await shop.v1.payment_intents.cancel_async(
        held.id, {"cancellation_reason": "requested_by_customer", "expand": ["latest_charge"]}
    )
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    released = latest_charge(canceled)
    assert (released.refunded, released.amount_refunded) == (False, 0)
    assert (released.captured, released.amount_captured) == (False, 0)
    assert (await shop.v1.refunds.list_async({"payment_intent": held.id})).data == []

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.capture_async(held.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "canceled"
    booked = await books.order("held-2")
    assert (booked.captured, booked.refunded, booked.live_payments) == (0, 0, ())


async def test_a_hold_lapses_on_request_as_it_would_after_seven_days(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    held = await paid(shop, "held-3", capture_method="manual")
    lapsed = await http.post(f"/sandbox/payment_intents/{held.id}/lapse")
    assert (lapsed.status_code, lapsed.json()["status"]) == (200, "canceled")

    after = await shop.v1.payment_intents.retrieve_async(held.id, WITH_CHARGE)
    assert (after.status, after.cancellation_reason) == ("canceled", "expired")
    assert after.amount_capturable == 0
    assert not latest_charge(after).refunded
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.capture_async(held.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert (await books.order("held-3")).live_payments == ()
    again = await http.post(f"/sandbox/payment_intents/{held.id}/lapse")
    assert again.status_code == 400


@pytest.mark.parametrize(
    ("capture_method", "outcome", "status"),
    [
        ("automatic", "succeed", "succeeded"),
        ("manual", "succeed", "requires_capture"),
        ("automatic", "fail", "requires_payment_method"),
    ],
)
async def test_a_slow_bank_decides_on_request(
    shop: stripe.StripeClient,
    http: httpx.AsyncClient,
    capture_method: str,
    outcome: str,
    status: str,
) -> None:
    intent = await paid(shop, card="pm_sandbox_processing", capture_method=capture_method)
    assert (intent.status, intent.amount_received) == ("processing", 0)
    for operation in ("confirm", "cancel", "capture"):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await getattr(shop.v1.payment_intents, f"{operation}_async")(intent.id)
        assert refused.value.code == "payment_intent_unexpected_state"

    await http.post(f"/sandbox/payment_intents/{intent.id}/settle", json={"outcome": outcome})

    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert after.status == status
    assert (after.last_payment_error is None) == (outcome == "succeed")
    again = await http.post(
        f"/sandbox/payment_intents/{intent.id}/settle", json={"outcome": "succeed"}
    )
    assert again.status_code == 400


@pytest.mark.parametrize("action", ["authenticate", "settle"])
async def test_an_outcome_is_succeed_or_fail(
    shop: stripe.StripeClient, http: httpx.AsyncClient, action: str
) -> None:
    intent = await paid(shop, card="pm_sandbox_processing")
    answer = await http.post(
        f"/sandbox/payment_intents/{intent.id}/{action}", json={"outcome": "maybe"}
    )
    assert answer.status_code == 400
    assert "succeed or fail" in answer.json()["error"]["message"]


@pytest.mark.parametrize("operation", ["confirm", "cancel", "capture"])
async def test_a_paid_intent_cannot_be_confirmed_canceled_or_captured(
    shop: stripe.StripeClient, operation: str
) -> None:
    intent = await paid(shop)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await getattr(shop.v1.payment_intents, f"{operation}_async")(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "succeeded"


async def test_intents_are_listed_newest_first_in_pages_by_customer(
    shop: stripe.StripeClient,
) -> None:
    customer = (await shop.v1.customers.create_async()).id
    made = [(await a_payment(shop, customer=customer)).id for _ in range(3)]
    first = await shop.v1.payment_intents.list_async({"customer": customer, "limit": 2})
    assert [intent.id for intent in first.data] == [made[2], made[1]]
    assert first.has_more
    pages = await shop.v1.payment_intents.list_async(
        {"customer": customer, "limit": 2, "created": {"gte": first.data[0].created - 60}}
    )
    assert [intent.id async for intent in pages.auto_paging_iter()] == made[::-1]
    none = await shop.v1.payment_intents.list_async(
        {"customer": customer, "created": {"gte": 2**40}}
    )
    assert none.data == []


async def test_a_card_says_its_brand_and_last_digits(shop: stripe.StripeClient) -> None:
    method = await shop.v1.payment_methods.retrieve_async("pm_card_visa")
    assert method.card is not None
    assert (method.card.brand, method.card.last4) == ("visa", "4242")


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ({"ammount": 3}, "parameter_unknown", "ammount"),
        ({"automatic_payment_methods": {"enabled": True, "redirects": "never"}},
         "parameter_unknown", "automatic_payment_methods[redirects]"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": 1}, "amount_too_small", "amount"),
        ({"currency": ""}, "parameter_missing", "currency"),
        ({"payment_method": "pm_card_nobody"}, "resource_missing", "payment_method"),
        ({"customer": "ada"}, "resource_missing", "customer"),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"return_url": "https://shop.example"}, None, "return_url"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(
    shop: stripe.StripeClient, parameters: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.create_async(payment_parameters(**parameters))
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert refused.value.param == param


async def test_redirecting_methods_need_a_return_url(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    parameters = payment_parameters("redirects", payment_method="pm_card_visa", confirm=True)
    del parameters["automatic_payment_methods"]
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        await shop.v1.payment_intents.create_async(parameters)
    assert (await books.order("redirects")).payments == ()


async def test_an_unknown_intent_is_404(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await shop.v1.payment_intents.retrieve_async("pi_nothing")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert missing.value.request_id is not None


@pytest.mark.parametrize("key", ["pk_test_1", "sk_live_1"])
async def test_only_secret_test_keys_are_taken(shop: stripe.StripeClient, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError) as refused:
        await shop.v1.payment_intents.create_async(payment_parameters(), {"api_key": key})
    assert refused.value.http_status == 401


async def test_no_key_at_all_is_401(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/payment_intents")
    assert answer.status_code == 401
    assert "You did not provide an API key" in answer.json()["error"]["message"]
