"""Several tries to pay an order: other cards, the browser, a customer who is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.payment_status import (
    CustomerActionRequired,
    PaymentDeclined,
    PaymentProgress,
)
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import (
    NewCard,
    PaymentChange,
    PaymentUpdate,
    Resolve,
)
from tests.fakes.cards import PROCESSING
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop
from tests.workflows.test_waiting import DECLINED, THREE_D_SECURE, reached, reason, wanted
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

MASTERCARD = "pm_card_mastercard"
NOT_NOW = "pm_card_chargeDeclinedProcessingError"
WINDOW = timedelta(minutes=1)


def charge_of(shop: Shop, handle: Handle) -> CardCharge:
    """The one charge of the order at the provider."""
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    return charge


def cards_of(shop: Shop, handle: Handle) -> list[str]:
    """The cards that the order's charge was confirmed with, also in the browser."""
    methods = shop.cards.confirmations[charge_of(shop, handle).payment_id]
    saved = shop.cards.saved
    return [saved[method].card if method in saved else method for method in methods]


async def tries_of(shop: Shop, handle: Handle) -> list[tuple[int, str]]:
    """Our tries in the ledger."""
    [payment] = (await shop.book.view(handle.id.removeprefix("order-"))).payments
    return [(one.number, one.state) for one in payment.tries]


async def shown(handle: Handle, kind: type[PaymentProgress]) -> PaymentProgress:
    """What the shopper is shown, once it is of this kind."""
    news: PaymentProgress = await handle.query(OrderWorkflow.payment_news)

    async def there() -> bool:
        nonlocal news
        news = await handle.query(OrderWorkflow.payment_news)
        return isinstance(news, kind)

    await eventually(there)
    return news


async def new_card(handle: Handle, card: str) -> int:
    """Bring another card; the number of its try."""
    await wanted(handle)
    accepted = await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(card))
    return accepted.number


async def by_webhook(handle: Handle) -> None:
    await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(PaymentChange.PAID))


async def by_command(handle: Handle) -> None:
    await handle.signal(OrderWorkflow.payment_updated)


TOLD = pytest.mark.parametrize("tell", [by_webhook, by_command])


class TestTheBrowser:
    """The customer goes on in the browser, with the same charge."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=WINDOW)

    @TOLD
    async def test_a_customer_who_fails_3d_secure_pays_with_another_card(
        self, shop: Shop, tell: Callable[[Handle], Awaitable[None]]
    ) -> None:
        handle = await shop.order(THREE_D_SECURE, waits=True)
        await reached(shop, handle, Status.AWAITING_PAYMENT)
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.authenticate(payment_id, succeeds=False)
        await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(PaymentChange.DECLINED))
        declined = await shown(handle, PaymentDeclined)
        assert declined == PaymentDeclined(
            "payment_intent_authentication_failure", another_card=True
        )
        shop.cards.confirm_in_browser(payment_id, MASTERCARD)
        await tell(handle)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert cards_of(shop, handle) == [THREE_D_SECURE, MASTERCARD]
        assert await tries_of(shop, handle) == [(1, "declined")]  # the other one was the browser's

    @TOLD
    async def test_a_customer_whose_card_is_declined_pays_with_another_one(
        self, shop: Shop, tell: Callable[[Handle], Awaitable[None]]
    ) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id, MASTERCARD)
        await tell(handle)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert cards_of(shop, handle) == [DECLINED, MASTERCARD]

    async def test_a_payment_that_nobody_told_of_is_seen_before_the_order_is_given_up(
        self, shop: Shop
    ) -> None:
        gate = shop.cards.hold("read")  # when the minute is over
        handle = await shop.order(DECLINED)
        await gate.entered()
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id, MASTERCARD)
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_second_3d_secure_in_the_browser_has_its_own_time(self, shop: Shop) -> None:
        """The minute for other cards ends while the customer is at the bank."""
        gate = shop.cards.hold("read")
        handle = await shop.order(DECLINED)
        await gate.entered()
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.confirm_in_browser(payment_id, THREE_D_SECURE)
        later = shop.cards.hold("read")
        gate.release()
        await later.entered()
        assert await shown(handle, CustomerActionRequired) == CustomerActionRequired(payment_id)
        shop.cards.authenticate(payment_id)
        later.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    @pytest.mark.parametrize("card", [THREE_D_SECURE, PROCESSING])
    async def test_a_card_is_not_tried_while_the_browser_is_busy_with_another(
        self, shop: Shop, card: str
    ) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.confirm_in_browser(payment_id, card)
        assert await new_card(handle, MASTERCARD) == 2
        await reached(shop, handle, Status.AWAITING_PAYMENT)

        async def never_to_be_made() -> bool:
            return await tries_of(shop, handle) == [(1, "declined"), (2, "cancelled")]

        await eventually(never_to_be_made)
        assert cards_of(shop, handle) == [DECLINED, card]
        if card == PROCESSING:
            shop.cards.finish_processing(payment_id, captured=True)
        else:
            shop.cards.authenticate(payment_id)
        await by_webhook(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert cards_of(shop, handle) == [DECLINED, card]

    async def test_another_decline_in_the_browser_is_no_news_and_no_end(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        payment_id = charge_of(shop, handle).payment_id
        calls = list(shop.cards.calls)
        shop.cards.confirm_in_browser(payment_id, DECLINED)
        await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(PaymentChange.DECLINED))
        await wanted(handle)
        assert shop.cards.calls == calls
        shop.cards.confirm_in_browser(payment_id, MASTERCARD)
        await by_webhook(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_browser_that_pays_just_before_our_own_try_pays_once(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        gate = shop.ledger.hold("announce")
        await new_card(handle, MASTERCARD)
        await gate.entered()
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        gate.release()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert outcome.taken == TOTAL


class TestWhoIsPresent:
    """A decline for now, of a customer in front of the page and of one who is away."""

    async def test_is_told_at_once_that_the_card_did_not_go_through(self, shop: Shop) -> None:
        handle = await shop.order(NOT_NOW)
        outcome = await shop.check(await handle.result())
        assert reason(outcome) is StopReason.CARD_DECLINED
        assert cards_of(shop, handle) == [NOT_NOW]
        described = await handle.describe()
        assert described.close_time is not None
        assert described.close_time - described.start_time < timedelta(minutes=1)

    @pytest.mark.parametrize("terms", [ShopTerms(new_card_window=timedelta(minutes=15))])
    @pytest.mark.parametrize("card", [MASTERCARD, NOT_NOW])
    async def test_may_bring_another_card_or_the_same_one_and_nothing_else_is_charged(
        self, shop: Shop, card: str
    ) -> None:
        handle = await shop.order(NOT_NOW, waits=True)
        assert await shown(handle, PaymentDeclined) == PaymentDeclined(
            "processing_error", another_card=True
        )
        await new_card(handle, card)
        if card == NOT_NOW:
            await wanted(handle)
            await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())
        assert cards_of(shop, handle) == [NOT_NOW, card]

    @pytest.mark.parametrize("terms", [ShopTerms(new_card_window=timedelta(minutes=15))])
    async def test_nothing_is_charged_by_itself_however_long_they_wait(self, shop: Shop) -> None:
        handle = await shop.order(NOT_NOW)
        outcome = await shop.check(await handle.result())
        assert reason(outcome) is StopReason.CARD_DECLINED
        assert cards_of(shop, handle) == [NOT_NOW]


class TestWhoIsAway:
    async def test_has_the_same_card_tried_twice_more_on_the_same_charge(self, shop: Shop) -> None:
        handle = await shop.order_from_away(NOT_NOW)
        outcome = await shop.check(await handle.result())
        assert reason(outcome) is StopReason.CARD_DECLINED
        assert cards_of(shop, handle) == [NOT_NOW] * 3
        assert await tries_of(shop, handle) == [(n, "declined") for n in (1, 2, 3)]
        assert charge_of(shop, handle).state is ChargeState.CANCELLED

    async def test_is_not_tried_again_after_a_plain_decline(self, shop: Shop) -> None:
        handle = await shop.order_from_away(DECLINED)
        assert reason(await shop.check(await handle.result())) is StopReason.CARD_DECLINED
        assert cards_of(shop, handle) == [DECLINED]

    async def test_is_not_charged_by_itself_for_a_card_that_they_bring(self, shop: Shop) -> None:
        """Whoever brings a card is there: they are told, and decide."""
        handle = await shop.order_from_away(NOT_NOW, waits=True)
        await new_card(handle, NOT_NOW)
        assert reason(await shop.check(await handle.result())) is StopReason.CARD_DECLINED
        assert cards_of(shop, handle) == [NOT_NOW] * 2

    async def test_may_bring_another_card_during_the_pause(self, shop: Shop) -> None:
        handle = await shop.order_from_away(NOT_NOW, waits=True)
        await new_card(handle, MASTERCARD)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert cards_of(shop, handle) == [NOT_NOW, MASTERCARD]

    @TOLD
    async def test_may_pay_in_the_browser_during_the_pause(
        self, shop: Shop, tell: Callable[[Handle], Awaitable[None]]
    ) -> None:
        handle = await shop.order_from_away(NOT_NOW, waits=True)
        await wanted(handle)
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        await tell(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert cards_of(shop, handle) == [NOT_NOW, MASTERCARD]


class TestTheLimits:
    @pytest.mark.parametrize(
        "terms", [ShopTerms(new_card_window=timedelta(hours=2), max_card_tries=3)]
    )
    async def test_an_order_has_so_many_tries_and_no_more(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        for number in (2, 3):
            assert await new_card(handle, DECLINED) == number
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.TOO_MANY_CARDS
        assert cards_of(shop, handle) == [DECLINED] * 3
        assert await handle.query(OrderWorkflow.payment_news) == PaymentDeclined("generic_decline")
        [mail] = [sent.mail for sent in shop.mailer.sent if outcome.order_id in sent.key]
        assert "none of the cards that were tried could be charged" in mail.text
        assert "Nothing was taken from your card." in mail.text

    @pytest.mark.parametrize("terms", [ShopTerms(max_card_tries=2)])
    async def test_tries_by_itself_count_too(self, shop: Shop) -> None:
        handle = await shop.order_from_away(NOT_NOW)
        assert reason(await shop.check(await handle.result())) is StopReason.TOO_MANY_CARDS
        assert cards_of(shop, handle) == [NOT_NOW] * 2

    @pytest.mark.parametrize("terms", [ShopTerms(new_card_window=timedelta(minutes=4))])
    async def test_there_is_one_window_for_all_cards(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await new_card(handle, DECLINED)
        await wanted(handle)
        await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())
        history = await handle.fetch_history()
        first, second = (
            event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            for event in history.events
            if event.HasField("timer_started_event_attributes")
        )
        assert second < first <= timedelta(minutes=4)

    @pytest.mark.parametrize("terms", [ShopTerms(new_card_window=timedelta(minutes=4))])
    async def test_a_customer_who_fails_3d_secure_after_the_window_has_no_second_one(
        self, shop: Shop
    ) -> None:
        declined = shop.cards.hold("read")  # a look when the four minutes are over
        handle = await shop.order(DECLINED)
        await declined.entered()
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.confirm_in_browser(payment_id, THREE_D_SECURE)
        asked = shop.cards.hold("read")
        declined.release()
        await asked.entered()
        shop.cards.authenticate(payment_id, succeeds=False)
        asked.release()
        outcome = await shop.check(await handle.result())
        assert reason(outcome) is StopReason.CARD_DECLINED
        described = await handle.describe()
        assert described.close_time is not None
        assert described.close_time - described.start_time < timedelta(minutes=10)


class TestAChargeThatEnded:
    """Stripe ends it: by hand in the dashboard, or after too many confirmations."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=2))

    @pytest.mark.parametrize("card", [DECLINED, THREE_D_SECURE])
    async def test_by_hand_ends_the_order_with_a_reason_of_its_own(
        self, shop: Shop, card: str
    ) -> None:
        handle = await shop.order(card, waits=True)
        await reached(shop, handle, Status.AWAITING_PAYMENT)
        shop.cards.cancel_by_hand(charge_of(shop, handle).payment_id)
        await by_command(handle)
        await self.ended(shop, handle)

    async def test_after_too_many_confirmations_too(self, shop: Shop) -> None:
        shop.cards.confirm_limit = 1
        handle = await shop.order(DECLINED, waits=True)
        await new_card(handle, MASTERCARD)
        await self.ended(shop, handle)

    async def ended(self, shop: Shop, handle: Handle) -> None:
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.PAYMENT_ENDED
        [mail] = [sent.mail for sent in shop.mailer.sent if outcome.order_id in sent.key]
        assert "its payment was cancelled before it was completed" in mail.text
        assert "declined" not in mail.text
        assert "Nothing was taken from your card." in mail.text

    async def test_paid_and_given_back_at_once_stops_the_order_and_tells_a_person(
        self, shop: Shop
    ) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.confirm_in_browser(payment_id)
        shop.cards.refund_by_hand(payment_id)
        await by_command(handle)

        async def tells() -> bool:
            return (await handle.query(OrderWorkflow.status)).attention is not None

        await eventually(tells)
        await handle.execute_update(OrderWorkflow.operate, Resolve("a mistake of ours"))
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REFUNDED
        assert reason(outcome) is StopReason.PAYMENT_RETURNED


async def test_a_try_that_stripe_may_have_forgotten_is_not_made_again(shop: Shop) -> None:
    """Its answer is missing for a day: whether the card was charged, no key can tell any more."""
    now = shop.database.clock
    shop.database.clock = lambda: now() - timedelta(hours=23)
    handle = await shop.order()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REJECTED
    assert reason(outcome) is StopReason.PAYMENT_TIMED_OUT
    assert cards_of(shop, handle) == []
