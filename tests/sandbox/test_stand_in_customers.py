"""Customers, saved cards, and payment methods that can be used once."""

from typing import Any

import httpx
import pytest
import stripe

from tests.sandbox.buying import a_payment, latest_charge, paid

USED = "previously used with a PaymentIntent without Customer attachment"


async def a_method(shop: stripe.StripeClient, card: str = "visa") -> str:
    token = f"tok_{card}"
    method = await shop.v1.payment_methods.create_async({"type": "card", "card": {"token": token}})
    return method.id


async def confirm(shop: stripe.StripeClient, intent_id: str, method: str, **more: Any) -> Any:
    parameters: Any = {"payment_method": method, **more}
    return await shop.v1.payment_intents.confirm_async(intent_id, parameters)


@pytest.mark.parametrize(
    ("card", "brand", "last4"),
    [
        ({"token": "tok_mastercard"}, "mastercard", "4444"),
        ({"number": "4242 4242 4242 4242", "exp_month": 3, "exp_year": 2031, "cvc": "314"},
         "visa", "4242"),
        ({"number": "378282246310005"}, None, None),
        ({"number": "4000000000000259"}, "visa", "0259"),
    ],
)  # fmt: skip
async def test_a_payment_method_is_made_of_a_test_card(
    shop: stripe.StripeClient, card: Any, brand: str | None, last4: str | None
) -> None:
    parameters: Any = {"type": "card", "card": card, "billing_details": {"name": "Ada"}}
    if brand is None:
        with pytest.raises(stripe.CardError, match="test mode"):
            await shop.v1.payment_methods.create_async(parameters)
        return
    made = await shop.v1.payment_methods.create_async(parameters)
    assert made.card is not None
    assert (made.card.brand, made.card.last4, made.customer) == (brand, last4, None)
    assert made.billing_details.name == "Ada"
    assert made.card.exp_year == card.get("exp_year", made.card.exp_year)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "5555555555554444", "token": "tok_visa"}, "parameters_exclusive"),
        ({"token": "tok_nobody"}, "resource_missing"),
        ({"exp_month": 3}, "parameter_missing"),
    ],
)
async def test_a_wrong_card_makes_no_payment_method(
    shop: stripe.StripeClient, card: Any, code: str
) -> None:
    with pytest.raises(stripe.StripeError) as refused:
        await shop.v1.payment_methods.create_async({"type": "card", "card": card})
    assert refused.value.code == code


async def test_a_test_name_is_a_new_payment_method_every_time(shop: stripe.StripeClient) -> None:
    intents = [await paid(shop) for _ in range(3)]
    assert len({str(intent.payment_method) for intent in intents}) == 3


@pytest.mark.parametrize("card", ["visa", "chargeDeclined", "threeDSecure2Required"])
async def test_a_payment_method_without_a_customer_is_for_one_intent(
    shop: stripe.StripeClient, card: str
) -> None:
    method = await a_method(shop, card)
    first, second = await a_payment(shop), await a_payment(shop)
    try:
        await confirm(shop, first.id, method)
    except stripe.CardError:
        assert card == "chargeDeclined"
    with pytest.raises(stripe.InvalidRequestError, match=USED) as refused:
        await confirm(shop, second.id, method)
    assert refused.value.http_status == 400
    with pytest.raises(stripe.InvalidRequestError, match=USED):
        await a_payment(shop, payment_method=method)
    after = await shop.v1.payment_intents.retrieve_async(second.id)
    assert (after.status, after.latest_charge) == ("requires_payment_method", None)


async def test_naming_a_payment_method_is_no_use_of_it(shop: stripe.StripeClient) -> None:
    method = await a_method(shop)
    await a_payment(shop, payment_method=method)
    assert (await a_payment(shop, payment_method=method, confirm=True)).status == "succeeded"


async def test_a_payment_method_is_tried_again_on_its_own_intent_after_a_decline(
    shop: stripe.StripeClient,
) -> None:
    method = await a_method(shop, "chargeDeclinedProcessingError")
    intent = await a_payment(shop)
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await confirm(shop, intent.id, method)
        assert declined.value.code == "processing_error"
    listed = await shop.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.payment_method for charge in listed.data] == [method, method]


async def test_a_saved_card_pays_for_its_customer_alone(shop: stripe.StripeClient) -> None:
    customer = await shop.v1.customers.create_async({"email": "ada@example.com"})
    other = await shop.v1.customers.create_async()
    method = await a_method(shop)
    attached = await shop.v1.payment_methods.attach_async(method, {"customer": customer.id})
    assert attached.customer == customer.id

    for _ in range(2):
        done = await paid(shop, card=method, customer=customer.id, expand=["latest_charge"])
        assert (done.status, latest_charge(done).customer) == ("succeeded", customer.id)
    with pytest.raises(stripe.InvalidRequestError, match="belongs to the Customer"):
        await paid(shop, card=method)
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method") as wrong:
        await paid(shop, card=method, customer=other.id)
    assert wrong.value.code == "resource_missing"


async def test_saved_cards_are_listed_newest_first(shop: stripe.StripeClient) -> None:
    customer = (await shop.v1.customers.create_async()).id
    made = [await a_method(shop) for _ in range(3)]
    for method in made[:2]:
        await shop.v1.payment_methods.attach_async(method, {"customer": customer})
    listed = await shop.v1.payment_methods.list_async({"customer": customer, "type": "card"})
    assert [method.id for method in listed.data] == made[1::-1]
    page = await shop.v1.customers.payment_methods.list_async(customer, {"limit": 1})
    assert ([method.id for method in page.data], page.has_more) == ([made[1]], True)


async def test_a_detached_card_is_never_used_again(shop: stripe.StripeClient) -> None:
    customer = (await shop.v1.customers.create_async({"payment_method": "pm_card_visa"})).id
    [saved] = (await shop.v1.payment_methods.list_async({"customer": customer})).data
    detached = await shop.v1.payment_methods.detach_async(saved.id)
    assert detached.customer is None
    with pytest.raises(stripe.InvalidRequestError, match=USED):
        await paid(shop, card=saved.id)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        await shop.v1.payment_methods.attach_async(saved.id, {"customer": customer})
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        await shop.v1.payment_methods.detach_async(saved.id)


async def test_a_used_card_cannot_be_saved_afterwards_unless_it_was_set_up(
    shop: stripe.StripeClient,
) -> None:
    customer = (await shop.v1.customers.create_async()).id
    used, set_up = await a_method(shop), await a_method(shop)
    await paid(shop, card=used)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        await shop.v1.payment_methods.attach_async(used, {"customer": customer})
    await paid(shop, card=set_up, setup_future_usage="off_session")
    saved = await shop.v1.payment_methods.attach_async(set_up, {"customer": customer})
    assert saved.customer == customer


async def test_a_declined_card_cannot_be_saved(shop: stripe.StripeClient) -> None:
    customer = (await shop.v1.customers.create_async()).id
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_methods.attach_async("pm_card_chargeDeclined", {"customer": customer})
    assert declined.value.http_status == 402
    # This one can, and every charge of it is declined.
    saved = await shop.v1.payment_methods.attach_async(
        "pm_card_chargeCustomerFail", {"customer": customer}
    )
    with pytest.raises(stripe.CardError):
        await paid(shop, card=saved.id, customer=customer, off_session=True)


@pytest.mark.parametrize("usage", ["on_session", "off_session"])
async def test_setup_future_usage_saves_the_card_once_it_has_paid(
    shop: stripe.StripeClient, http: httpx.AsyncClient, usage: str
) -> None:
    customer = (await shop.v1.customers.create_async()).id
    intent = await a_payment(shop, customer=customer, setup_future_usage=usage)
    with pytest.raises(stripe.CardError):
        await confirm(shop, intent.id, "pm_card_chargeDeclined")
    waiting = await confirm(shop, intent.id, "pm_card_authenticationRequiredOnSetup")
    assert (await shop.v1.payment_methods.list_async({"customer": customer})).data == []
    await http.post(
        f"/sandbox/payment_intents/{intent.id}/authenticate", json={"outcome": "succeed"}
    )
    [saved] = (await shop.v1.payment_methods.list_async({"customer": customer})).data
    assert saved.id == waiting.payment_method

    later: Any = {"card": saved.id, "customer": customer, "off_session": True}
    if usage == "off_session":  # authenticated for payments without the customer
        assert (await paid(shop, **later)).status == "succeeded"
    else:
        with pytest.raises(stripe.CardError):
            await paid(shop, **later)
    again = await paid(shop, card=saved.id, customer=customer)
    assert again.status == "requires_action"


async def test_off_session_a_card_that_needs_its_customer_is_declined(
    shop: stripe.StripeClient,
) -> None:
    customer = (await shop.v1.customers.create_async()).id
    saved = await shop.v1.payment_methods.attach_async(
        "pm_card_authenticationRequired", {"customer": customer}
    )
    intent = await a_payment(shop, customer=customer)
    with pytest.raises(stripe.CardError) as declined:
        await confirm(shop, intent.id, saved.id, off_session=True)
    assert (declined.value.http_status, declined.value.code) == (402, "authentication_required")
    after = await shop.v1.payment_intents.retrieve_async(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.payment_method is not None
    assert after.last_payment_error.payment_method.id == saved.id
    # The customer comes back and confirms the same intent with the same card.
    assert (await confirm(shop, intent.id, saved.id)).status == "requires_action"


async def test_a_card_that_is_set_up_asks_its_customer_only_when_present(
    shop: stripe.StripeClient,
) -> None:
    customer = (await shop.v1.customers.create_async()).id
    saved = await shop.v1.payment_methods.attach_async(
        "pm_card_authenticationRequiredSetupForOffSession", {"customer": customer}
    )
    away = await paid(shop, card=saved.id, customer=customer, off_session=True)
    present = await paid(shop, card=saved.id, customer=customer)
    assert (away.status, present.status) == ("succeeded", "requires_action")


async def test_nothing_is_set_up_off_session(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="off_session"):
        await paid(shop, off_session=True, setup_future_usage="off_session")
    intent = await a_payment(shop)
    with pytest.raises(stripe.InvalidRequestError, match="off_session"):
        await confirm(
            shop, intent.id, "pm_card_visa", off_session=True, setup_future_usage="off_session"
        )


async def test_three_d_secure_can_be_asked_for(shop: stripe.StripeClient) -> None:
    options: Any = {"card": {"request_three_d_secure": "any"}}
    assert (await paid(shop, payment_method_options=options)).status == "requires_action"


async def test_a_customer_is_changed_found_and_deleted(shop: stripe.StripeClient) -> None:
    customer = await shop.v1.customers.create_async(
        {"email": "grace@example.com", "metadata": {"shop": "1"}}
    )
    changed = await shop.v1.customers.update_async(
        customer.id, {"name": "Grace", "metadata": {"tier": "gold"}}
    )
    assert (changed.name, changed.email) == ("Grace", "grace@example.com")
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"shop": "1", "tier": "gold"}
    listed = await shop.v1.customers.list_async({"email": "grace@example.com"})
    assert [found.id for found in listed.data] == [customer.id]

    await shop.v1.customers.delete_async(customer.id)
    gone = await shop.v1.customers.retrieve_async(customer.id)
    assert gone.deleted
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await a_payment(shop, customer=customer.id)
    assert (missing.value.http_status, missing.value.code) == (400, "resource_missing")
