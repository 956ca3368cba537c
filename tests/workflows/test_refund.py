"""Refunds of paid orders: each way through, under every kind of trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count
from typing import Literal

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from orders.ids import TASK_QUEUE, refund_key, refund_workflow_id
from orders.lifecycle import Status
from orders.messages import CancelRequest
from orders.money import Money
from orders.ports import Mail, RefusedError
from orders.refund_messages import (
    RefundAnswer,
    RefundOutcome,
    RefundProgress,
    ShopRefundTerms,
)
from orders.refunds import RefundRefused, RefundRequest, RefundState
from orders.requests import Approve, Reject, Resolve, RetryNow, SkipStep
from tests.eventually import eventually
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.workflows.conftest import HOURS_OF_SILENCE, ON_HAND, PRICE, QUANTITY, TOTAL, Shop
from workflows.failures import NOT_OPERABLE, NOT_WAITING, OTHER_CONTENTS, TOO_LATE
from workflows.refund import RefundWorkflow
from workflows.runner import DATA_CONVERTER, RUNNER

Handle = WorkflowHandle[RefundWorkflow, RefundAnswer]

ONE_MUG = (("MUG", 1),)
_numbers = count(1)


def new_id() -> str:
    return f"r{next(_numbers)}"


async def paid(shop: Shop, card: str = "pm_card_visa") -> str:
    """An order that is completed; its id."""
    outcome = await (await shop.order(card)).result()
    assert outcome.status is Status.COMPLETED
    return outcome.order_id


async def begin(shop: Shop, request: RefundRequest, *, waits: bool = False) -> Handle:
    client = shop.patient_client if waits else shop.client
    return await client.start_workflow(
        RefundWorkflow.run,
        request,
        id=refund_workflow_id(request.order_id, request.refund_id),
        task_queue=TASK_QUEUE,
    )


async def refund(shop: Shop, request: RefundRequest) -> RefundOutcome:
    """A refund carried to its end, with the books checked and its run replayed."""
    handle = await begin(shop, request)
    return await ended(shop, handle, request.order_id)


async def ended(shop: Shop, handle: Handle, order_id: str) -> RefundOutcome:
    answer = await handle.result()
    assert isinstance(answer, RefundOutcome), answer
    await check(shop, order_id)
    await replayed(handle)
    return answer


async def replayed(handle: Handle) -> None:
    """Other code of the same meaning comes to the same decisions: nothing depends on the hour."""
    replayer = Replayer(
        workflows=[RefundWorkflow], workflow_runner=RUNNER, data_converter=DATA_CONVERTER
    )
    await replayer.replay_workflow(await handle.fetch_history())


async def refusal_of(shop: Shop, request: RefundRequest) -> str:
    before = shop.cards.given_back(request.order_id)
    answer = await (await begin(shop, request)).result()
    assert isinstance(answer, RefundRefused), answer
    assert shop.cards.given_back(request.order_id) == before
    assert await shop.refunds.find(request.order_id, request.refund_id) is None
    return answer.message


async def check(shop: Shop, order_id: str) -> None:
    """Of the total, all is kept but what somebody asked for; books and provider agree."""
    refunds = await shop.refunds.refunds_of(order_id)
    arrived = sum(r.amount.amount for r in refunds if r.state is RefundState.SUCCEEDED)
    view = await shop.book.view(order_id)
    assert shop.cards.taken(order_id) == TOTAL.amount
    assert shop.cards.given_back(order_id) == arrived
    assert sum(p.refunded.amount for p in view.payments) == arrived
    restocked = sum(n for r in refunds if r.restocked for _, n in r.lines)
    assert shop.database.products["MUG"].on_hand == ON_HAND - QUANTITY + restocked
    assert view.order.status is Status.COMPLETED


async def reached(shop: Shop, handle: Handle, state: RefundState) -> None:
    async def there() -> bool:
        return (await handle.query(RefundWorkflow.status)).state is state

    await eventually(there)


async def needs_a_person(handle: Handle) -> RefundProgress:
    async def there() -> bool:
        return (await handle.query(RefundWorkflow.status)).attention is not None

    await eventually(there)
    return await handle.query(RefundWorkflow.status)


async def refused(update: Awaitable[object]) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await update
    assert isinstance(refusal.value.cause, ApplicationError)
    return refusal.value.cause


def mails_of(shop: Shop, refund_id: str) -> int:
    return sum(f":refund:{refund_id}:" in mail.key for mail in shop.mailer.sent)


def reminders(shop: Shop, request: RefundRequest) -> list[Mail]:
    """What the approver was sent about this refund."""
    kind = f"refund_approval_reminder_{request.refund_id}"
    key = f"order-{request.order_id}:mail:{kind}"
    return [sent.mail for sent in shop.mailer.sent if sent.key == key]


# -- what is given back ----------------------------------------------------------------------------


async def test_a_line_is_given_back_at_its_price_and_the_customer_is_told(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    outcome = await refund(shop, RefundRequest(order_id, id_, lines=ONE_MUG))
    assert (outcome.state, outcome.amount) == (RefundState.SUCCEEDED, PRICE)
    assert (outcome.mailed, outcome.restocked) == (True, False)
    [mail] = [mail.mail for mail in shop.mailer.sent if f":refund:{id_}:" in mail.key]
    assert "14.50 EUR" in mail.subject
    assert "1 x Mug" in mail.text
    events = [line.event for line in (await shop.book.view(order_id)).history]
    assert events[-4:] == [
        *("refund_requested", "refund_issuing", "refund_succeeded", "refund_mailed")
    ]


async def test_an_amount_alone_is_given_back(shop: Shop) -> None:
    order_id = await paid(shop)
    outcome = await refund(shop, RefundRequest(order_id, new_id(), amount=Money(3_33, "EUR")))
    assert outcome.amount == Money(3_33, "EUR")


async def test_everything_is_what_is_left_and_the_order_stays_completed(shop: Shop) -> None:
    order_id = await paid(shop)
    await refund(shop, RefundRequest(order_id, new_id(), lines=ONE_MUG, restock=True))
    outcome = await refund(shop, RefundRequest(order_id, new_id(), restock=True))
    assert outcome.amount == PRICE
    assert shop.database.products["MUG"].on_hand == ON_HAND


async def test_two_equal_partial_refunds_are_two_refunds(shop: Shop) -> None:
    order_id = await paid(shop)
    for _ in range(2):
        await refund(shop, RefundRequest(order_id, new_id(), amount=Money(5_00, "EUR")))
    assert shop.cards.given_back(order_id) == 10_00
    assert len(shop.cards.refunds) == 2


async def test_the_same_refund_twice_is_one(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    request = RefundRequest(order_id, id_, lines=ONE_MUG, restock=True)
    first, again = await refund(shop, request), await refund(shop, request)
    assert (first.state, first.amount) == (again.state, again.amount)
    assert len(shop.cards.refunds) == 1
    assert mails_of(shop, id_) == 1


async def test_the_same_refund_with_other_contents_is_refused(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    await refund(shop, RefundRequest(order_id, id_, lines=ONE_MUG))
    other = await begin(shop, RefundRequest(order_id, id_, amount=PRICE))
    answer = await other.result()
    assert isinstance(answer, RefundRefused)
    assert "other contents" in answer.message
    await check(shop, order_id)


async def test_refunds_racing_for_the_last_euro_never_give_back_more_than_was_taken(
    shop: Shop,
) -> None:
    order_id = await paid(shop)
    handles = await asyncio.gather(
        *(
            begin(shop, RefundRequest(order_id, new_id(), amount=Money(20_00, "EUR")))
            for _ in range(5)
        )
    )
    answers = await asyncio.gather(*(handle.result() for handle in handles))
    assert sum(isinstance(answer, RefundOutcome) for answer in answers) == 1
    assert shop.cards.given_back(order_id) == 20_00
    await check(shop, order_id)


async def test_what_cannot_be_refunded_is_refused_in_a_sentence(shop: Shop) -> None:
    order_id = await paid(shop)

    async def says(words: str, request: RefundRequest) -> None:
        assert words in await refusal_of(shop, request)

    await says("there is no order", RefundRequest("nowhere", new_id()))
    await says("3 of MUG cannot", RefundRequest(order_id, new_id(), lines=(("MUG", 3),)))
    await says("has no TEE", RefundRequest(order_id, new_id(), lines=(("TEE", 1),)))
    await says("29.00 EUR of", RefundRequest(order_id, new_id(), amount=Money(29_01, "EUR")))
    await says("paid in EUR", RefundRequest(order_id, new_id(), amount=Money(1, "JPY")))
    unpaid = await shop.place()
    await says("cancel the order", RefundRequest(unpaid, new_id()))


# -- approval and thinking better of it ------------------------------------------------------------


class TestApproval:
    @pytest.fixture
    def refund_terms(self) -> ShopRefundTerms:
        return ShopRefundTerms(approval_above={"EUR": 10_00})

    async def waiting(self, shop: Shop) -> tuple[Handle, RefundRequest]:
        request = RefundRequest(await paid(shop), new_id(), lines=ONE_MUG, restock=True)
        handle = await begin(shop, request, waits=True)
        await reached(shop, handle, RefundState.AWAITING_APPROVAL)
        assert shop.cards.refunds == {}
        return handle, request

    async def test_below_the_limit_nobody_is_asked(self, shop: Shop) -> None:
        amount = Money(10_00, "EUR")
        outcome = await refund(shop, RefundRequest(await paid(shop), new_id(), amount=amount))
        assert outcome.state is RefundState.SUCCEEDED

    async def test_whoever_decides_in_the_second_half_was_reminded(self, shop: Shop) -> None:
        sent = shop.mailer.hold("send", where="after")
        sent.release()
        reminded = shop.mailer.hold("send", where="after")
        handle = await begin(shop, request := RefundRequest(await paid(shop), new_id()))
        await reminded.entered()  # the confirmation went before it
        assert len(reminders(shop, request)) == 1
        await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
        reminded.release()
        assert (await ended(shop, handle, request.order_id)).state is RefundState.SUCCEEDED

    async def test_a_reminder_that_cannot_be_sent_changes_nothing(self, shop: Shop) -> None:
        request = RefundRequest(await paid(shop), new_id())
        shop.mailer.fail_until_healed("send", RefusedError("no such address"))
        outcome = await refund(shop, request)
        assert outcome.state is RefundState.REJECTED

    async def test_an_approved_refund_is_paid(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        await handle.execute_update(RefundWorkflow.approve, Approve("ops-7", "seen it"))
        outcome = await ended(shop, handle, request.order_id)
        assert (outcome.state, outcome.restocked) == (RefundState.SUCCEEDED, True)
        assert reminders(shop, request) == []

    async def test_a_rejected_refund_gives_its_amount_free(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        await handle.execute_update(RefundWorkflow.reject, Reject("ops-7", "worn"))
        outcome = await ended(shop, handle, request.order_id)
        assert (outcome.state, outcome.why) == (RefundState.REJECTED, "rejected by ops-7: worn")
        assert (outcome.restocked, outcome.mailed) == (False, False)
        small = RefundRequest(request.order_id, new_id(), lines=ONE_MUG, amount=Money(1, "EUR"))
        assert (await refund(shop, small)).state is RefundState.SUCCEEDED

    async def test_nobody_deciding_gives_the_amount_free_after_one_reminder(
        self, shop: Shop
    ) -> None:
        request = RefundRequest(await paid(shop), new_id())
        outcome = await refund(shop, request)
        [mail] = reminders(shop, request)
        assert mail.to == "approver@example.com"
        assert f"refund approve {request.order_id} {request.refund_id} --by" in mail.text
        assert "29.00 EUR" in mail.text
        assert outcome.state is RefundState.REJECTED
        assert outcome.why == "nobody decided within 3 days, 0:00:00"
        assert shop.cards.refunds == {}

    async def test_a_cancelled_refund_gives_its_amount_free(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        told = await handle.execute_update(RefundWorkflow.cancel, CancelRequest("customer"))
        assert told.state is RefundState.CANCELLED
        assert (await ended(shop, handle, request.order_id)).state is RefundState.CANCELLED
        assert shop.cards.refunds == {}

    async def test_what_was_freed_stays_freed_when_it_is_asked_for_again(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        await handle.execute_update(RefundWorkflow.cancel, CancelRequest("customer"))
        await handle.result()
        assert (await refund(shop, request)).state is RefundState.CANCELLED
        assert shop.cards.refunds == {}

    async def test_cancelling_in_the_web_ui_does_the_same(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        await handle.cancel()
        assert (await ended(shop, handle, request.order_id)).state is RefundState.CANCELLED

    async def test_what_waits_is_set_aside(self, shop: Shop) -> None:
        handle, request = await self.waiting(shop)
        too_much = RefundRequest(request.order_id, new_id(), amount=PRICE + Money(1, "EUR"))
        assert "14.50 EUR of order" in await refusal_of(shop, too_much)
        await handle.cancel()
        await handle.result()

    async def test_a_second_decision_and_a_cancel_come_too_late(self, shop: Shop) -> None:
        gate = shop.cards.hold("refund")
        handle, request = await self.waiting(shop)
        await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
        await gate.entered()
        second = await refused(handle.execute_update(RefundWorkflow.reject, Reject("ops-8")))
        late = await refused(handle.execute_update(RefundWorkflow.cancel, CancelRequest()))
        await handle.cancel()  # the Web UI's button: too late as well
        gate.release()
        assert (second.type, late.type) == (NOT_WAITING, TOO_LATE)
        assert "ops-7 has decided" in second.message
        assert (await ended(shop, handle, request.order_id)).state is RefundState.SUCCEEDED

    async def test_a_running_refund_answers_the_same_request_and_refuses_another(
        self, shop: Shop
    ) -> None:
        handle, request = await self.waiting(shop)
        told = await handle.execute_update(RefundWorkflow.request, request)
        assert isinstance(told, RefundProgress)
        assert (told.state, told.amount) == (RefundState.AWAITING_APPROVAL, PRICE)
        other = RefundRequest(request.order_id, request.refund_id)
        refusal = await refused(handle.execute_update(RefundWorkflow.request, other))
        assert refusal.type == OTHER_CONTENTS
        await handle.cancel()
        await handle.result()


# -- trouble on the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reserve", "begin", "tell", "restock"])
async def test_an_answer_lost_by_the_book_changes_nothing_twice(shop: Shop, method: str) -> None:
    shop.refunds.lose_answer_next(method, times=3)
    order_id, id_ = await paid(shop), new_id()
    outcome = await refund(shop, RefundRequest(order_id, id_, lines=ONE_MUG, restock=True))
    assert (outcome.state, outcome.restocked) == (RefundState.SUCCEEDED, True)
    assert len(shop.cards.refunds) == 1
    assert shop.database.products["MUG"].on_hand == ON_HAND - QUANTITY + 1


async def test_an_answer_lost_by_the_provider_gives_back_once(shop: Shop) -> None:
    shop.cards.lose_answer_next("refund", times=4)
    order_id, id_ = await paid(shop), new_id()
    await refund(shop, RefundRequest(order_id, id_, lines=ONE_MUG))
    assert list(shop.cards.refunds) == [refund_key(order_id, id_)]
    assert mails_of(shop, id_) == 1


async def test_a_provider_silent_for_hours_is_waited_for(shop: Shop) -> None:
    shop.cards.fail_next("refund", HOURS_OF_SILENCE, times=12)
    order_id = await paid(shop)
    handle = await begin(shop, RefundRequest(order_id, new_id()))
    assert (await ended(shop, handle, order_id)).state is RefundState.SUCCEEDED


async def test_a_refund_that_the_provider_refuses_waits_for_a_person(shop: Shop) -> None:
    order_id = await paid(shop)
    shop.cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
    handle = await begin(shop, RefundRequest(order_id, new_id()), waits=True)
    progress = await needs_a_person(handle)
    assert progress.attention is not None
    assert "disputed" in progress.attention.problem
    refusal = await refused(handle.execute_update(RefundWorkflow.operate, SkipStep("no")))
    assert refusal.type == NOT_OPERABLE
    shop.cards.heal("refund")
    await handle.execute_update(RefundWorkflow.operate, RetryNow())
    assert (await ended(shop, handle, order_id)).state is RefundState.SUCCEEDED


async def test_a_mail_service_that_is_away_does_not_hold_up_the_refund(shop: Shop) -> None:
    order_id = await paid(shop)
    shop.mailer.fail_until_healed("send", HOURS_OF_SILENCE)
    outcome = await refund(shop, RefundRequest(order_id, new_id()))
    assert (outcome.state, outcome.mailed) == (RefundState.SUCCEEDED, False)


# -- banks that take their time, or change their mind ----------------------------------------------


async def test_a_pending_refund_is_followed_until_it_arrives(shop: Shop) -> None:
    order_id, id_ = await paid(shop, REFUND_PENDING), new_id()
    gate = shop.cards.hold("find_refund")
    handle = await begin(shop, RefundRequest(order_id, id_, lines=ONE_MUG, restock=True))
    await gate.entered()  # nobody told it: it looks by itself
    entry = await shop.refunds.find(order_id, id_)
    assert entry is not None
    assert (entry.state, entry.restocked) == (RefundState.PENDING, True)
    assert mails_of(shop, id_) == 0
    shop.cards.settle_refund(refund_key(order_id, id_))
    gate.release()
    answer = await ended(shop, handle, order_id)
    assert (answer.state, answer.mailed) == (RefundState.SUCCEEDED, True)


async def test_a_webhook_has_a_pending_refund_looked_at_at_once(shop: Shop) -> None:
    order_id, id_ = await paid(shop, REFUND_PENDING), new_id()
    handle = await begin(shop, RefundRequest(order_id, id_), waits=True)
    await reached(shop, handle, RefundState.PENDING)
    shop.cards.settle_refund(refund_key(order_id, id_))
    await handle.signal(RefundWorkflow.refund_updated)
    assert (await ended(shop, handle, order_id)).state is RefundState.SUCCEEDED


async def failed_at_the_bank(shop: Shop) -> tuple[Handle, str, str]:
    order_id, id_ = await paid(shop, REFUND_PENDING), new_id()
    handle = await begin(shop, RefundRequest(order_id, id_, lines=ONE_MUG), waits=True)
    await reached(shop, handle, RefundState.PENDING)
    shop.cards.fail_refund(refund_key(order_id, id_))
    await handle.signal(RefundWorkflow.refund_updated)
    progress = await needs_a_person(handle)
    assert progress.state is RefundState.FAILED
    assert progress.attention is not None
    assert "expired_or_canceled_card" in progress.attention.problem
    return handle, order_id, id_


async def test_a_refund_that_fails_at_the_bank_no_longer_counts_and_stays_set_aside(
    shop: Shop,
) -> None:
    handle, order_id, _ = await failed_at_the_bank(shop)
    await check(shop, order_id)
    too_much = RefundRequest(order_id, new_id(), amount=PRICE + Money(1, "EUR"))
    assert "cannot be given back" in await refusal_of(shop, too_much)
    await handle.execute_update(RefundWorkflow.operate, Resolve("by bank transfer"))
    answer = await ended(shop, handle, order_id)
    assert (answer.state, answer.mailed) == (RefundState.SETTLED, False)
    assert "cannot be given back" in await refusal_of(shop, too_much)


async def test_a_refund_that_failed_at_the_bank_can_be_tried_again(shop: Shop) -> None:
    handle, order_id, id_ = await failed_at_the_bank(shop)
    await handle.execute_update(RefundWorkflow.operate, RetryNow())
    second = refund_key(order_id, id_, 2)

    async def asked_again() -> bool:
        return second in shop.cards.refunds

    await eventually(asked_again)
    shop.cards.settle_refund(second)
    await handle.signal(RefundWorkflow.refund_updated)
    answer = await ended(shop, handle, order_id)
    assert (answer.state, mails_of(shop, id_)) == (RefundState.SUCCEEDED, 1)


async def test_a_refund_that_fails_weeks_after_it_arrived_is_taken_up_again(shop: Shop) -> None:
    order_id, id_ = await paid(shop, REFUND_FAILS), new_id()
    request = RefundRequest(order_id, id_, lines=ONE_MUG, restock=True)
    assert (await refund(shop, request)).state is RefundState.SUCCEEDED
    shop.cards.settle_refund(refund_key(order_id, id_))
    handle = await begin(shop, request, waits=True)
    assert (await needs_a_person(handle)).state is RefundState.FAILED
    await handle.execute_update(RefundWorkflow.operate, Resolve("by bank transfer"))
    assert (await ended(shop, handle, order_id)).state is RefundState.SETTLED


async def sent_back(shop: Shop, handle: Handle, order_id: str, id_: str) -> None:
    """The bank sends back what had arrived, and a webhook says so."""
    shop.cards.settle_refund(refund_key(order_id, id_))
    await handle.signal(RefundWorkflow.refund_updated)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_what_is_heard_while_the_customer_is_told_is_looked_at(
    shop: Shop, where: Literal["before", "after"]
) -> None:
    order_id, id_ = await paid(shop, REFUND_FAILS), new_id()
    gate = shop.mailer.hold("send", where=where)
    handle = await begin(shop, RefundRequest(order_id, id_, lines=ONE_MUG), waits=True)
    await gate.entered()
    await sent_back(shop, handle, order_id, id_)
    gate.release()
    assert (await needs_a_person(handle)).state is RefundState.FAILED
    await handle.execute_update(RefundWorkflow.operate, Resolve("by bank transfer"))
    assert (await ended(shop, handle, order_id)).state is RefundState.SETTLED


async def test_a_mail_that_cannot_be_sent_is_dropped_when_the_bank_sends_the_money_back(
    shop: Shop,
) -> None:
    order_id, id_ = await paid(shop, REFUND_FAILS), new_id()
    shop.mailer.fail_until_healed("send", HOURS_OF_SILENCE)
    handle = await begin(shop, RefundRequest(order_id, id_, lines=ONE_MUG), waits=True)
    await reached(shop, handle, RefundState.SUCCEEDED)
    await sent_back(shop, handle, order_id, id_)
    assert (await needs_a_person(handle)).state is RefundState.FAILED
    shop.mailer.heal("send")
    await handle.execute_update(RefundWorkflow.operate, RetryNow())
    answer = await ended(shop, handle, order_id)
    assert (answer.state, answer.mailed, mails_of(shop, id_)) == (RefundState.SUCCEEDED, True, 1)


async def test_news_that_are_none_are_looked_at_once_and_tell_nobody_twice(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    gate = shop.mailer.hold("send")
    handle = await begin(shop, RefundRequest(order_id, id_), waits=True)
    await gate.entered()
    await handle.signal(RefundWorkflow.refund_updated)
    gate.release()
    answer = await ended(shop, handle, order_id)
    assert (answer.state, answer.mailed, mails_of(shop, id_)) == (RefundState.SUCCEEDED, True, 1)
    assert shop.cards.calls.count("find_refund") == 1


async def test_a_lost_answer_to_a_refund_that_failed_meanwhile_is_a_failure(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    shop.cards.lose_answer_next("refund")
    again = shop.cards.hold("refund")
    handle = await begin(shop, RefundRequest(order_id, id_), waits=True)
    await again.entered()
    shop.cards.fail_refund(refund_key(order_id, id_))
    again.release()
    assert (await needs_a_person(handle)).state is RefundState.FAILED
    await handle.execute_update(RefundWorkflow.operate, Resolve("by bank transfer"))
    await handle.result()
    await check(shop, order_id)


async def test_a_terminated_run_is_taken_up_where_it_was(shop: Shop) -> None:
    order_id, id_ = await paid(shop), new_id()
    request = RefundRequest(order_id, id_, lines=ONE_MUG, restock=True)
    gate = shop.cards.hold("refund", where="after")
    handle = await begin(shop, request, waits=True)
    await gate.entered()
    await handle.terminate()
    gate.release()
    outcome = await refund(shop, request)
    assert (outcome.state, outcome.restocked) == (RefundState.SUCCEEDED, True)
    assert len(shop.cards.refunds) == 1
