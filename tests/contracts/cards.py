"""The card providers under test, each with controls for events outside of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

import pytest
import stripe

from durable_orders.domain.ports import BusyError, CardCharge, Cards, LockedOutError, NoAnswerError
from durable_orders.providers.stripe.cards import StripeCards
from tests.contracts.conftest import SandboxControl
from tests.contracts.stripe_account import (
    API_BASE,
    AT_STRIPE,
    ON_SANDBOX,
    stripe_client,
    stripe_test_key,
)
from tests.fakes.cards import InMemoryCards

__all__ = ["AT_STRIPE", "IN_MEMORY", "ON_SANDBOX", "CardsOnTrial", "on_trial"]

IN_MEMORY: Final = "in memory"

#: Failures of a request, by the names of the sandbox, and what they mean.
FAILURES: Final = {
    "hang_up": NoAnswerError,
    "hang_up_after": NoAnswerError,
    "error": NoAnswerError,
    "rate_limit": BusyError,
    "lock_timeout": BusyError,
    "restrict": LockedOutError,
}


class CardsOnTrial(Protocol):
    """A card provider, with controls outside of the port."""

    @property
    def cards(self) -> Cards: ...
    async def add_customer(self) -> str: ...
    async def save_card(self, customer: str, card: str) -> str: ...
    async def cards_of(self, customer: str) -> list[str]: ...
    async def detach(self, method: str) -> None: ...
    async def break_next(self, method: str, failure: str, order_id: str) -> None: ...
    async def decline_capture(self, charge: CardCharge, order_id: str, code: str) -> None: ...
    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None: ...
    async def confirm_in_browser(self, payment_id: str, card: str) -> None: ...
    async def finish_processing(self, payment_id: str, *, captured: bool) -> None: ...
    async def lapse(self, payment_id: str) -> None: ...
    async def settle_refund(self, key: str, refund_id: str) -> None: ...
    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        """(charges, refunds, captured, refunded) from the provider's own records."""
        ...


class FakeOnTrial:
    def __init__(self) -> None:
        self.cards = InMemoryCards()

    async def add_customer(self) -> str:
        return self.cards.add_customer()

    async def save_card(self, customer: str, card: str) -> str:
        return self.cards.save_card(customer, card)

    async def cards_of(self, customer: str) -> list[str]:
        return self.cards.cards_of(customer)

    async def detach(self, method: str) -> None:
        self.cards.detach(method)

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        if failure == "hang_up_after":
            self.cards.lose_answer_next(method)
        else:
            wait = timedelta(seconds=7) if failure == "rate_limit" else None
            self.cards.fail_next(method, FAILURES[failure](failure, retry_after=wait))

    async def decline_capture(self, charge: CardCharge, order_id: str, code: str) -> None:
        self.cards.decline_capture(charge.payment_id, code)

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        self.cards.authenticate(payment_id, succeeds=succeeds)

    async def confirm_in_browser(self, payment_id: str, card: str) -> None:
        self.cards.confirm_in_browser(payment_id, card)

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


class _Customers:
    """Customers and their cards at Stripe, or at the stand-in: what a shop asks for by itself."""

    def __init__(self, cards: Cards, shop: stripe.StripeClient) -> None:
        self.cards = cards
        self._shop = shop.v1

    async def add_customer(self) -> str:
        return (await self._shop.customers.create_async()).id

    async def save_card(self, customer: str, card: str) -> str:
        saved = await self._shop.payment_methods.attach_async(card, {"customer": customer})
        return saved.id

    async def cards_of(self, customer: str) -> list[str]:
        listed = await self._shop.customers.payment_methods.list_async(customer)
        return [method.id for method in reversed(listed.data)]

    async def detach(self, method: str) -> None:
        await self._shop.payment_methods.detach_async(method)


class SandboxOnTrial(_Customers):
    _ENDPOINTS: Final = {
        "create": "stripe.payment_intents.create",
        "confirm": "stripe.payment_intents.confirm",
        "read": "stripe.payment_intents.retrieve",
        "cancel": "stripe.payment_intents.cancel",
        "capture": "stripe.payment_intents.capture",
        "client_secret": "stripe.payment_intents.retrieve",
        "refund": "stripe.refunds.create",
    }

    def __init__(self, cards: Cards, shop: stripe.StripeClient, control: SandboxControl) -> None:
        super().__init__(cards, shop)
        self._control = control

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        await self._control.turn(self._ENDPOINTS[method], failure, order_id, seconds=7)

    async def decline_capture(self, charge: CardCharge, order_id: str, code: str) -> None:
        capture = self._ENDPOINTS["capture"]
        await self._control.turn(capture, "refuse", order_id, reason=code, times=None)

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        await self._control.authenticate(payment_id, "succeed" if succeeds else "fail")

    async def confirm_in_browser(self, payment_id: str, card: str) -> None:
        await self._control.confirm(payment_id, card)

    async def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        await self._control.settle(payment_id, "succeed" if captured else "fail")

    async def lapse(self, payment_id: str) -> None:
        await self._control.lapse(payment_id)

    async def settle_refund(self, key: str, refund_id: str) -> None:
        await self._control.settle_refund(refund_id)

    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        page = await self._control.page(order_id)
        return len(page["payments"]), len(page["refunds"]), page["captured"], page["refunded"]


class StripeOnTrial(_Customers):
    """Stripe itself: it has no such controls, so tests that need them are skipped."""

    async def break_next(self, method: str, failure: str, order_id: str) -> None:
        pytest.skip("Stripe does not fail on request")

    async def decline_capture(self, charge: CardCharge, order_id: str, code: str) -> None:
        pytest.skip("Stripe has no test card whose capture is declined")

    async def authenticate(self, payment_id: str, *, succeeds: bool) -> None:
        pytest.skip("at Stripe only a browser can pass 3-D Secure")

    async def confirm_in_browser(self, payment_id: str, card: str) -> None:
        pytest.skip("at Stripe only a browser can do that")

    async def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        pytest.skip("Stripe has no test card that stays in processing")

    async def lapse(self, payment_id: str) -> None:
        pytest.skip("at Stripe a hold lapses after days")

    async def settle_refund(self, key: str, refund_id: str) -> None:
        pytest.skip("at Stripe a bank takes its time")

    async def totals(self, order_id: str) -> tuple[int, int, int, int]:
        pytest.skip("Stripe's books are what the provider reads anyway")


@asynccontextmanager
async def on_trial(name: str, control: SandboxControl) -> AsyncIterator[CardsOnTrial]:
    """The provider called ``name``, closed afterwards."""
    if name == IN_MEMORY:
        yield FakeOnTrial()
    elif name == ON_SANDBOX:
        key = "sk_test_sandbox"
        async with (
            StripeCards(key, api_base=control.url) as cards,
            stripe_client(key, control.url) as shop,
        ):
            yield SandboxOnTrial(cards, shop, control)
    else:
        key = stripe_test_key()
        async with (
            StripeCards(key, api_base=API_BASE) as cards,
            stripe_client(key, API_BASE) as shop,
        ):
            yield StripeOnTrial(cards, shop)
