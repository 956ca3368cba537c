"""Contract of `Cards`: holds, and payments in processing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState, NoAnswerError, RefusedError
from tests.contracts.cards import (
    AT_STRIPE,
    FAILURES,
    IN_MEMORY,
    ON_SANDBOX,
    CardsOnTrial,
    on_trial,
)
from tests.contracts.conftest import SandboxControl
from tests.fakes.cards import PROCESSING
from tests.support.keys import INSTALLATION, capture_key, charge_key, payment_key, undo_refund_key

PRICE = Money(4200, "EUR")
NOTHING = Money(0, "EUR")


@pytest_asyncio.fixture(params=[IN_MEMORY, ON_SANDBOX, AT_STRIPE])
async def trial(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[CardsOnTrial]:
    async with on_trial(request.param, control) as provider:
        yield provider


@pytest_asyncio.fixture(params=[IN_MEMORY, ON_SANDBOX])
async def breakable(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[CardsOnTrial]:
    async with on_trial(request.param, control) as provider:
        yield provider


async def announce(trial: CardsOnTrial, order_id: str, *, hold: bool = True) -> CardCharge:
    return await trial.cards.create(
        installation=INSTALLATION,
        order_id=order_id,
        amount=PRICE,
        key=payment_key(order_id),
        hold=hold,
    )


async def confirm(
    trial: CardsOnTrial,
    payment_id: str,
    order_id: str,
    card: str = "pm_card_visa",
    *,
    number: int = 1,
) -> CardCharge:
    key = charge_key(order_id, number)
    return await trial.cards.confirm(payment_id, payment_method=card, key=key)


async def confirmed(
    trial: CardsOnTrial, order_id: str, card: str = "pm_card_visa", *, hold: bool = True
) -> CardCharge:
    announced = await announce(trial, order_id, hold=hold)
    return await confirm(trial, announced.payment_id, order_id, card)


async def capture(trial: CardsOnTrial, order_id: str, payment_id: str) -> CardCharge:
    return await trial.cards.capture(payment_id, key=capture_key(order_id, payment_id))


# -- holding ---------------------------------------------------------------------------------------


async def test_a_hold_takes_nothing_and_says_how_long_it_lasts(
    trial: CardsOnTrial, order_id: str
) -> None:
    before = datetime.now(UTC)
    held = await confirmed(trial, order_id)
    assert (held.state, held.amount, held.captured) == (ChargeState.HELD, PRICE, NOTHING)
    assert held.capture_before is not None
    assert held.capture_before.tzinfo is UTC
    assert before + timedelta(days=1) < held.capture_before < before + timedelta(days=31)
    again = await confirm(trial, held.payment_id, order_id)
    assert held == again == await trial.cards.read(held.payment_id)


async def test_a_key_is_refused_for_a_hold_when_it_was_for_taking_the_money(
    trial: CardsOnTrial, order_id: str
) -> None:
    await announce(trial, order_id, hold=False)
    with pytest.raises(RefusedError):
        await announce(trial, order_id, hold=True)


async def test_a_declined_card_holds_nothing(trial: CardsOnTrial, order_id: str) -> None:
    declined = await confirmed(trial, order_id, "pm_card_visa_chargeDeclined")
    assert (declined.state, declined.capture_before) == (ChargeState.DECLINED, None)


async def test_a_customer_who_agrees_has_the_money_held(trial: CardsOnTrial, order_id: str) -> None:
    asked = await confirmed(trial, order_id, "pm_card_threeDSecure2Required")
    assert (asked.state, asked.capture_before) == (ChargeState.NEEDS_CUSTOMER, None)
    await trial.authenticate(asked.payment_id, succeeds=True)
    held = await trial.cards.read(asked.payment_id)
    assert held.state is ChargeState.HELD
    assert held.capture_before is not None


async def test_a_hold_that_is_cancelled_took_nothing(trial: CardsOnTrial, order_id: str) -> None:
    held = await confirmed(trial, order_id)
    cancelled = await trial.cards.cancel(held.payment_id)
    assert (cancelled.state, cancelled.captured, cancelled.refunded, cancelled.capture_before) == (
        ChargeState.CANCELLED,
        NOTHING,
        NOTHING,
        None,
    )
    assert await capture(trial, order_id, held.payment_id) == cancelled


async def test_what_is_only_held_cannot_be_refunded(trial: CardsOnTrial, order_id: str) -> None:
    held = await confirmed(trial, order_id)
    with pytest.raises(RefusedError):
        await trial.cards.refund(
            held.payment_id,
            PRICE,
            installation=INSTALLATION,
            order_id=order_id,
            key=undo_refund_key(order_id, held.payment_id),
        )


# -- capturing -------------------------------------------------------------------------------------


async def test_capturing_takes_what_is_held_once(trial: CardsOnTrial, order_id: str) -> None:
    held = await confirmed(trial, order_id)
    captured = await capture(trial, order_id, held.payment_id)
    assert (captured.state, captured.captured) == (ChargeState.CAPTURED, PRICE)
    assert captured.capture_before is None
    again = await capture(trial, order_id, held.payment_id)
    by_another_key = await trial.cards.capture(held.payment_id, key=f"{order_id}:another")
    assert captured == again == by_another_key == await trial.cards.read(held.payment_id)


async def test_capturing_again_tells_what_was_given_back_since(
    trial: CardsOnTrial, order_id: str
) -> None:
    held = await confirmed(trial, order_id)
    await capture(trial, order_id, held.payment_id)
    await trial.cards.refund(
        held.payment_id,
        PRICE,
        installation=INSTALLATION,
        order_id=order_id,
        key=undo_refund_key(order_id, held.payment_id),
    )
    again = await capture(trial, order_id, held.payment_id)
    assert (again.state, again.captured, again.refunded) == (ChargeState.CAPTURED, PRICE, PRICE)


async def test_what_was_taken_at_once_is_captured_already(
    trial: CardsOnTrial, order_id: str
) -> None:
    taken = await confirmed(trial, order_id, hold=False)
    assert await capture(trial, order_id, taken.payment_id) == taken


async def test_there_is_nothing_to_capture_before_the_money_is_held(
    trial: CardsOnTrial, order_id: str
) -> None:
    announced = await announce(trial, order_id)
    assert await capture(trial, order_id, announced.payment_id) == announced
    held = await confirm(trial, announced.payment_id, order_id)
    captured = await capture(trial, order_id, held.payment_id)
    assert (captured.state, captured.captured) == (ChargeState.CAPTURED, PRICE)


async def test_a_declined_charge_has_nothing_to_capture(trial: CardsOnTrial, order_id: str) -> None:
    declined = await confirmed(trial, order_id, "pm_card_visa_chargeDeclined")
    assert await capture(trial, order_id, declined.payment_id) == declined


async def test_what_was_never_announced_cannot_be_captured(trial: CardsOnTrial) -> None:
    with pytest.raises(RefusedError):
        await trial.cards.capture("pi_never_announced", key="k")


async def test_a_hold_that_lapsed_is_cancelled_and_took_nothing(
    trial: CardsOnTrial, order_id: str
) -> None:
    held = await confirmed(trial, order_id)
    await trial.lapse(held.payment_id)
    lapsed = await capture(trial, order_id, held.payment_id)
    assert (lapsed.state, lapsed.captured, lapsed.capture_before) == (
        ChargeState.CANCELLED,
        NOTHING,
        None,
    )
    assert lapsed == await trial.cards.read(held.payment_id)


@pytest.mark.parametrize("failure", FAILURES)
async def test_capturing_again_after_no_answer_takes_the_money_once(
    breakable: CardsOnTrial, order_id: str, failure: str
) -> None:
    held = await confirmed(breakable, order_id)
    await breakable.break_next("capture", failure, order_id)
    with pytest.raises(NoAnswerError) as caught:
        await capture(breakable, order_id, held.payment_id)
    assert type(caught.value) is FAILURES[failure]
    assert caught.value.retry_after == (timedelta(seconds=7) if failure == "rate_limit" else None)
    assert (await capture(breakable, order_id, held.payment_id)).captured == PRICE
    assert await breakable.totals(order_id) == (1, 0, PRICE.amount, 0)


async def test_a_bank_that_does_not_pay_what_it_holds_is_an_answer(
    breakable: CardsOnTrial, order_id: str
) -> None:
    held = await confirmed(breakable, order_id)
    await breakable.decline_capture(held, order_id, "insufficient_funds")
    for _ in range(2):
        declined = await capture(breakable, order_id, held.payment_id)
        assert (declined.state, declined.captured) == (ChargeState.DECLINED, NOTHING)
        assert declined.decline_code == "insufficient_funds"
    assert (await breakable.cards.cancel(held.payment_id)).state is ChargeState.CANCELLED


async def test_a_bank_that_may_pay_later_is_asked_again(
    breakable: CardsOnTrial, order_id: str
) -> None:
    held = await confirmed(breakable, order_id)
    await breakable.decline_capture(held, order_id, "processing_error")
    with pytest.raises(NoAnswerError):
        await capture(breakable, order_id, held.payment_id)
    assert (await breakable.cards.read(held.payment_id)).state is ChargeState.HELD


async def test_capturing_at_the_same_time_takes_the_money_once(
    breakable: CardsOnTrial, order_id: str
) -> None:
    held = await confirmed(breakable, order_id)
    answers = await asyncio.gather(
        *(
            breakable.cards.capture(held.payment_id, key=f"{order_id}:capture:{number}")
            for number in (1, 1, 1, 2, 2)
        ),
        return_exceptions=True,
    )
    charges = [answer for answer in answers if isinstance(answer, CardCharge)]
    assert charges
    assert {answer.state for answer in charges} == {ChargeState.CAPTURED}
    assert all(isinstance(answer, CardCharge | NoAnswerError) for answer in answers)
    assert await breakable.totals(order_id) == (1, 0, PRICE.amount, 0)


# -- payments in processing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hold", "state", "taken"),
    [(False, ChargeState.CAPTURED, PRICE), (True, ChargeState.HELD, NOTHING)],
    ids=["taken", "held"],
)
async def test_a_bank_that_takes_its_time_may_say_yes(
    breakable: CardsOnTrial,
    order_id: str,
    hold: bool,  # noqa: FBT001 - a parameter of the test
    state: ChargeState,
    taken: Money,
) -> None:
    waiting = await confirmed(breakable, order_id, PROCESSING, hold=hold)
    assert (waiting.state, waiting.captured) == (ChargeState.PROCESSING, NOTHING)
    again = await confirm(breakable, waiting.payment_id, order_id, number=2)
    assert again == waiting == await capture(breakable, order_id, waiting.payment_id)
    await breakable.finish_processing(waiting.payment_id, captured=True)
    read = await breakable.cards.read(waiting.payment_id)
    assert (read.state, read.captured) == (state, taken)


async def test_a_bank_that_takes_its_time_may_say_no(
    breakable: CardsOnTrial, order_id: str
) -> None:
    waiting = await confirmed(breakable, order_id, PROCESSING)
    await breakable.finish_processing(waiting.payment_id, captured=False)
    read = await breakable.cards.read(waiting.payment_id)
    assert (read.state, read.decline_code) == (ChargeState.DECLINED, "generic_decline")


async def test_what_the_bank_has_not_decided_cannot_be_cancelled_yet(
    breakable: CardsOnTrial, order_id: str
) -> None:
    waiting = await confirmed(breakable, order_id, PROCESSING)
    with pytest.raises(NoAnswerError):
        await breakable.cards.cancel(waiting.payment_id)
    await breakable.finish_processing(waiting.payment_id, captured=False)
    assert (await breakable.cards.cancel(waiting.payment_id)).state is ChargeState.CANCELLED
