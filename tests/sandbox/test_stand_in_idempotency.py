"""Idempotency keys, as Stripe's "Idempotent requests" describes them."""

import asyncio

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient
from tests.sandbox.buying import a_payment, keyed, payment_parameters


async def test_a_repeat_gets_the_first_answer_and_charges_once(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    parameters = payment_parameters("once", payment_method="pm_card_visa", confirm=True)
    first = await shop.v1.payment_intents.create_async(parameters, keyed("order-once:charge:1"))
    again = await shop.v1.payment_intents.create_async(parameters, keyed("order-once:charge:1"))

    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert first.last_response is not None
    assert "idempotent-replayed" not in first.last_response.headers
    assert (await books.order("once")).captured == 2000


async def test_a_decline_is_replayed_even_when_the_card_would_now_pay(
    shop: stripe.StripeClient,
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_chargeDeclined")
    errors = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await shop.v1.payment_intents.confirm_async(intent.id, None, keyed("declined-1"))
        errors.append(declined.value)
    assert errors[0].json_body == errors[1].json_body
    assert errors[1].headers is not None
    assert errors[1].headers["idempotent-replayed"] == "true"


async def test_the_same_key_for_something_else_is_refused(shop: stripe.StripeClient) -> None:
    await shop.v1.payment_intents.create_async(payment_parameters(), keyed("mixed-up"))
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as other:
        await shop.v1.payment_intents.create_async(
            payment_parameters(amount=2001), keyed("mixed-up")
        )
    assert other.value.http_status == 400
    intent = await a_payment(shop, payment_method="pm_card_visa")
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        await shop.v1.payment_intents.confirm_async(intent.id, None, keyed("mixed-up"))


async def test_the_order_of_parameters_does_not_matter(http: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer sk_test_1", "Idempotency-Key": "ordered"}
    bodies = ("amount=900&currency=eur&metadata[a]=1&metadata[b]=2",
              "metadata[b]=2&currency=eur&metadata[a]=1&amount=900")  # fmt: skip
    answers = [
        await http.post(
            "/v1/payment_intents",
            content=body,
            headers={**headers, "Content-Type": "application/x-www-form-urlencoded"},
        )
        for body in bodies
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_the_same_key_in_flight_is_409(
    shop: stripe.StripeClient, faults: FaultClient, books: BooksClient
) -> None:
    slow = await faults.inject("stripe.payment_intents.create", "delay", order_id="twice", times=1)
    parameters = payment_parameters("twice", payment_method="pm_card_visa", confirm=True)
    first = asyncio.create_task(shop.v1.payment_intents.create_async(parameters, keyed("twice")))
    await faults.wait_for_hits(slow)

    with pytest.raises(stripe.APIError) as in_use:
        await shop.v1.payment_intents.create_async(parameters, keyed("twice"))
    assert in_use.value.http_status == 409
    assert in_use.value.error is not None
    assert in_use.value.error.code == "idempotency_key_in_use"

    await faults.remove(slow)
    done = await first
    again = await shop.v1.payment_intents.create_async(parameters, keyed("twice"))
    assert again.id == done.id
    assert (await books.order("twice")).captured == 2000


async def test_failed_validation_does_not_use_up_the_key(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await shop.v1.payment_intents.create_async(payment_parameters(amount=1), keyed("corrected"))
    intent = await shop.v1.payment_intents.create_async(payment_parameters(), keyed("corrected"))
    assert intent.amount == 2000


async def test_a_saved_500_is_replayed_though_the_money_was_taken(
    shop: stripe.StripeClient, faults: FaultClient
) -> None:
    intent = await a_payment(shop, "broken", payment_method="pm_card_visa")
    await faults.inject("stripe.payment_intents.confirm", "error_after", order_id="broken", times=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broken:
            await shop.v1.payment_intents.confirm_async(intent.id, None, keyed("broken"))
        assert broken.value.http_status == 500
    assert (await shop.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


async def test_an_unsaved_500_leaves_the_key_usable(
    shop: stripe.StripeClient, faults: FaultClient
) -> None:
    parameters = payment_parameters("outage")
    await faults.inject("stripe.*", "error", order_id="outage", times=1)
    with pytest.raises(stripe.APIError):
        await shop.v1.payment_intents.create_async(parameters, keyed("outage"))
    assert (await shop.v1.payment_intents.create_async(parameters, keyed("outage"))).amount == 2000
