"""What the provider refuses of a charge: the customer's and the catalogue's noes, load, ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.domain.activity_messages import Attention, Outcome
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.payment_status import PaymentDeclined, payment_from_view
from durable_orders.domain.ports import (
    AmountRefusedError,
    BusyError,
    ChargeState,
    DatabaseAwayError,
    LockedOutError,
    NoAnswerError,
)
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import NewCard, RetryNow
from tests.fakes.cards import UNKNOWN
from tests.support.eventually import eventually
from tests.support.keys import mail_key
from tests.workflows import test_delivery as delivery
from tests.workflows.conftest import Shop, ended
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

SILENCE = NoAnswerError("nobody answers")
BUSY = BusyError("too many requests")
LOCKED = LockedOutError("the account is restricted")
SOON = timedelta(milliseconds=10)


async def completed(shop: Shop, handle: Handle) -> Outcome:
    """How the order ended: its run has completed, which pages nobody."""
    return await shop.check(await handle.result())


async def closing_mail(shop: Shop, outcome: Outcome) -> str:
    key = mail_key(outcome.order_id, "closing")
    [mail] = [m.mail for m in shop.mailer.sent if m.key == key]
    return mail.text


def reason(outcome: Outcome) -> StopReason | None:
    return outcome.stop.reason if outcome.stop else None


# -- what the customer brought ---------------------------------------------------------------------


async def test_a_payment_method_that_nobody_has_rejects_the_order_for_a_reason_of_its_own(
    shop: Shop,
) -> None:
    handle = await shop.order(UNKNOWN)
    outcome = await completed(shop, handle)
    assert outcome.status is Status.REJECTED
    assert reason(outcome) is StopReason.CARD_UNUSABLE
    assert shop.cards.calls.count("confirm") == 1  # asked once: the answer stays the same
    text = await closing_mail(shop, outcome)
    assert "the card or payment method you chose cannot be charged" in text
    assert "Nothing was taken from your card." in text
    assert "technical problem" not in text
    assert "your bank declined" not in text


async def test_the_shopper_hears_of_it_as_of_a_decline(shop: Shop) -> None:
    handle = await shop.order(UNKNOWN)
    outcome = await completed(shop, handle)
    declined = PaymentDeclined("resource_missing")
    assert await handle.query(OrderWorkflow.payment_news) == declined
    view = await shop.book.view(outcome.order_id)
    assert payment_from_view(view) == declined
    [line] = [line for line in view.history if line.event == "payment_unusable_card"]
    [payment] = view.payments
    assert line.detail == {
        "payment_id": payment.payment_id,
        "try": "1",
        "code": "resource_missing",
    }


async def wanted(handle: Handle) -> None:
    """Wait until the order waits for another card."""

    async def waits() -> bool:
        return (await handle.query(OrderWorkflow.status)).doing == "waiting for another card"

    await eventually(waits)


class TestAnotherCard:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=2))

    async def test_another_card_may_follow_one_that_nobody_has(self, shop: Shop) -> None:
        handle = await shop.order(UNKNOWN, waits=True)
        await wanted(handle)
        news = await handle.query(OrderWorkflow.payment_news)
        assert news == PaymentDeclined("resource_missing", another_card=True)
        card = NewCard("pm_card_mastercard")
        await handle.execute_update(OrderWorkflow.submit_payment_method, card)
        assert (await completed(shop, handle)).status is Status.COMPLETED

    @pytest.mark.parametrize("first", ["pm_card_visa_chargeDeclined", UNKNOWN])
    async def test_a_try_with_one_that_nobody_has_fails_and_the_order_waits_on(
        self, shop: Shop, first: str
    ) -> None:
        handle = await shop.order(first, waits=True)
        for card in (UNKNOWN, "pm_card_mastercard"):
            await wanted(handle)
            await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(card))
        outcome = await completed(shop, handle)
        assert outcome.status is Status.COMPLETED
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert charge.state is ChargeState.CAPTURED
        tries = (await shop.book.view(outcome.order_id)).payments[0].tries
        declined = ChargeState.DECLINED
        assert [one.state for one in tries] == [declined, declined, ChargeState.CAPTURED]

    async def test_no_other_card_in_time_keeps_the_reason(self, shop: Shop) -> None:
        """The order has looked at the payment several times meanwhile, and there was no news."""
        outcome = await completed(shop, await shop.order(UNKNOWN))
        assert reason(outcome) is StopReason.CARD_UNUSABLE
        assert shop.cards.calls.count("read") > 3

    async def test_the_window_and_the_tries_are_those_of_the_order(self, shop: Shop) -> None:
        """However many payment methods of nobody's are offered."""
        handle = await shop.order(UNKNOWN, waits=True)
        for _ in range(4):
            await wanted(handle)
            await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(UNKNOWN))
        outcome = await completed(shop, handle)
        assert reason(outcome) is StopReason.TOO_MANY_CARDS
        view = await shop.book.view(outcome.order_id)
        assert payment_from_view(view) == PaymentDeclined("resource_missing")
        assert "none of the cards that were tried" in await closing_mail(shop, outcome)

    @pytest.mark.parametrize("method", ["read", "confirm"])
    async def test_load_during_a_second_try_uses_up_none_of_its_own(
        self, shop: Shop, method: str
    ) -> None:
        handle = await shop.order("pm_card_visa_chargeDeclined", waits=True)
        await wanted(handle)
        for _ in range(2):
            shop.cards.fail_next(method, BUSY, times=4)
            shop.cards.fail_next(method, SILENCE)
        card = NewCard("pm_card_mastercard")
        await handle.execute_update(OrderWorkflow.submit_payment_method, card)
        outcome = await completed(shop, handle)
        assert outcome.status is Status.COMPLETED
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert shop.cards.confirmations[charge.payment_id] == [
            "pm_card_visa_chargeDeclined",
            "pm_card_mastercard",
        ]
        assert len(shop.cards.sent) == len(set(shop.cards.sent)) == 2


class TestAShortWindow:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(seconds=4))

    async def test_one_that_nobody_has_after_a_decline_is_the_last_reason(self, shop: Shop) -> None:
        handle = await shop.order("pm_card_visa_chargeDeclined", waits=True)
        await wanted(handle)
        await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(UNKNOWN))
        outcome = await completed(shop, handle)
        assert reason(outcome) is StopReason.CARD_UNUSABLE
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert shop.cards.confirmations[charge.payment_id] == ["pm_card_visa_chargeDeclined"]
        view = await shop.book.view(outcome.order_id)
        assert payment_from_view(view) == PaymentDeclined("resource_missing")


# -- what the catalogue brought --------------------------------------------------------------------


@pytest.mark.parametrize("code", ["amount_too_small", "amount_too_large", "amount_refused"])
async def test_an_amount_that_stripe_alone_knows_to_refuse_rejects_the_order(
    shop: Shop, code: str
) -> None:
    """The minimum is that of the settlement currency: no table says it when an order is placed."""
    shop.cards.fail_next("create", AmountRefusedError("no", code=code))
    outcome = await completed(shop, await shop.order())
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.AMOUNT_REFUSED
    assert outcome.stop.message == f"29.00 EUR cannot be charged to a card: {code}"
    assert "its total cannot be charged to a card" in await closing_mail(shop, outcome)


# -- a hold that the bank does not pay -------------------------------------------------------------


class TestHold:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    async def held(self, shop: Shop) -> Handle:
        """An order whose money is held, before its capture; the bank will not pay it."""
        gate = shop.warehouse.hold("fulfill")
        handle = await shop.order(waits=True)
        await gate.entered()
        [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
        shop.cards.decline_capture(charge.payment_id, "insufficient_funds")
        gate.release()
        return handle

    async def test_a_capture_that_is_declined_undoes_the_order_and_pages_nobody(
        self, shop: Shop
    ) -> None:
        outcome = await completed(shop, await self.held(shop))
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.HOLD_LAPSED
        assert "your bank no longer holds the money" in await closing_mail(shop, outcome)
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert charge.state is ChargeState.CANCELLED

    async def test_goods_that_have_left_unpaid_are_for_a_person(self, shop: Shop) -> None:
        gate = shop.cards.hold("capture")
        handle = await self.held(shop)
        await gate.entered()
        order_id = handle.id.removeprefix("order-")
        shop.warehouse.dispatch(order_id)
        await handle.signal(OrderWorkflow.cancel_order)
        gate.release()
        found = await attention(handle)
        assert "the bank no longer holds their money" in found.problem
        [charge] = shop.cards.charges_of(order_id)
        assert charge.state is ChargeState.HELD  # a person may still get it
        await handle.terminate()


# -- ours: the account -----------------------------------------------------------------------------


async def attention(handle: Handle) -> Attention:
    found: Attention | None = None

    async def flagged() -> bool:
        nonlocal found
        found = (await handle.query(OrderWorkflow.status)).attention
        return found is not None

    await eventually(flagged)
    assert found is not None
    return found


async def test_an_account_that_is_restricted_for_an_hour_delays_the_order_and_asks_for_a_person(
    shop: Shop,
) -> None:
    hour = 120  # tries, half a minute apart
    shop.cards.fail_next("create", LOCKED, times=hour)
    handle = await shop.order()
    outcome = await completed(shop, handle)
    assert outcome.status is Status.COMPLETED
    described = await handle.describe()
    assert described.close_time is not None
    assert described.close_time - described.start_time >= timedelta(minutes=59)
    assert described.typed_search_attributes[NEEDS_ATTENTION] is False


async def test_a_person_is_asked_at_once_and_may_have_it_tried_again(shop: Shop) -> None:
    shop.cards.fail_next("create", LockedOutError("the account is restricted", retry_after=HOURS))
    handle = await shop.order(waits=True)
    found = await attention(handle)
    assert (found.step, found.problem) == ("charge_card", "the account is restricted")
    assert found.can == ("retry_now", "skip_step")
    await handle.execute_update(OrderWorkflow.operate, RetryNow("ops-7"))
    assert (await completed(shop, handle)).status is Status.COMPLETED


HOURS = timedelta(hours=3)


async def test_a_cancellation_is_heard_while_the_account_is_restricted(shop: Shop) -> None:
    shop.cards.fail_next("create", LockedOutError("the account is restricted", retry_after=HOURS))
    handle = await shop.order(waits=True)
    await attention(handle)
    await handle.signal(OrderWorkflow.cancel_order)
    outcome = await completed(shop, handle)
    assert outcome.status is Status.CANCELLED
    assert (await handle.query(OrderWorkflow.status)).attention is None


# -- load ------------------------------------------------------------------------------------------


async def test_load_at_checkout_rejects_no_order(shop: Shop) -> None:
    """Three seconds of 429 or of lock_timeout are six requests that are not answered."""
    shop.cards.fail_next("create", BUSY, times=6)
    shop.cards.fail_next("confirm", BUSY, times=6)
    handle = await shop.order()
    outcome = await completed(shop, handle)
    assert outcome.status is Status.COMPLETED
    assert len(shop.cards.charges_of(outcome.order_id)) == 1


@pytest.mark.parametrize("method", ["create", "confirm"])
async def test_load_uses_up_none_of_the_three_tries(shop: Shop, method: str) -> None:
    """Whatever comes between, the third silence fails the order and the second does not."""
    for _ in range(2):
        shop.cards.fail_next(method, BUSY, times=3)
        shop.cards.fail_next(method, SILENCE)
    shop.cards.fail_next(method, BUSY)
    assert (await completed(shop, await shop.order())).status is Status.COMPLETED


@pytest.mark.parametrize("between", [BUSY, LOCKED, DatabaseAwayError("away")], ids=str)
async def test_the_third_silence_fails_the_order_whatever_came_between(
    shop: Shop, between: Exception
) -> None:
    for _ in range(3):
        shop.cards.fail_next("create", between, times=2)
        shop.cards.fail_next("create", SILENCE)
    outcome = await shop.check(await ended(await shop.order()))
    assert outcome.status is Status.REJECTED
    assert reason(outcome) is StopReason.NO_ANSWER


@pytest.mark.parametrize("silences", [1, 2])
async def test_silence_before_load_counts(shop: Shop, silences: int) -> None:
    shop.cards.fail_next("create", SILENCE, times=silences)
    shop.cards.fail_next("create", BUSY, times=4)
    shop.cards.fail_next("create", SILENCE, times=3 - silences)
    outcome = await shop.check(await ended(await shop.order()))
    assert reason(outcome) is StopReason.NO_ANSWER


async def test_load_is_waited_out_as_the_provider_asks(shop: Shop) -> None:
    told = BusyError("too many requests", retry_after=timedelta(minutes=7))
    shop.cards.fail_next("create", told, times=3)
    handle = await shop.order()
    await completed(shop, handle)
    described = await handle.describe()
    assert described.close_time is not None
    assert described.close_time - described.start_time >= timedelta(minutes=21)
    assert shop.cards.calls.count("create") == 4


class TestPaymentTimeout:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(payment_timeout=timedelta(minutes=10))

    async def test_load_for_longer_than_a_payment_may_take_fails_the_order(
        self, shop: Shop
    ) -> None:
        shop.cards.fail_until_healed("create", BUSY)
        handle = await shop.order()
        outcome = await shop.check(await ended(handle))
        assert outcome.status is Status.REJECTED
        assert outcome.stop is not None
        assert (outcome.stop.reason, outcome.stop.message) == (
            StopReason.NO_ANSWER,
            "too many requests",
        )
        described = await handle.describe()
        assert described.close_time is not None
        taken = described.close_time - described.start_time
        assert timedelta(minutes=9) <= taken <= timedelta(minutes=11)


async def test_load_needs_nobody_and_a_cancellation_is_heard_meanwhile(shop: Shop) -> None:
    shop.cards.fail_next("create", BusyError("too many requests", retry_after=HOURS / 10))
    handle = await shop.order(waits=True)

    async def asked() -> bool:
        return shop.cards.calls.count("create") == 1

    await eventually(asked)
    assert (await handle.query(OrderWorkflow.status)).attention is None
    await handle.signal(OrderWorkflow.cancel_order)
    outcome = await completed(shop, handle)
    assert outcome.status is Status.CANCELLED
    assert shop.cards.calls.count("create") == 1


# -- ours: the sender of our mails -----------------------------------------------------------------


async def test_a_sender_that_is_refused_is_tried_on_and_a_person_is_asked(shop: Shop) -> None:
    """Our From address or its domain: our configuration, never the customer's wrong address."""
    problem = "Resend does not let us send from our address: check MAIL_FROM"
    shop.mailer.fail_until_healed("send", LockedOutError(problem, retry_after=SOON))
    handle = await shop.order(waits=True)

    found = await attention(handle)

    assert (found.step, found.problem, found.can) == ("send_confirmation_email", problem, ())
    assert (await shop.book.get(handle.id.removeprefix("order-"))).status is Status.COMPLETED
    shop.mailer.heal("send")
    outcome = await completed(shop, handle)
    assert outcome.confirmed
    assert (await handle.query(OrderWorkflow.status)).attention is None
    assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False


@pytest.mark.parametrize("error", [SILENCE, BUSY], ids=str)
async def test_a_mail_service_that_is_away_or_busy_asks_for_nobody(
    shop: Shop, error: NoAnswerError
) -> None:
    shop.mailer.fail_next("send", error, times=8)
    seen: list[Attention | None] = []
    handle = await shop.order(waits=False)
    await _watch(handle, seen.append)
    assert (await completed(shop, handle)).confirmed
    assert seen
    assert set(seen) == {None}


async def _watch(handle: Handle, note: Callable[[Attention | None], None]) -> None:
    """Note what needs attention, until the order is over."""

    async def over() -> bool:
        progress = await handle.query(OrderWorkflow.status)
        note(progress.attention)
        return progress.doing == "nothing more to do"

    await eventually(over)


class TestDelivery:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(delivery_deadline=timedelta(days=30))

    async def test_what_the_order_itself_needs_is_shown_before_a_sender_that_is_refused(
        self, shop: Shop
    ) -> None:
        shop.mailer.fail_until_healed("send", LockedOutError("check MAIL_FROM", retry_after=SOON))
        handle = await shop.order(waits=True)
        assert (await attention(handle)).step == "send_confirmation_email"
        parcel = delivery.parcel_of(shop, handle)
        await delivery.tell(handle, parcel, ParcelStatus.SHIPPED, ParcelStatus.LOST)
        await eventually(lambda: shows(handle, "delivery"))
        await delivery.tell(handle, parcel, ParcelStatus.DELIVERED)
        await eventually(lambda: shows(handle, "send_confirmation_email"))
        shop.mailer.heal("send")
        assert (await handle.result()).status is Status.COMPLETED


async def shows(handle: Handle, step: str) -> bool:
    return (await attention(handle)).step == step
