"""What people and neighbours tell a running order, through the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from durable_orders.clients.errors import (
    NoCardsError,
    NotOperableError,
    NotStartedError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    OrderEndedError,
)
from durable_orders.clients.order_calls import OrderWorkflowCalls
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import Attention, Cancelled
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.ports import NoAnswerError, NoSuchOrderError, RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.views import ListedOrder
from tests.support.eventually import eventually
from tests.support.shop import Shop

LONG = timedelta(seconds=60)
THREE_D_SECURE = "pm_card_authenticationRequired"
DECLINED = "pm_card_visa_chargeDeclined"


async def waiting(shop: Shop) -> str:
    """An order that waits for approval."""
    order_id = await shop.start(flagged=True)
    await shop.reaches(order_id, "waiting for approval")
    return order_id


async def stuck(shop: Shop) -> str:
    """An order that is paid and cannot be refunded."""
    shop.cards.fail_until_healed("refund", RefusedError("the balance is too low"))
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    await shop.orders.start(order_id)

    async def flagged() -> bool:
        return (await shop.orders.status(order_id)).attention is not None

    await eventually(flagged)
    return order_id


class TestApproval:
    async def test_an_approved_order_goes_on(self, shop: Shop) -> None:
        order_id = await waiting(shop)
        await shop.operations.approve(order_id, "ops-7", "known customer")
        assert (await shop.orders.result(order_id)).status is Status.COMPLETED

    async def test_a_rejected_order_is_undone(self, shop: Shop) -> None:
        order_id = await waiting(shop)
        await shop.operations.reject(order_id, "ops-7", "stolen card")
        outcome = await shop.orders.result(order_id)
        assert outcome.stop
        assert (outcome.status, outcome.stop.reason) == (Status.REJECTED, StopReason.NOT_APPROVED)
        assert "stolen card" in outcome.stop.message
        assert shop.cards.charges_of(order_id) == []

    async def test_of_fifty_decisions_side_by_side_one_counts(self, shop: Shop) -> None:
        order_id = await waiting(shop)
        # Three processes, as it were: together they ask more than Temporal hears at a time.
        clients = [OrderOperations(shop.temporal, shop.book) for _ in range(3)]

        answers = await asyncio.gather(
            *(clients[n % 3].approve(order_id, f"ops-{n}", wait=LONG) for n in range(25)),
            *(clients[n % 3].reject(order_id, f"ops-{n}", "no", wait=LONG) for n in range(25, 50)),
            return_exceptions=True,
        )

        [winner] = [n for n, answer in enumerate(answers) if answer is None]
        for late in (answer for answer in answers if answer is not None):
            # The order may have ended before the last of them arrived.
            assert isinstance(late, NotWaitingError | OrderEndedError)
            if isinstance(late, NotWaitingError):
                assert f"ops-{winner} has" in str(late)
        outcome = await shop.orders.result(order_id)
        assert outcome.status is (Status.COMPLETED if winner < 25 else Status.REJECTED)
        assert shop.cards.taken(order_id) == (29_00 if winner < 25 else 0)

    async def test_an_approval_racing_a_cancellation_ends_in_one_of_both(self, shop: Shop) -> None:
        order_ids = await asyncio.gather(*(waiting(shop) for _ in range(5)))
        for order_id in order_ids:
            cancelled, _ = await asyncio.gather(
                shop.orders.cancel(order_id),
                shop.operations.approve(order_id, "ops-7"),
                return_exceptions=True,
            )
            outcome = await shop.orders.result(order_id)
            kept = shop.cards.taken(order_id) - shop.cards.given_back(order_id)
            if isinstance(cancelled, Cancelled):
                assert outcome.status in {Status.CANCELLED, Status.REFUNDED}
                assert kept == 0
            else:
                assert isinstance(cancelled, OrderClientError)
                assert (outcome.status, kept) == (Status.COMPLETED, 29_00)

    async def test_nobody_approves_what_does_not_wait(self, shop: Shop) -> None:
        gate = shop.cards.hold("create")
        order_id = await shop.start()
        await gate.entered()
        for decide in (shop.operations.approve, shop.operations.reject):
            with pytest.raises(NotWaitingError, match=f"{order_id} does not wait for an approval"):
                await decide(order_id, "ops-7")
        gate.release()
        await shop.orders.result(order_id)
        with pytest.raises(OrderEndedError, match="it is completed"):
            await shop.operations.approve(order_id, "ops-7")

    async def test_without_a_run_the_caller_is_told_why(self, closed_shop: Shop) -> None:
        with pytest.raises(NotStartedError):
            await closed_shop.operations.approve(await closed_shop.place(), "ops-7")
        with pytest.raises(NoSuchOrderError):
            await closed_shop.operations.reject("nobody", "ops-7")

    async def test_without_a_worker_nothing_is_known(self, closed_shop: Shop) -> None:
        order_id = await closed_shop.start(flagged=True)
        wait = timedelta(seconds=0.3)
        with pytest.raises(NoWorkerError, match="the approval may still take hold"):
            await closed_shop.operations.approve(order_id, "ops-7", wait=wait)


class TestPaying:
    async def test_the_browser_gets_its_secret_and_nobody_else_does(self, shop: Shop) -> None:
        order_id = await shop.start(card=THREE_D_SECURE)
        await shop.reaches(order_id, "waiting for the customer's bank")

        payment = await shop.orders.payment_to_finish(order_id)

        [charge] = shop.cards.charges_of(order_id)
        assert payment.payment_id == charge.payment_id
        assert payment.client_secret == await shop.cards.client_secret(charge.payment_id)
        assert payment.client_secret not in repr(payment)
        handle = shop.temporal.get_workflow_handle(workflow_id(order_id))
        assert payment.client_secret not in (await handle.fetch_history()).to_json()
        assert payment.client_secret not in repr(await shop.book.view(order_id))

    async def test_a_payment_that_changed_is_looked_at_at_once(self, shop: Shop) -> None:
        order_id = await shop.start(card=THREE_D_SECURE)
        await shop.reaches(order_id, "waiting for the customer's bank")
        [charge] = shop.cards.charges_of(order_id)
        shop.cards.authenticate(charge.payment_id)

        await shop.orders.payment_updated(order_id)

        assert (await shop.orders.result(order_id)).status is Status.COMPLETED
        with pytest.raises(NotWaitingError, match="it is completed"):
            await shop.orders.payment_to_finish(order_id)
        with pytest.raises(OrderEndedError):
            await shop.orders.payment_updated(order_id)

    async def test_without_the_card_provider_there_is_one_sentence(self, shop: Shop) -> None:
        order_id = await shop.start(card=THREE_D_SECURE)
        await shop.reaches(order_id, "waiting for the customer's bank")
        with pytest.raises(NoCardsError, match="set STRIPE_API_KEY"):
            await OrderClient(shop.temporal, shop.book).payment_to_finish(order_id)
        shop.cards.fail_next("client_secret", NoAnswerError("nobody answers"))
        with pytest.raises(NoAnswerError):
            await shop.orders.payment_to_finish(order_id)
        await shop.orders.cancel(order_id)

    async def test_another_card_is_tried_while_the_order_waits_for_one(
        self, closed_shop: Shop
    ) -> None:
        closed_shop.terms = ShopTerms(new_card_window=timedelta(hours=2))
        orders = closed_shop.orders
        async with closed_shop.worker():
            order_id = await closed_shop.start(card=DECLINED)
            await closed_shop.reaches(order_id, "waiting for another card")

            tries = await asyncio.gather(
                *(orders.submit_payment_method(order_id, "pm_card_visa") for _ in range(5)),
                return_exceptions=True,
            )

            [accepted] = [answer for answer in tries if not isinstance(answer, BaseException)]
            assert accepted.number == 2
            assert (await orders.result(order_id)).status is Status.COMPLETED
        [charge] = closed_shop.cards.charges_of(order_id)
        assert closed_shop.cards.confirmations[charge.payment_id] == [DECLINED, "pm_card_visa"]

    async def test_another_card_that_nobody_asked_for_is_refused(self, shop: Shop) -> None:
        order_id = await waiting(shop)
        with pytest.raises(NotWaitingError, match="does not wait for another card"):
            await shop.orders.submit_payment_method(order_id, "pm_card_visa")
        await shop.orders.cancel(order_id)


class TestAttention:
    async def test_what_needs_a_person_says_why_and_what_helps(self, shop: Shop) -> None:
        order_id = await stuck(shop)

        async def listed() -> bool:
            return order_id in {order.order_id for order in await shop.operations.attention()}

        await eventually(listed)
        [found] = [o for o in await shop.operations.attention() if o.order_id == order_id]
        assert found.status is Status.PAID
        assert isinstance(found.attention, Attention)
        assert found.attention.problem == "the balance is too low"
        assert found.attention.can == ("retry_now", "resolve")

        shop.cards.heal("refund")
        await shop.operations.retry_now(order_id, "ops-7")
        assert (await shop.orders.result(order_id)).status is Status.REFUNDED
        assert order_id not in {order.order_id for order in await shop.operations.attention()}

    async def test_an_order_that_has_ended_since_it_was_listed_needs_nobody(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order_id = await shop.start()
        await shop.orders.result(order_id)

        async def listed() -> bool:
            return order_id in [row.order_id async for row in shop.orders.list()]

        await eventually(listed)
        list_all = OrderWorkflowCalls(shop.temporal).list

        def lagging_list(*_: object, **__: object) -> AsyncIterator[ListedOrder]:
            return list_all()

        monkeypatch.setattr(OrderWorkflowCalls, "list", lagging_list)
        assert order_id not in {order.order_id for order in await shop.operations.attention()}

    @pytest.mark.usefixtures("brief_queries")
    async def test_without_a_worker_what_temporal_lists_has_to_do(self, closed_shop: Shop) -> None:
        async with closed_shop.worker():
            order_id = await stuck(closed_shop)

            async def listed() -> bool:
                rows = closed_shop.orders.list(needs_attention=True)
                return order_id in [row.order_id async for row in rows]

            await eventually(listed)

        [found] = [o for o in await closed_shop.operations.attention() if o.order_id == order_id]

        assert (found.status, found.attention) == (Status.PAID, None)
        assert found.doing == "unknown: no worker answers"

    async def test_an_undo_done_by_hand_is_settled(self, shop: Shop) -> None:
        order_id = await stuck(shop)
        with pytest.raises(NotOperableError, match="only retry-now or resolve"):
            await shop.operations.skip_step(order_id, "never mind")
        await shop.operations.resolve(order_id, "sent by bank transfer", "ops-7")
        assert (await shop.orders.result(order_id)).status is Status.REFUNDED
        with pytest.raises(OrderEndedError):
            await shop.operations.retry_now(order_id)

    async def test_a_step_that_is_given_up_undoes_the_order(self, shop: Shop) -> None:
        silence = NoAnswerError("nobody answers", retry_after=timedelta(milliseconds=10))
        shop.warehouse.fail_next("fulfill", silence, times=6)
        shop.warehouse.fail_until_healed("fulfill", NoAnswerError("nobody answers"))
        order_id = await shop.start()

        async def flagged() -> bool:
            return (await shop.orders.status(order_id)).attention is not None

        await eventually(flagged)
        await shop.operations.skip_step(order_id, "the warehouse burnt down", "ops-7")
        outcome = await shop.orders.result(order_id)
        assert outcome.status is Status.REFUNDED
        assert outcome.stop
        assert outcome.stop.message == "given up by ops-7: the warehouse burnt down"

    async def test_a_word_is_refused_while_nothing_fails(self, shop: Shop) -> None:
        order_id = await waiting(shop)
        with pytest.raises(NotOperableError, match="nothing keeps failing"):
            await shop.operations.retry_now(order_id)
        await shop.orders.cancel(order_id)
