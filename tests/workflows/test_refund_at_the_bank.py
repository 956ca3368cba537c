"""Refunds that banks take their time over, or send back."""

from __future__ import annotations

from typing import Literal

import pytest

from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.workflow_messages import Resolve, RetryNow
from durable_orders.process import PROGRAM
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.workflows.conftest import HOURS_OF_SILENCE, PRICE, Shop, current_details
from tests.workflows.refunds import (
    ONE_MUG,
    Handle,
    begin,
    check,
    ended,
    mails_of,
    needs_a_person,
    new_id,
    paid,
    reached,
    refund,
    refusal_of,
)
from workflows.refund import RefundWorkflow


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


async def test_the_web_ui_shows_what_an_operator_can_do_about_a_failed_refund(shop: Shop) -> None:
    handle, order_id, id_ = await failed_at_the_bank(shop)
    shown = await current_details(handle)
    assert "**Needs attention**: `issue_refund`" in shown
    assert f"`{PROGRAM} refund retry-now {order_id} {id_}`" in shown
    assert f'`{PROGRAM} refund resolve {order_id} {id_} --note "…"`' in shown
    await handle.execute_update(RefundWorkflow.operate, Resolve("by bank transfer"))
    await ended(shop, handle, order_id)
    assert "Needs attention" not in await current_details(handle)


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
