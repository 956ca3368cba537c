"""The card providers on trial: each with what a test needs to do behind the provider's back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

import pytest

from orders.ports import Cards, NoAnswerError
from providers.stripe import StripeCards
from tests.contracts.conftest import Desk
from tests.fakes.cards import InMemoryCards

IN_MEMORY: Final = "in memory"
ON_SANDBOX: Final = "Stripe's SDK on the sandbox"
AT_STRIPE: Final = "Stripe's test mode"

#: How a question can go wrong, as the sandbox calls it.
FAILURES: Final = ("hang_up", "hang_up_after", "error", "rate_limit")


class CardsOnTrial(Protocol):
    """A card provider, and its back door."""

    @property
    def cards(self) -> Cards: ...
    async def break_next(self, method: str, failure: str, order_id: str) -> None: ...
    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None: ...
    async def finish_processing(self, payment_id: str, *, captured: bool) -> None: ...
    async def lapse(self, payment_id: str) -> None: ...
    async def settle_refund(self, key: str, refund_id: str) -> None: ...
    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        """(charges, refunds, taken, given back) as the provider's own books have them."""
        ...


class FakeOnTrial:
    def __init__(self) -> None:
        self.cards = InMemoryCards()

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        if failure == "hang_up_after":
            self.cards.lose_answer_next(method)
        else:
            wait = timedelta(seconds=7) if failure == "rate_limit" else None
            self.cards.fail_next(method, NoAnswerError(failure, retry_after=wait))

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        self.cards.authenticate(payment_id, succeeds=succeeds)

    async def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        self.cards.finish_processing(payment_id, captured=captured)

    async def lapse(self, payment_id: str) -> None:
        self.cards.lapse(payment_id)

    async def settle_refund(self, key: str, refund_id: str) -> None:
        self.cards.settle_refund(key)

    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        refunds = [r for r in self.cards.refunds.values() if r.order_id == order_id]
        return (
            len(self.cards.charges_of(order_id)),
            len(refunds),
            self.cards.taken(order_id),
            self.cards.given_back(order_id),
        )


class SandboxOnTrial:
    _ENDPOINTS: Final = {
        "create": "stripe.payment_intents.create",
        "confirm": "stripe.payment_intents.confirm",
        "read": "stripe.payment_intents.retrieve",
        "cancel": "stripe.payment_intents.cancel",
        "capture": "stripe.payment_intents.capture",
        "client_secret": "stripe.payment_intents.retrieve",
        "refund": "stripe.refunds.create",
    }

    def __init__(self, cards: Cards, desk: Desk) -> None:
        self.cards = cards
        self._desk = desk

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        await self._desk.turn(self._ENDPOINTS[method], failure, order_id, seconds=7)

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        await self._desk.authenticate(payment_id, "succeed" if succeeds else "fail")

    async def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        await self._desk.settle(payment_id, "succeed" if captured else "fail")

    async def lapse(self, payment_id: str) -> None:
        await self._desk.lapse(payment_id)

    async def settle_refund(self, key: str, refund_id: str) -> None:
        await self._desk.settle_refund(refund_id)

    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        page = await self._desk.page(order_id)
        return len(page["payments"]), len(page["refunds"]), page["captured"], page["refunded"]


class StripeOnTrial:
    """Stripe itself: there is no back door, so what needs one is skipped."""

    def __init__(self, cards: Cards) -> None:
        self.cards = cards

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        pytest.skip("Stripe does not fail on request")

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        pytest.skip("at Stripe only a browser can pass 3-D Secure")

    async def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        pytest.skip("Stripe has no test card that stays in processing")

    async def lapse(self, payment_id: str) -> None:
        pytest.skip("at Stripe a hold lapses after days")

    async def settle_refund(self, key: str, refund_id: str) -> None:
        pytest.skip("at Stripe a bank takes its time")

    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        pytest.skip("Stripe's books are what the provider reads anyway")


@asynccontextmanager
async def on_trial(name: str, desk: Desk) -> AsyncIterator[CardsOnTrial]:
    """The provider called ``name``, closed afterwards."""
    if name == IN_MEMORY:
        yield FakeOnTrial()
    elif name == ON_SANDBOX:
        async with StripeCards("sk_test_sandbox", api_base=desk.url) as cards:
            yield SandboxOnTrial(cards, desk)
    else:
        key = os.environ.get("STRIPE_TEST_KEY", "")
        if not key.startswith("sk_test_"):
            pytest.skip("set STRIPE_TEST_KEY=sk_test_… to run this against Stripe itself")
        async with StripeCards(key) as cards:
            yield StripeOnTrial(cards)
