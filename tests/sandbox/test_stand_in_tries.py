"""Several tries on one PaymentIntent, by the shop and by the customer in the browser."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from tests.sandbox.buying import a_payment, keyed, latest_charge, paid

WITH_CHARGE: Any = {"expand": ["latest_charge"]}


async def confirm_in_browser(
    http: httpx.AsyncClient, intent_id: str, **body: str
) -> httpx.Response:
    return await http.post(f"/sandbox/payment_intents/{intent_id}/confirm", json=body)


@pytest.fixture
async def limit(http: httpx.AsyncClient) -> AsyncIterator[int]:
    """The upper limit of confirms, lowered to three for this test."""
    before = (await http.get("/sandbox/stripe")).json()
    (await http.post("/sandbox/stripe", json={"confirm_limit": 3})).raise_for_status()
    yield 3
    await http.post("/sandbox/stripe", json=before)


async def decline(shop: stripe.StripeClient, intent_id: str, card: str) -> stripe.CardError:
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_intents.confirm_async(intent_id, {"payment_method": card})
    return declined.value


async def test_a_decline_clears_the_payment_method_and_the_next_confirm_names_one(
    shop: stripe.StripeClient,
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_chargeDeclined")
    await decline(shop, intent.id, "pm_card_chargeDeclinedInsufficientFunds")

    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.decline_code == "insufficient_funds"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method") as refused:
        await shop.v1.payment_intents.confirm_async(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    unchanged = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert unchanged.last_payment_error == after.last_payment_error


async def test_each_try_makes_a_charge_and_the_list_has_the_newest_first(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    intent = await a_payment(shop, "tries-1")
    made = []
    for card in ("pm_card_chargeDeclined", "pm_card_chargeDeclinedProcessingError"):
        error = (await decline(shop, intent.id, card)).error
        assert error is not None
        assert error.payment_intent is not None
        made.append(error.payment_intent.latest_charge)
        assert error.charge == made[-1]
    done = await shop.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    made.append(latest_charge(done).id)

    listed = await shop.v1.charges.list_async({"payment_intent": intent.id})

    assert [charge.id for charge in listed.data] == made[::-1]
    assert [charge.status for charge in listed.data] == ["succeeded", "failed", "failed"]
    assert [charge.captured for charge in listed.data] == [True, False, False]
    assert (await books.order("tries-1")).captured == 2000


async def test_a_decline_is_repeated_for_its_key_after_another_card_has_paid(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    intent = await a_payment(shop, "tries-2")
    first: Any = {"payment_method": "pm_card_chargeDeclined"}
    with pytest.raises(stripe.CardError):
        await shop.v1.payment_intents.confirm_async(intent.id, first, keyed("try-1"))
    await shop.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa"}, keyed("try-2")
    )
    with pytest.raises(stripe.CardError) as repeated:
        await shop.v1.payment_intents.confirm_async(intent.id, first, keyed("try-1"))
    assert repeated.value.headers is not None
    assert repeated.value.headers["idempotent-replayed"] == "true"
    booked = await books.order("tries-2")
    assert (booked.captured, len(booked.payments[0].charges)) == (2000, 2)


async def test_the_customer_pays_the_same_intent_in_the_browser_after_a_decline(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    intent = await a_payment(shop, "browser-1")
    await decline(shop, intent.id, "pm_card_chargeDeclined")

    answer = await confirm_in_browser(http, intent.id, payment_method="pm_card_mastercard")

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    after = await shop.v1.payment_intents.retrieve_async(intent.id, WITH_CHARGE)
    assert (after.status, after.last_payment_error) == ("succeeded", None)
    details: Any = latest_charge(after).payment_method_details
    assert details.card.brand == "mastercard"
    assert (await books.order("browser-1")).captured == 2000


async def test_the_customer_fails_to_authenticate_and_pays_with_another_card(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await paid(shop, card="pm_card_authenticationRequired")
    await http.post(f"/sandbox/payment_intents/{intent.id}/authenticate", json={"outcome": "fail"})
    failed = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert (failed.status, failed.payment_method) == ("requires_payment_method", None)

    answer = await confirm_in_browser(
        http, intent.id, payment_method="pm_card_threeDSecure2Required", authentication="fail"
    )
    assert answer.json()["status"] == "requires_payment_method"
    error = answer.json()["last_payment_error"]
    assert error["code"] == "payment_intent_authentication_failure"
    waiting = await confirm_in_browser(
        http, intent.id, payment_method="pm_card_authenticationRequired"
    )
    assert waiting.json()["status"] == "requires_action"
    done = await confirm_in_browser(
        http,
        intent.id,
        payment_method="pm_card_authenticationRequired",
        authentication="succeed",
    )
    assert done.json()["status"] == "succeeded"


async def test_a_card_declined_in_the_browser_leaves_its_charge(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await a_payment(shop)
    answer = await confirm_in_browser(http, intent.id, payment_method="pm_card_chargeDeclined")
    assert answer.status_code == 402
    assert answer.json()["error"]["decline_code"] == "generic_decline"
    after = await shop.v1.payment_intents.retrieve_async(intent.id, WITH_CHARGE)
    assert (after.status, latest_charge(after).status) == ("requires_payment_method", "failed")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"payment_method": "pm_card_nobody"}, "No such PaymentMethod"),
        ({}, "payment_method is a name"),
        ({"payment_method": "pm_card_visa", "authentication": "maybe"}, "succeed or fail"),
    ],
)
async def test_a_wrong_confirm_in_the_browser_changes_nothing(
    shop: stripe.StripeClient, http: httpx.AsyncClient, body: dict[str, str], said: str
) -> None:
    intent = await a_payment(shop)
    answer = await confirm_in_browser(http, intent.id, **body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert (await shop.v1.payment_intents.retrieve_async(intent.id)).status == intent.status


async def test_a_paid_intent_cannot_be_confirmed_in_the_browser(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    intent = await paid(shop, "browser-2")
    answer = await confirm_in_browser(http, intent.id, payment_method="pm_card_mastercard")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "payment_intent_unexpected_state"
    assert (await books.order("browser-2")).captured == 2000


async def test_too_many_confirms_cancel_the_intent(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient, limit: int
) -> None:
    intent = await a_payment(shop, "limit-1")
    for _ in range(limit - 1):
        await decline(shop, intent.id, "pm_card_chargeDeclined")
    await confirm_in_browser(http, intent.id, payment_method="pm_card_chargeDeclined")

    beyond = await shop.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa"}
    )

    assert (beyond.status, beyond.cancellation_reason) == ("canceled", "automatic")
    booked = await books.order("limit-1")
    assert (booked.captured, len(booked.payments[0].charges)) == (0, limit)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_the_limit_of_confirms_is_at_least_one(http: httpx.AsyncClient) -> None:
    for wrong in ({"confirm_limit": 0}, {"confirm_limit": "many"}, {"limit": 3}):
        answer = await http.post("/sandbox/stripe", json=wrong)
        assert answer.status_code == 400
        assert "confirm_limit" in answer.json()["error"]["message"]
