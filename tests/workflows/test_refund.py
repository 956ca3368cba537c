"""Refunds of paid orders: what is given back, and trouble on the way."""

from __future__ import annotations

import asyncio

import pytest

from durable_orders.contracts.error_types import NOT_OPERABLE
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.refunds.messages import RefundOutcome
from durable_orders.domain.refunds.refund import RefundRefused, RefundRequest, RefundState
from durable_orders.domain.workflow_messages import RetryNow, SkipStep
from tests.support.keys import refund_key
from tests.workflows.conftest import HOURS_OF_SILENCE, ON_HAND, PRICE, QUANTITY, Shop
from tests.workflows.refunds import (
    ONE_MUG,
    begin,
    check,
    ended,
    mails_of,
    needs_a_person,
    new_id,
    paid,
    refund,
    refusal_of,
    refused,
)
from workflows.refund import RefundWorkflow

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
        "refund_requested",
        "refund_issuing",
        "refund_succeeded",
        "refund_mailed",
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


# -- trouble on the way ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "asked"),
    # What was told when the first answer was lost is found there, and not told again.
    [("reserve", 4), ("begin", 4), ("tell", 1), ("restock", 4)],
)
async def test_an_answer_lost_by_the_book_changes_nothing_twice(
    shop: Shop, method: str, asked: int
) -> None:
    shop.refunds.lose_answer_next(method, times=3)
    order_id, id_ = await paid(shop), new_id()
    outcome = await refund(shop, RefundRequest(order_id, id_, lines=ONE_MUG, restock=True))
    assert shop.refunds.calls.count(method) == asked
    shop.refunds.heal(method)
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
