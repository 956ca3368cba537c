"""Saved cards that are charged while their customer is away, and a bank that wants to hear from
them: they are asked, and pay the same charge in a browser or with another card.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.ids import mail_key
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.order import FutureUsage, PaymentOptions
from durable_orders.domain.payment_status import (
    CustomerActionRequired,
    PaymentDeclined,
    PaymentStopped,
    payment_from_view,
)
from durable_orders.domain.ports import Mail, NoAnswerError
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import NewCard, PaymentChange, PaymentUpdate
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, events
from tests.workflows.test_card_tries import (
    MASTERCARD,
    TOLD,
    by_webhook,
    cards_of,
    charge_of,
    shown,
    tries_of,
)
from tests.workflows.test_waiting import (
    DECLINED,
    THREE_D_SECURE,
    reached,
    reason,
    refused,
)
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

#: Its bank wants to hear from the customer each time.
WANTS_CUSTOMER = "pm_card_authenticationRequired"
WAITING = "waiting for the customer to confirm"
PAGE = "https://shop.example/orders/{order_id}/pay?from=mail"


async def is_asked(handle: Handle) -> None:
    """Return once the order waits for the customer."""

    async def waits() -> bool:
        return (await handle.query(OrderWorkflow.status)).doing == WAITING

    await eventually(waits)


async def tell(handle: Handle, change: PaymentChange) -> None:
    await handle.signal(OrderWorkflow.payment_updated, PaymentUpdate(change))


async def requests_of(shop: Shop, handle: Handle, many: int = 1) -> list[Mail]:
    """The mails that ask the customer of this order, once there are so many."""
    prefix = shop.database.installation.name
    key = mail_key(prefix, handle.id.removeprefix("order-"), "payment_request")

    async def sent() -> bool:
        return len([sent for sent in shop.mailer.sent if sent.key == key]) >= many

    await eventually(sent)
    return [sent.mail for sent in shop.mailer.sent if sent.key == key]


async def pays(shop: Shop) -> Handle:
    """An order whose customer is asked, and pays in the browser."""
    handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
    await is_asked(handle)
    await requests_of(shop, handle)
    payment_id = charge_of(shop, handle).payment_id
    shop.cards.confirm_in_browser(payment_id, THREE_D_SECURE)
    await tell(handle, PaymentChange.REQUIRES_ACTION)
    await shown_to_confirm(handle, payment_id, needs_payment_method=False)
    shop.cards.authenticate(payment_id)
    await by_webhook(handle)
    return handle


async def shown_to_confirm(
    handle: Handle, payment_id: str, *, needs_payment_method: bool = True
) -> None:
    """The shopper is shown that they have to confirm the payment, anew or with their bank."""
    wanted = CustomerActionRequired(payment_id, needs_payment_method=needs_payment_method)

    async def there() -> bool:
        return await shown(handle, CustomerActionRequired) == wanted

    await eventually(there)


class TestASavedCard:
    @pytest.mark.parametrize(
        "terms", [ShopTerms(), ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)]
    )
    async def test_is_charged_without_its_customer(self, shop: Shop) -> None:
        handle = await shop.order_from_away()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        [key] = shop.cards.off_session
        assert key.endswith("charge:1")

    async def test_is_charged_on_session_for_a_customer_who_is_there(self, shop: Shop) -> None:
        customer = shop.cards.add_customer()
        saved = shop.cards.save_card(customer)
        handle = await shop.order(saved, options=PaymentOptions(customer=customer))
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert shop.cards.off_session == []

    async def test_is_saved_by_an_order_and_charged_by_the_next_one(self, shop: Shop) -> None:
        customer = shop.cards.add_customer()
        saves = PaymentOptions(customer=customer, setup_future_usage=FutureUsage.OFF_SESSION)
        first = await shop.order(options=saves)
        await shop.check(await first.result())
        [saved] = shop.cards.cards_of(customer)
        later = PaymentOptions(customer=customer, off_session=True)
        second = await shop.start(await shop.place(saved, options=later))
        assert (await second.result()).status is Status.COMPLETED
        assert cards_of(shop, second) == ["pm_card_visa"]

    async def test_is_charged_without_its_customer_however_often_the_answer_is_lost(
        self, shop: Shop
    ) -> None:
        shop.cards.lose_answer_next("confirm")
        handle = await shop.order_from_away()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert len(shop.cards.off_session) == len(shop.cards.sent) == 1

    async def test_is_tried_again_in_the_same_way_when_it_never_reached_the_provider(
        self, shop: Shop
    ) -> None:
        shop.cards.fail_next("confirm", NoAnswerError("the line is cut"))
        handle = await shop.order_from_away()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert shop.cards.off_session == shop.cards.sent != []


class TestWhoseCardItIs:
    """An answer, whatever the shop has written into the order; never a fault of ours."""

    async def test_a_customer_whom_nobody_knows_ends_the_order(self, shop: Shop) -> None:
        handle = await shop.order(options=PaymentOptions(customer="cus_nobody"))
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.CUSTOMER_UNKNOWN
        assert shop.cards.charges_of(outcome.order_id) == []
        news = await handle.query(OrderWorkflow.payment_news)
        assert news == PaymentStopped(StopReason.CUSTOMER_UNKNOWN)
        view = await shop.book.view(outcome.order_id)
        [line] = [line for line in view.history if line.event == "payment_customer_unknown"]
        assert line.detail == {"code": "resource_missing"}
        [mail] = [sent.mail for sent in shop.mailer.sent if outcome.order_id in sent.key]
        assert "the card that you saved with us cannot be found any more" in mail.text

    @pytest.mark.parametrize("away", [True, False])
    @pytest.mark.parametrize("whose", ["another_customer", "nobody_any_more", "no_customer_named"])
    async def test_a_card_that_is_not_the_customers_cannot_be_charged(
        self, shop: Shop, whose: str, *, away: bool
    ) -> None:
        customer = shop.cards.add_customer()
        if whose == "another_customer":
            saved = shop.cards.save_card(shop.cards.add_customer())
        else:
            saved = shop.cards.save_card(customer)
        if whose == "nobody_any_more":
            shop.cards.detach(saved)
        options = PaymentOptions(customer=customer, off_session=away)
        if whose == "no_customer_named":
            options = PaymentOptions()
        handle = await shop.order(saved, options=options)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.CARD_UNUSABLE
        assert shop.cards.sent == []

    @pytest.mark.parametrize("terms", [ShopTerms(new_card_window=timedelta(hours=1))])
    async def test_another_card_may_follow_on_one_that_was_detached(self, shop: Shop) -> None:
        customer = shop.cards.add_customer()
        detached, saved = shop.cards.save_card(customer), shop.cards.save_card(customer)
        shop.cards.detach(detached)
        options = PaymentOptions(customer=customer, off_session=True)
        handle = await shop.order(detached, waits=True, options=options)
        declined = await shown(handle, PaymentDeclined)
        assert declined == PaymentDeclined("payment_method_unexpected_state", another_card=True)
        await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(saved))
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert shop.cards.off_session == []  # brought by the customer


class TestABankThatWantsTheCustomer:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(payment_url=PAGE)

    async def test_has_them_asked_by_mail_and_on_the_page(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        await reached(shop, handle, Status.AWAITING_PAYMENT)
        payment_id = charge_of(shop, handle).payment_id
        await shown_to_confirm(handle, payment_id)
        order_id = handle.id.removeprefix("order-")
        told = payment_from_view(await shop.book.view(order_id))  # no worker is needed for it
        assert told == CustomerActionRequired(payment_id, needs_payment_method=True)
        [mail] = await requests_of(shop, handle)
        assert mail.to == "ada@example.com"
        assert PAGE.replace("{order_id}", order_id) in mail.text
        assert f"{TOTAL}" in mail.text
        assert "Nothing has been taken" in mail.text
        await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())

    async def test_is_satisfied_when_they_confirm_in_the_browser(self, shop: Shop) -> None:
        handle = await pays(shop)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert cards_of(shop, handle) == [WANTS_CUSTOMER, THREE_D_SECURE]
        assert await tries_of(shop, handle) == [(1, "declined")]
        assert len(await requests_of(shop, handle)) == 1

    @TOLD
    @pytest.mark.parametrize("card", [MASTERCARD, "the same one"])
    async def test_hears_of_a_payment_in_the_browser_with_any_card(
        self, shop: Shop, tell: Callable[[Handle], Awaitable[None]], card: str
    ) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        payment_id = charge_of(shop, handle).payment_id
        [own] = shop.cards.confirmations[payment_id]
        shop.cards.confirm_in_browser(payment_id, own if card == "the same one" else card)
        if card == "the same one":
            shop.cards.authenticate(payment_id)
        await tell(handle)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert outcome.taken == TOTAL

    async def test_takes_another_card_that_they_bring(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        accepted = await handle.execute_update(
            OrderWorkflow.submit_payment_method, NewCard(MASTERCARD)
        )
        assert accepted.number == 2
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert cards_of(shop, handle) == [WANTS_CUSTOMER, MASTERCARD]
        assert await tries_of(shop, handle) == [(1, "declined"), (2, "captured")]
        [key] = shop.cards.off_session  # the second one was made with the customer
        assert key.endswith("charge:1")

    async def test_wants_them_for_the_card_that_they_bring_too(self, shop: Shop) -> None:
        """They are there now: 3-D Secure, not a decline, and no second mail."""
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        payment_id = charge_of(shop, handle).payment_id
        [own] = shop.cards.confirmations[payment_id]
        await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(own))
        await shown_to_confirm(handle, payment_id, needs_payment_method=False)
        shop.cards.authenticate(payment_id)
        await by_webhook(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED
        assert len(shop.cards.off_session) == 1
        assert len(await requests_of(shop, handle)) == 1

    async def test_declines_the_card_that_they_bring_and_they_go_on(self, shop: Shop) -> None:
        """The shop has no window for other cards; but who was asked has the time for it."""
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(DECLINED))
        declined = await shown(handle, PaymentDeclined)
        assert declined == PaymentDeclined("generic_decline", another_card=True)
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id, MASTERCARD)
        await by_webhook(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_is_not_asked_again_by_itself_after_a_soft_decline_in_the_browser(
        self, shop: Shop
    ) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        payment_id = charge_of(shop, handle).payment_id
        shop.cards.confirm_in_browser(payment_id, THREE_D_SECURE)
        await tell(handle, PaymentChange.REQUIRES_ACTION)
        await shown_to_confirm(handle, payment_id, needs_payment_method=False)
        shop.cards.authenticate(payment_id, succeeds=False)
        await tell(handle, PaymentChange.DECLINED)
        await shown(handle, PaymentDeclined)
        shop.cards.confirm_in_browser(payment_id, "pm_card_chargeDeclinedProcessingError")
        await tell(handle, PaymentChange.DECLINED)
        await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())
        assert len(shop.cards.sent) == 1

    async def test_and_a_customer_who_does_not_come_end_the_order(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.PAYMENT_TIMED_OUT
        assert outcome.taken.amount == 0
        assert cards_of(shop, handle) == [WANTS_CUSTOMER]
        news = await handle.query(OrderWorkflow.payment_news)
        assert news == PaymentStopped(StopReason.PAYMENT_TIMED_OUT)
        request, closing = [s.mail for s in shop.mailer.sent if outcome.order_id in s.key]
        assert "Please confirm" in request.subject
        assert "the payment was not completed in time" in closing.text
        described = await handle.describe()
        assert described.close_time is not None
        lasted = described.close_time - described.start_time
        assert timedelta(minutes=30) <= lasted < timedelta(minutes=31)

    async def test_a_payment_that_nobody_told_of_is_seen_before_the_order_is_given_up(
        self, shop: Shop
    ) -> None:
        gate = shop.cards.hold("read")
        handle = await shop.order_from_away(WANTS_CUSTOMER)
        await gate.entered()
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_payment_just_before_our_own_try_is_the_only_one(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        gate = shop.ledger.hold("announce")
        await handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(MASTERCARD))
        await gate.entered()
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        gate.release()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert outcome.taken == TOTAL

    async def test_a_cancelled_order_asks_for_nothing_any_more(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        await handle.signal(OrderWorkflow.cancel_order)
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.CANCELLED
        assert outcome.taken.amount == 0


class TestWithOneTry:
    """A shop that tries one card per order: what is asked for then is a confirmation, no card."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(max_card_tries=1)

    async def test_the_browser_pays_and_no_other_card_is_taken(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        update = handle.execute_update(OrderWorkflow.submit_payment_method, NewCard(MASTERCARD))
        assert (await refused(update)).type == NOT_WAITING
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        await by_webhook(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_who_does_not_come_has_not_tried_too_many_cards(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER)
        assert reason(await shop.check(await handle.result())) is StopReason.PAYMENT_TIMED_OUT


class TestTheMail:
    async def test_names_no_address_when_the_shop_has_no_page_for_it(self, shop: Shop) -> None:
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        [mail] = await requests_of(shop, handle)
        assert "open the order in our shop" in mail.text
        assert "://" not in mail.text
        await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())

    @pytest.mark.parametrize("terms", [ShopTerms(payment_url=PAGE)])
    async def test_is_the_same_whatever_the_settings_of_the_worker_that_sends_it_again(
        self, shop: Shop
    ) -> None:
        """The page is a term of the order: it is in its history."""
        shop.mailer.lose_answer_next("send")
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)

        async def sent_twice() -> bool:
            return shop.mailer.calls.count("send") == 2

        await eventually(sent_twice)
        assert len(await requests_of(shop, handle)) == 1
        await handle.signal(OrderWorkflow.cancel_order)
        await shop.check(await handle.result())

    async def test_that_cannot_be_sent_delays_nothing_and_is_not_sent_late(
        self, shop: Shop
    ) -> None:
        gate = shop.mailer.hold("send")
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await gate.entered()
        await is_asked(handle)
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        await by_webhook(handle)
        await reached(shop, handle, Status.PAID)
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_is_given_up_when_the_customer_has_paid(self, shop: Shop) -> None:
        shop.mailer.fail_until_healed("send", NoAnswerError("nobody answers"))
        handle = await shop.order_from_away(WANTS_CUSTOMER, waits=True)
        await is_asked(handle)
        shop.cards.confirm_in_browser(charge_of(shop, handle).payment_id)
        await by_webhook(handle)
        await reached(shop, handle, Status.COMPLETED)
        shop.mailer.heal("send")
        outcome = await shop.check(await asyncio.wait_for(handle.result(), 60))
        kinds = [s.key.rpartition(":")[2] for s in shop.mailer.sent if outcome.order_id in s.key]
        assert kinds == ["confirmation"]
        assert "ACTIVITY_TASK_CANCEL_REQUESTED" in events(await handle.fetch_history())
