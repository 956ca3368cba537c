"""Contract of `Cards`, for every card provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    AmountRefusedError,
    CardCharge,
    ChargeState,
    NoAnswerError,
    RefusedError,
    UnusableCardError,
)
from tests.contracts.cards import (
    AT_STRIPE,
    FAILURES,
    IN_MEMORY,
    ON_SANDBOX,
    CardsOnTrial,
    on_trial,
)
from tests.contracts.conftest import SandboxControl
from tests.fakes.cards import UNKNOWN
from tests.support.keys import INSTALLATION, charge_key, payment_key, undo_refund_key

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


async def announce(trial: CardsOnTrial, order_id: str, price: Money = PRICE) -> CardCharge:
    return await trial.cards.create(
        installation=INSTALLATION, order_id=order_id, amount=price, key=payment_key(order_id)
    )


async def confirm(
    trial: CardsOnTrial,
    payment_id: str,
    order_id: str,
    card: str = "pm_card_visa",
    *,
    number: int = 1,
) -> CardCharge:
    """Try the card, as the order's try ``number``."""
    key = charge_key(order_id, number)
    return await trial.cards.confirm(payment_id, payment_method=card, key=key)


async def charge(
    trial: CardsOnTrial, order_id: str, card: str = "pm_card_visa", price: Money = PRICE
) -> CardCharge:
    announced = await announce(trial, order_id, price)
    return await confirm(trial, announced.payment_id, order_id, card)


# -- create ----------------------------------------------------------------------------------------


async def test_announcing_a_charge_moves_no_money(trial: CardsOnTrial, order_id: str) -> None:
    announced = await announce(trial, order_id)
    assert announced == CardCharge(
        announced.payment_id, ChargeState.OPEN, PRICE, captured=NOTHING, refunded=NOTHING
    )
    assert await trial.cards.read(announced.payment_id) == announced


async def test_the_same_key_announces_the_same_charge(trial: CardsOnTrial, order_id: str) -> None:
    assert await announce(trial, order_id) == await announce(trial, order_id)


async def test_announcing_again_tells_what_became_of_the_charge(
    trial: CardsOnTrial, order_id: str
) -> None:
    charged = await charge(trial, order_id)
    assert await announce(trial, order_id) == charged


async def test_a_key_is_refused_for_another_amount(trial: CardsOnTrial, order_id: str) -> None:
    await announce(trial, order_id)
    with pytest.raises(RefusedError):
        await announce(trial, order_id, price=Money(4300, "EUR"))


@pytest.mark.parametrize("card", ["no_such_card", UNKNOWN])
async def test_a_payment_method_that_nobody_has_is_an_answer(
    trial: CardsOnTrial, order_id: str, card: str
) -> None:
    for _ in range(2):  # and the same one when it is asked for again
        with pytest.raises(UnusableCardError) as refusal:
            await charge(trial, order_id, card)
        assert refusal.value.code == "resource_missing"


@pytest.mark.parametrize(
    ("price", "code"),
    [
        (Money(20, "EUR"), "amount_too_small"),
        (Money(100_000_000, "EUR"), "amount_too_large"),
    ],
    ids=str,
)
async def test_an_amount_that_no_card_is_charged_is_an_answer(
    trial: CardsOnTrial, order_id: str, price: Money, code: str
) -> None:
    with pytest.raises(AmountRefusedError) as refusal:
        await charge(trial, order_id, price=price)
    assert refusal.value.code == code


async def test_an_amount_between_two_steps_is_an_answer(trial: CardsOnTrial, order_id: str) -> None:
    with pytest.raises(AmountRefusedError):
        await charge(trial, order_id, price=Money(1235, "KWD"))


# -- confirm ---------------------------------------------------------------------------------------


async def test_confirming_takes_the_money_once(trial: CardsOnTrial, order_id: str) -> None:
    first = await charge(trial, order_id)
    again = await confirm(trial, first.payment_id, order_id)
    by_another_key = await confirm(trial, first.payment_id, order_id, number=2)
    assert first.state is ChargeState.CAPTURED
    assert first.captured == PRICE
    assert first == again == by_another_key == await trial.cards.read(first.payment_id)


@pytest.mark.parametrize(
    "price", [Money(900, "JPY"), Money(500, "ISK"), Money(12_340, "KWD")], ids=str
)
async def test_amounts_survive_currencies_without_cents(
    trial: CardsOnTrial, order_id: str, price: Money
) -> None:
    charged = await charge(trial, order_id, price=price)
    refund = await trial.cards.refund(
        charged.payment_id, price, installation=INSTALLATION, order_id=order_id, key=f"{order_id}:r"
    )
    read = await trial.cards.read(charged.payment_id)
    assert (charged.captured, refund.amount, read.refunded) == (price, price, price)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
async def test_a_declined_card_is_a_state_and_stays_one(
    trial: CardsOnTrial, order_id: str, card: str, code: str
) -> None:
    declined = await charge(trial, order_id, card)
    assert (declined.state, declined.decline_code) == (ChargeState.DECLINED, code)
    assert (declined.captured, declined.refunded) == (NOTHING, NOTHING)
    again = await confirm(trial, declined.payment_id, order_id, card)
    assert again == declined == await trial.cards.read(declined.payment_id)


async def test_each_try_that_reaches_a_bank_leaves_a_newer_charge(
    trial: CardsOnTrial, order_id: str
) -> None:
    announced = await announce(trial, order_id)
    assert announced.latest_charge == ""
    card = "pm_card_visa_chargeDeclined"
    seen = [announced.latest_charge]
    for number in (1, 2):
        declined = await confirm(trial, announced.payment_id, order_id, card, number=number)
        assert declined.state is ChargeState.DECLINED
        assert declined.latest_charge not in seen
        assert await confirm(trial, announced.payment_id, order_id, card, number=number) == declined
        seen.append(declined.latest_charge)


async def test_another_card_pays_the_charge_that_the_first_did_not(
    trial: CardsOnTrial, order_id: str
) -> None:
    declined = await charge(trial, order_id, "pm_card_visa_chargeDeclined")
    paid = await confirm(trial, declined.payment_id, order_id, "pm_card_mastercard", number=2)
    assert (paid.state, paid.captured, paid.decline_code) == (ChargeState.CAPTURED, PRICE, "")
    assert paid.latest_charge != declined.latest_charge
    # The first try again, and a third one: it is paid.
    first = await confirm(trial, paid.payment_id, order_id, "pm_card_visa_chargeDeclined")
    third = await confirm(trial, paid.payment_id, order_id, number=3)
    assert first == third == paid == await trial.cards.read(paid.payment_id)


async def test_the_key_of_a_try_is_refused_for_another_card(
    trial: CardsOnTrial, order_id: str
) -> None:
    declined = await charge(trial, order_id, "pm_card_visa_chargeDeclined")
    with pytest.raises(RefusedError):
        await confirm(trial, declined.payment_id, order_id, "pm_card_mastercard")


async def test_the_customer_may_pay_in_the_browser_what_was_declined(
    breakable: CardsOnTrial, order_id: str
) -> None:
    declined = await charge(breakable, order_id, "pm_card_visa_chargeDeclined")
    await breakable.confirm_in_browser(declined.payment_id, "pm_card_mastercard")
    read = await breakable.cards.read(declined.payment_id)
    assert (read.state, read.captured) == (ChargeState.CAPTURED, PRICE)
    again = await confirm(breakable, declined.payment_id, order_id, "pm_card_visa_chargeDeclined")
    assert again == read


async def test_what_is_confirmed_too_often_is_cancelled(
    breakable: CardsOnTrial, order_id: str
) -> None:
    declined = await charge(breakable, order_id, "pm_card_visa_chargeDeclined")
    for number in range(2, 12):
        declined = await confirm(
            breakable, declined.payment_id, order_id, "pm_card_visa_chargeDeclined", number=number
        )
    assert (declined.state, declined.captured) == (ChargeState.CANCELLED, NOTHING)
    assert await breakable.cards.read(declined.payment_id) == declined


async def test_a_bank_may_want_to_hear_the_customer_first(
    trial: CardsOnTrial, order_id: str
) -> None:
    asked = await charge(trial, order_id, "pm_card_threeDSecure2Required")
    assert (asked.state, asked.captured) == (ChargeState.NEEDS_CUSTOMER, NOTHING)
    assert asked == await trial.cards.read(asked.payment_id)


async def test_confirming_again_tells_that_the_customer_has_agreed(
    trial: CardsOnTrial, order_id: str
) -> None:
    asked = await charge(trial, order_id, "pm_card_threeDSecure2Required")
    await trial.authenticate(asked.payment_id, succeeds=True)
    card = "pm_card_threeDSecure2Required"
    again = await confirm(trial, asked.payment_id, order_id, card)
    assert (again.state, again.captured) == (ChargeState.CAPTURED, PRICE)


async def test_a_customer_who_fails_to_agree_is_a_decline(
    trial: CardsOnTrial, order_id: str
) -> None:
    asked = await charge(trial, order_id, "pm_card_threeDSecure2Required")
    await trial.authenticate(asked.payment_id, succeeds=False)
    read = await trial.cards.read(asked.payment_id)
    assert read.state is ChargeState.DECLINED
    assert read.decline_code == "payment_intent_authentication_failure"
    assert read.latest_charge == asked.latest_charge  # no bank was asked for money
    paid = await confirm(trial, asked.payment_id, order_id, "pm_card_mastercard", number=2)
    assert (paid.state, paid.captured) == (ChargeState.CAPTURED, PRICE)


async def test_the_secret_for_the_customers_browser_is_the_charges_own(
    trial: CardsOnTrial, order_id: str
) -> None:
    asked = await charge(trial, order_id, "pm_card_threeDSecure2Required")
    secret = await trial.cards.client_secret(asked.payment_id)
    assert secret.startswith(f"{asked.payment_id}_secret_")
    assert secret not in repr(await trial.cards.read(asked.payment_id))


async def test_what_was_never_announced_is_refused(trial: CardsOnTrial) -> None:
    with pytest.raises(RefusedError):
        await trial.cards.read("pi_never_announced")
    with pytest.raises(RefusedError):
        await confirm(trial, "pi_never_announced", "nobody")
    with pytest.raises(RefusedError):
        await trial.cards.cancel("pi_never_announced")
    with pytest.raises(RefusedError):
        await trial.cards.client_secret("pi_never_announced")


# -- cancel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", ["pm_card_visa_chargeDeclined", "pm_card_threeDSecure2Required"])
async def test_what_took_no_money_can_be_cancelled(
    trial: CardsOnTrial, order_id: str, card: str
) -> None:
    charged = await charge(trial, order_id, card)
    cancelled = await trial.cards.cancel(charged.payment_id)
    assert (cancelled.state, cancelled.captured) == (ChargeState.CANCELLED, NOTHING)


async def test_a_cancelled_charge_never_takes_money(trial: CardsOnTrial, order_id: str) -> None:
    announced = await announce(trial, order_id)
    cancelled = await trial.cards.cancel(announced.payment_id)
    assert cancelled.state is ChargeState.CANCELLED
    assert cancelled == await trial.cards.cancel(announced.payment_id)
    assert cancelled == await confirm(trial, announced.payment_id, order_id)


async def test_cancelling_too_late_tells_that_the_money_was_taken(
    trial: CardsOnTrial, order_id: str
) -> None:
    charged = await charge(trial, order_id)
    assert await trial.cards.cancel(charged.payment_id) == charged


# -- refund ----------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_money_back_once(trial: CardsOnTrial, order_id: str) -> None:
    charged = await charge(trial, order_id)
    key = undo_refund_key(order_id, charged.payment_id)
    first = await trial.cards.refund(
        charged.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
    )
    again = await trial.cards.refund(
        charged.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
    )
    read = await trial.cards.read(charged.payment_id)
    assert first == again
    assert (first.amount, read.captured, read.refunded) == (PRICE, PRICE, PRICE)


async def test_two_equal_partial_refunds_are_two_refunds(
    trial: CardsOnTrial, order_id: str
) -> None:
    charged = await charge(trial, order_id)
    part = Money(1000, "EUR")
    first = await trial.cards.refund(
        charged.payment_id,
        part,
        installation=INSTALLATION,
        order_id=order_id,
        key=f"{order_id}:one",
    )
    second = await trial.cards.refund(
        charged.payment_id,
        part,
        installation=INSTALLATION,
        order_id=order_id,
        key=f"{order_id}:two",
    )
    assert first.refund_id != second.refund_id
    assert (await trial.cards.read(charged.payment_id)).refunded == part * 2


async def test_no_more_is_given_back_than_was_taken(trial: CardsOnTrial, order_id: str) -> None:
    charged = await charge(trial, order_id)
    part, rest = Money(4000, "EUR"), Money(201, "EUR")
    await trial.cards.refund(
        charged.payment_id,
        part,
        installation=INSTALLATION,
        order_id=order_id,
        key=f"{order_id}:part",
    )
    with pytest.raises(RefusedError):
        await trial.cards.refund(
            charged.payment_id,
            rest,
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}:too-much",
        )
    assert (await trial.cards.read(charged.payment_id)).refunded == part


async def test_the_key_of_a_refund_is_refused_for_another_amount(
    trial: CardsOnTrial, order_id: str
) -> None:
    charged = await charge(trial, order_id)
    await trial.cards.refund(
        charged.payment_id,
        Money(10, "EUR"),
        installation=INSTALLATION,
        order_id=order_id,
        key=f"{order_id}:k",
    )
    with pytest.raises(RefusedError):
        await trial.cards.refund(
            charged.payment_id,
            Money(20, "EUR"),
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}:k",
        )


async def test_there_is_nothing_to_give_back_of_an_open_charge(
    trial: CardsOnTrial, order_id: str
) -> None:
    announced = await announce(trial, order_id)
    with pytest.raises(RefusedError):
        await trial.cards.refund(
            announced.payment_id,
            PRICE,
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}:k",
        )


# -- no answer, and retries ------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    "method", ["create", "confirm", "read", "cancel", "refund", "client_secret"]
)
async def test_asking_again_after_no_answer_has_the_effect_of_once(
    breakable: CardsOnTrial, order_id: str, method: str, failure: str
) -> None:
    cards = breakable.cards
    announced = None if method == "create" else await announce(breakable, order_id)
    if method == "refund":
        await charge(breakable, order_id)

    async def ask() -> object:
        if announced is None:
            return await announce(breakable, order_id)
        match method:
            case "confirm":
                return await confirm(breakable, announced.payment_id, order_id)
            case "read":
                return await cards.read(announced.payment_id)
            case "cancel":
                return await cards.cancel(announced.payment_id)
            case "client_secret":
                return await cards.client_secret(announced.payment_id)
        return await cards.refund(
            announced.payment_id,
            PRICE,
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}:undo",
        )

    await breakable.break_next(method, failure, order_id)
    with pytest.raises(NoAnswerError) as caught:
        await ask()
    assert type(caught.value) is FAILURES[failure]
    assert caught.value.retry_after == (timedelta(seconds=7) if failure == "rate_limit" else None)
    assert await ask() == await ask()

    captured = PRICE.amount if method in {"confirm", "refund"} else 0
    refunds = 1 if method == "refund" else 0
    expected = (1, refunds, captured, refunds * PRICE.amount)
    assert await breakable.totals(order_id) == expected


async def test_confirming_at_the_same_time_takes_the_money_once(
    breakable: CardsOnTrial, order_id: str
) -> None:
    announced = await announce(breakable, order_id)
    ask = [
        confirm(breakable, announced.payment_id, order_id, number=number)
        for number in (1, 1, 1, 2, 2)
    ]
    answers = await asyncio.gather(*ask, return_exceptions=True)
    charges = [answer for answer in answers if isinstance(answer, CardCharge)]
    assert charges
    assert {answer.state for answer in charges} == {ChargeState.CAPTURED}
    assert all(isinstance(answer, CardCharge | NoAnswerError) for answer in answers)
    assert await breakable.totals(order_id) == (1, 0, PRICE.amount, 0)


async def test_refunding_at_the_same_time_gives_back_once(
    breakable: CardsOnTrial, order_id: str
) -> None:
    charged = await charge(breakable, order_id)
    part = Money(100, "EUR")
    ask = [
        breakable.cards.refund(
            charged.payment_id,
            part,
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}:k",
        )
        for _ in range(5)
    ]
    answers = await asyncio.gather(*ask, return_exceptions=True)
    refunds = {answer for answer in answers if not isinstance(answer, NoAnswerError)}
    assert len(refunds) == 1
    assert await breakable.totals(order_id) == (1, 1, PRICE.amount, part.amount)
