"""Contract of `Cards` for customers and their saved cards, for every card provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
import pytest_asyncio

from durable_orders.domain.money import Money
from durable_orders.domain.order import FutureUsage, Recipient
from durable_orders.domain.ports import (
    CardCharge,
    ChargeDetails,
    ChargeState,
    RefusedError,
    UnknownCustomerError,
    UnusableCardError,
)
from durable_orders.domain.terms import AUTHENTICATION_REQUIRED
from durable_orders.providers.stripe.cards import StripeCards
from tests.contracts.cards import AT_STRIPE, IN_MEMORY, ON_SANDBOX, CardsOnTrial, on_trial
from tests.contracts.conftest import SandboxControl
from tests.fakes.cards import NEED_SETUP, NO_DETAILS
from tests.support.keys import INSTALLATION, charge_key, payment_key

PRICE = Money(42_00, "EUR")
ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\r\nLondon\n\n  UK ")
VISA = "pm_card_visa"
MASTERCARD = "pm_card_mastercard"
WANTS_CUSTOMER = "pm_card_authenticationRequired"


@pytest_asyncio.fixture(params=[IN_MEMORY, ON_SANDBOX, AT_STRIPE])
async def trial(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[CardsOnTrial]:
    async with on_trial(request.param, control) as provider:
        yield provider


async def announce(
    trial: CardsOnTrial, order_id: str, details: ChargeDetails = NO_DETAILS, *, hold: bool = False
) -> CardCharge:
    return await trial.cards.create(
        installation=INSTALLATION,
        order_id=order_id,
        amount=PRICE,
        key=payment_key(order_id),
        hold=hold,
        details=details,
    )


async def charge(
    trial: CardsOnTrial,
    order_id: str,
    card: str,
    details: ChargeDetails = NO_DETAILS,
    *,
    number: int = 1,
    off_session: bool = False,
    hold: bool = False,
) -> CardCharge:
    """Try the card, as the order's try ``number``."""
    announced = await announce(trial, order_id, details, hold=hold)
    return await trial.cards.confirm(
        announced.payment_id,
        payment_method=card,
        key=charge_key(order_id, number),
        off_session=off_session,
    )


# -- customers -------------------------------------------------------------------------------------


async def test_a_charge_has_its_details_from_the_beginning(
    trial: CardsOnTrial, order_id: str
) -> None:
    details = ChargeDetails(await trial.add_customer(), None, "ada@example.com", "Order 1001", ADA)
    first = await announce(trial, order_id, details)
    assert first.state is ChargeState.OPEN
    assert await announce(trial, order_id, details) == first


@pytest.mark.parametrize(
    "other",
    [
        {"customer": None},
        {"receipt_email": None},
        {"receipt_email": "bob@example.com"},
        {"description": "Order 1002"},
        {"setup_future_usage": FutureUsage.ON_SESSION},
        {"recipient": replace(ADA, name="Bob")},
        {"recipient": replace(ADA, address="13 St James's Square")},
    ],
    ids=str,
)
async def test_a_key_is_refused_for_other_details(
    trial: CardsOnTrial, order_id: str, other: dict[str, Any]
) -> None:
    details = ChargeDetails(await trial.add_customer(), None, "ada@example.com", "Order 1001", ADA)
    await announce(trial, order_id, details)
    with pytest.raises(RefusedError):
        await announce(trial, order_id, replace(details, **other))


async def test_a_customer_whom_nobody_knows_is_an_answer(
    trial: CardsOnTrial, order_id: str
) -> None:
    for _ in range(2):  # and the same one when it is asked for again
        with pytest.raises(UnknownCustomerError) as refusal:
            await announce(trial, order_id, ChargeDetails("cus_nobodys"))
        assert refusal.value.code == "resource_missing"


@pytest.mark.parametrize("away", [True, False])
async def test_a_saved_card_is_charged_for_its_customer_as_often_as_wanted(
    trial: CardsOnTrial, order_id: str, *, away: bool
) -> None:
    customer = await trial.add_customer()
    saved = await trial.save_card(customer, VISA)
    for order in (f"{order_id}-1", f"{order_id}-2"):
        paid = await charge(trial, order, saved, ChargeDetails(customer), off_session=away)
        assert (paid.state, paid.captured) == (ChargeState.CAPTURED, PRICE)


async def test_a_saved_card_can_be_held_while_its_customer_is_away(
    trial: CardsOnTrial, order_id: str
) -> None:
    customer = await trial.add_customer()
    saved = await trial.save_card(customer, VISA)
    held = await charge(
        trial, order_id, saved, ChargeDetails(customer), off_session=True, hold=True
    )
    assert held.state is ChargeState.HELD


@pytest.mark.parametrize("away", [True, False])
@pytest.mark.parametrize("whose", ["another customer's", "of no customer named", "detached"])
async def test_a_card_that_is_not_the_customers_is_an_answer_and_another_one_pays(
    trial: CardsOnTrial, order_id: str, whose: str, *, away: bool
) -> None:
    customer = await trial.add_customer()
    owner = await trial.add_customer() if whose == "another customer's" else customer
    saved = await trial.save_card(owner, VISA)
    if whose == "detached":
        await trial.detach(saved)
    details = NO_DETAILS if whose == "of no customer named" else ChargeDetails(customer)
    with pytest.raises(UnusableCardError) as refusal:
        await charge(trial, order_id, saved, details, off_session=away)
    assert refusal.value.code
    assert (await announce(trial, order_id, details)).state is ChargeState.OPEN
    paid = await charge(trial, order_id, MASTERCARD, details, number=2)
    assert paid.state is ChargeState.CAPTURED


# -- a customer who is away ------------------------------------------------------------------------


async def test_a_bank_that_wants_the_customer_declines_while_they_are_away(
    trial: CardsOnTrial, order_id: str
) -> None:
    customer = await trial.add_customer()
    saved, details = await trial.save_card(customer, WANTS_CUSTOMER), ChargeDetails(customer)
    declined = await charge(trial, order_id, saved, details, off_session=True)
    assert declined.state is ChargeState.DECLINED
    assert declined.decline_code == AUTHENTICATION_REQUIRED
    assert declined.captured.amount == 0
    again = await charge(trial, order_id, saved, details, off_session=True)
    assert again == declined  # the same key, the same try
    assert await trial.cards.read(declined.payment_id) == declined
    assert await trial.cards.client_secret(declined.payment_id)


async def test_and_asks_the_same_customer_when_they_are_there(
    trial: CardsOnTrial, order_id: str
) -> None:
    customer = await trial.add_customer()
    saved, details = await trial.save_card(customer, WANTS_CUSTOMER), ChargeDetails(customer)
    away = await charge(trial, order_id, saved, details, off_session=True)
    there = await charge(trial, order_id, saved, details, number=2)
    assert (there.payment_id, there.state) == (away.payment_id, ChargeState.NEEDS_CUSTOMER)


@pytest.mark.parametrize("own", [True, False])
async def test_they_pay_the_same_charge_in_the_browser(
    trial: CardsOnTrial, order_id: str, *, own: bool
) -> None:
    customer = await trial.add_customer()
    saved, details = await trial.save_card(customer, WANTS_CUSTOMER), ChargeDetails(customer)
    declined = await charge(trial, order_id, saved, details, off_session=True)
    await trial.confirm_in_browser(declined.payment_id, saved if own else MASTERCARD)
    if own:
        waiting = await trial.cards.read(declined.payment_id)
        assert waiting.state is ChargeState.NEEDS_CUSTOMER
        await trial.authenticate(declined.payment_id, succeeds=True)
    paid = await trial.cards.read(declined.payment_id)
    assert (paid.state, paid.captured) == (ChargeState.CAPTURED, PRICE)


async def test_another_card_pays_the_same_charge(trial: CardsOnTrial, order_id: str) -> None:
    customer = await trial.add_customer()
    saved, details = await trial.save_card(customer, WANTS_CUSTOMER), ChargeDetails(customer)
    declined = await charge(trial, order_id, saved, details, off_session=True)
    paid = await charge(trial, order_id, MASTERCARD, details, number=2)
    assert (paid.payment_id, paid.state) == (declined.payment_id, ChargeState.CAPTURED)


async def test_a_key_is_refused_for_a_customer_who_has_come_or_gone(
    trial: CardsOnTrial, order_id: str
) -> None:
    customer = await trial.add_customer()
    saved, details = await trial.save_card(customer, VISA), ChargeDetails(customer)
    await charge(trial, order_id, saved, details, off_session=True)
    with pytest.raises(RefusedError):
        await charge(trial, order_id, saved, details)


# -- saving a card ---------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", list(FutureUsage))
async def test_a_card_that_has_paid_is_saved_if_that_is_wanted(
    trial: CardsOnTrial, order_id: str, usage: FutureUsage
) -> None:
    customer = await trial.add_customer()
    await charge(trial, f"{order_id}-1", VISA, ChargeDetails(customer, usage))
    [saved] = await trial.cards_of(customer)
    paid = await charge(trial, f"{order_id}-2", saved, ChargeDetails(customer), off_session=True)
    assert paid.state is ChargeState.CAPTURED


async def test_a_card_is_not_saved_otherwise(trial: CardsOnTrial, order_id: str) -> None:
    customer = await trial.add_customer()
    await charge(trial, order_id, VISA, ChargeDetails(customer))
    assert await trial.cards_of(customer) == []


async def test_a_card_that_was_declined_is_not_saved(trial: CardsOnTrial, order_id: str) -> None:
    customer = await trial.add_customer()
    details = ChargeDetails(customer, FutureUsage.OFF_SESSION)
    declined = await charge(trial, order_id, "pm_card_visa_chargeDeclined", details)
    assert declined.state is ChargeState.DECLINED
    assert await trial.cards_of(customer) == []


@pytest.mark.parametrize("usage", list(FutureUsage))
async def test_a_card_that_was_set_up_for_it_needs_its_customer_no_more(
    trial: CardsOnTrial, order_id: str, usage: FutureUsage
) -> None:
    customer = await trial.add_customer()
    first = await charge(trial, f"{order_id}-1", NEED_SETUP, ChargeDetails(customer, usage))
    assert first.state is ChargeState.NEEDS_CUSTOMER
    await trial.authenticate(first.payment_id, succeeds=True)
    [saved] = await trial.cards_of(customer)
    later = await charge(trial, f"{order_id}-2", saved, ChargeDetails(customer), off_session=True)
    wanted = {
        FutureUsage.OFF_SESSION: ChargeState.CAPTURED,
        FutureUsage.ON_SESSION: ChargeState.DECLINED,
    }
    assert later.state is wanted[usage]


# -- what Stripe is sent ---------------------------------------------------------------------------


@pytest_asyncio.fixture
async def cards(control: SandboxControl) -> AsyncIterator[StripeCards]:
    async with StripeCards("sk_test_sandbox", api_base=control.url) as provider:
        yield provider


async def creates(control: SandboxControl, after: int) -> list[dict[str, list[str]]]:
    """The parameters of each request for a new intent since ``after``."""
    return [
        parse_qs(sent.parameters)
        for sent in await control.sent_to_stripe(after)
        if (sent.method, sent.path) == ("POST", "/v1/payment_intents")
    ]


async def test_what_an_intent_carries_is_what_the_order_has(
    control: SandboxControl, cards: StripeCards, order_id: str
) -> None:
    customer = (await control.new_customer())["customer"]
    details = ChargeDetails(customer, FutureUsage.OFF_SESSION, "ada@example.com", "Order 1001", ADA)
    before = await control.newest_request()
    for _ in range(2):
        await cards.create(
            installation=INSTALLATION,
            order_id=order_id,
            amount=PRICE,
            key=payment_key(order_id),
            details=details,
        )
    first, again = await creates(control, before)
    assert first == again
    carried = {name: value for name, [value] in first.items()}
    assert (
        carried.items()
        >= {
            "customer": customer,
            "description": "Order 1001",
            "receipt_email": "ada@example.com",
            "setup_future_usage": "off_session",
            "shipping[name]": "Ada Lovelace",
            "shipping[address][line1]": "12 St James's Square",
            "shipping[address][line2]": "London, UK",
        }.items()
    )


@pytest.mark.parametrize("email", ["用户@例子.广告", "ada@exämple.com"])
async def test_an_address_that_gets_no_receipt_is_left_out_and_the_order_goes_on(
    control: SandboxControl, cards: StripeCards, order_id: str, email: str
) -> None:
    before = await control.newest_request()
    charges = [
        await cards.create(
            installation=INSTALLATION,
            order_id=order_id,
            amount=PRICE,
            key=payment_key(order_id),
            details=ChargeDetails(receipt_email=email, description="Order 1001"),
        )
        for _ in range(2)
    ]
    assert charges[0] == charges[1]
    sent = await creates(control, before)
    assert [request.get("receipt_email") for request in sent] == [[email], None] * 2
    assert len((await control.page(order_id))["payments"]) == 1
