"""Saved cards, charged while their customer is away: real processes, Stripe's SDK, webhooks."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from demo.environment import DemoEnvironment
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.order import FutureUsage, PaymentOptions
from sandbox.books_client import OrderBooks
from tests.e2e.api_processes import an_edge
from tests.e2e.test_long_lives import Shift, shift
from tests.e2e.test_payment_news import at_stripe, payment_of
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

WANTS_CUSTOMER = "pm_card_authenticationRequired"
WAITING = "waiting for the customer to confirm"


class Stripe:
    """What a shop asks of Stripe by itself: its customers and their cards."""

    def __init__(self, environment: DemoEnvironment) -> None:
        self._url = environment.sandbox.stand_in_url
        self._key = environment.sandbox.settings["STRIPE_API_KEY"]

    async def customer(self, card: str = "pm_card_visa") -> tuple[str, str]:
        """A new customer, and their saved card."""
        async with self._asking() as http:
            made = await http.post("/sandbox/customers", data={"payment_method": card})
            customer, saved = made.raise_for_status().json().values()
        return str(customer), str(saved)

    async def cards_of(self, customer: str) -> list[str]:
        async with self._asking() as http:
            listed = await http.get(f"/v1/customers/{customer}/payment_methods")
            return [method["id"] for method in listed.raise_for_status().json()["data"]]

    async def detach(self, saved: str) -> None:
        async with self._asking() as http:
            (await http.post(f"/v1/payment_methods/{saved}/detach")).raise_for_status()

    async def delete(self, customer: str) -> None:
        async with self._asking() as http:
            (await http.delete(f"/v1/customers/{customer}")).raise_for_status()

    def _asking(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self._key}"}
        return httpx.AsyncClient(base_url=self._url, headers=headers, timeout=30)


@pytest.fixture
def stripe(environment: DemoEnvironment) -> Stripe:
    return Stripe(environment)


async def from_away(trials: Trials, customer: str, card: str) -> str:
    """An order of a customer who is away, started; its id."""
    options = PaymentOptions(customer, off_session=True)
    order_id = await trials.place(card=card, options=options)
    await trials.environment.orders.start(order_id)
    return order_id


async def is_asked(environment: DemoEnvironment, order_id: str) -> None:
    """Return once the order waits for its customer, and they have the mail."""

    async def asked() -> bool:
        return (await environment.orders.status(order_id)).doing == WAITING

    async def mailed() -> bool:
        return len(requests_in(await environment.books.order(order_id))) == 1

    await eventually(asked, within=30)
    await eventually(mailed, within=30)


def requests_in(books: OrderBooks) -> list[str]:
    """The keys of the mails that ask the customer."""
    return [key for key in books.mails_by_key() if str(key).endswith(":payment_request")]


async def test_a_card_is_saved_by_one_order_and_charged_by_the_next_while_its_customer_is_away(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe
) -> None:
    await shift.begins()
    customer, _ = await stripe.customer()
    saves = PaymentOptions(
        customer, setup_future_usage=FutureUsage.OFF_SESSION, receipt_email="ada@example.com"
    )
    first = await trials.place(card="pm_card_mastercard", options=saves)
    await environment.orders.start(first)
    await trials.outcome(first)
    [new, _] = await stripe.cards_of(customer)  # newest first
    second = await from_away(trials, customer, new)
    assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED] * 2
    [payment] = (await environment.books.order(second)).payments
    assert [charge.status for charge in payment.charges] == ["succeeded"]


@pytest.mark.parametrize("browser", ["the same card", "another card"])
async def test_a_customer_whose_bank_wants_them_pays_in_the_browser_once(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe, browser: str
) -> None:
    await shift.begins(PAYMENT_TIMEOUT_MINUTES="60")
    customer, saved = await stripe.customer(WANTS_CUSTOMER)
    async with an_edge(environment):
        order_id = await from_away(trials, customer, saved)
        await is_asked(environment, order_id)
        payment_id = await payment_of(environment, order_id)
        card = saved if browser == "the same card" else "pm_card_mastercard"
        await at_stripe(environment, f"{payment_id}/confirm", payment_method=card)
        if browser == "the same card":
            await at_stripe(environment, f"{payment_id}/authenticate", outcome="succeed")
        [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED
    books = await environment.books.order(order_id)
    [payment] = books.payments
    assert [charge.status for charge in payment.charges] == ["failed", "succeeded"]
    assert len(requests_in(books)) == 1


async def test_a_customer_who_brings_another_card_is_charged_once(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe
) -> None:
    await shift.begins(PAYMENT_TIMEOUT_MINUTES="60")
    customer, saved = await stripe.customer(WANTS_CUSTOMER)
    order_id = await from_away(trials, customer, saved)
    await is_asked(environment, order_id)
    await environment.orders.submit_payment_method(order_id, "pm_card_mastercard")
    [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED
    [payment] = (await environment.books.order(order_id)).payments
    assert [charge.status for charge in payment.charges] == ["failed", "succeeded"]


async def test_a_customer_who_does_not_come_pays_nothing(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe
) -> None:
    await shift.begins(PAYMENT_TIMEOUT_MINUTES="0.05")
    customer, saved = await stripe.customer(WANTS_CUSTOMER)
    order_id = await from_away(trials, customer, saved)
    [outcome] = await trials.outcomes()
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.PAYMENT_TIMED_OUT
    books = await environment.books.order(order_id)
    assert (books.captured, [payment.status for payment in books.payments]) == (0, ["canceled"])


async def test_a_worker_that_dies_while_the_customer_is_asked_asks_no_second_time(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe
) -> None:
    """The next worker has another page for payments: the mail that was sent stays the one."""
    await shift.begins(PAYMENT_TIMEOUT_MINUTES="60")
    customer, saved = await stripe.customer(WANTS_CUSTOMER)
    await environment.faults.inject("resend.emails.send", "hang_up_after", times=None)
    order_id = await from_away(trials, customer, saved)
    await is_asked(environment, order_id)  # and no worker knows of the mail
    await shift.ends()
    await environment.faults.clear()
    await shift.begins(PAYMENT_TIMEOUT_MINUTES="60", PAYMENT_URL="https://other.example/{order_id}")

    async def is_noted() -> bool:
        history = (await environment.orders.view(order_id)).history
        return any(line.event == "payment_request_mailed" for line in history)

    await eventually(is_noted, within=60)
    payment_id = await payment_of(environment, order_id)
    await at_stripe(environment, f"{payment_id}/confirm", payment_method="pm_card_mastercard")
    await environment.orders.payment_updated(order_id)
    [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED
    assert len(requests_in(await environment.books.order(order_id))) == 1


async def test_whose_card_it_is_not_is_told_as_an_answer(
    environment: DemoEnvironment, shift: Shift, trials: Trials, stripe: Stripe
) -> None:
    await shift.begins()
    (one, theirs), (other, detached), (deleted, last) = await asyncio.gather(
        *(stripe.customer() for _ in range(3))
    )
    await stripe.detach(detached)
    await stripe.delete(deleted)
    for customer, card in (
        (other, theirs),
        (other, detached),
        (deleted, last),
        ("cus_nobodys", theirs),
    ):
        await from_away(trials, customer, card)
    outcomes = await trials.outcomes()
    assert {outcome.status for outcome in outcomes} == {Status.REJECTED}
    assert [outcome.stop and outcome.stop.reason for outcome in outcomes] == [
        StopReason.CARD_UNUSABLE,
        StopReason.CARD_UNUSABLE,
        StopReason.CUSTOMER_UNKNOWN,
        StopReason.CUSTOMER_UNKNOWN,
    ]
    assert await stripe.cards_of(one) == [theirs]
