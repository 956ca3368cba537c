"""Stripe's SDK against the sandbox: stored answers, idempotency keys in use, wrong API keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardCharge,
    ChargeState,
    LockedOutError,
    NoAnswerError,
    RefusedError,
)
from durable_orders.providers.stripe.cards import StripeCards
from tests.contracts.conftest import SandboxControl
from tests.support.keys import INSTALLATION, capture_key, charge_key, payment_key

PRICE = Money(4200, "EUR")


@pytest_asyncio.fixture
async def cards(control: SandboxControl) -> AsyncIterator[StripeCards]:
    async with StripeCards("sk_test_sandbox", api_base=control.url) as provider:
        yield provider


async def announce(cards: StripeCards, order_id: str, *, hold: bool = False) -> CardCharge:
    return await cards.create(
        installation=INSTALLATION,
        order_id=order_id,
        amount=PRICE,
        key=payment_key(order_id),
        hold=hold,
    )


async def confirm(
    cards: StripeCards, announced: CardCharge, order_id: str, card: str = "pm_card_visa"
) -> CardCharge:
    key = charge_key(order_id, 1)
    return await cards.confirm(announced.payment_id, payment_method=card, key=key)


async def test_a_charge_behind_a_stored_500_is_found_by_reading(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    await control.turn("stripe.payment_intents.confirm", "error_after", order_id)
    for _ in range(2):  # Stripe repeats the 500 for this key
        with pytest.raises(NoAnswerError):
            await confirm(cards, announced, order_id)
    assert (await cards.read(announced.payment_id)).captured == PRICE


async def test_a_refund_behind_a_stored_500_is_found_by_its_key(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    await confirm(cards, announced, order_id)
    key = f"{order_id}:undo"
    await control.turn("stripe.refunds.create", "error_after", order_id)
    with pytest.raises(NoAnswerError):
        await cards.refund(
            announced.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
        )
    await cards.refund(
        announced.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
    )
    assert (await control.page(order_id))["refunded"] == PRICE.amount


async def test_a_cancellation_is_not_stuck_behind_a_stored_500(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    await control.turn("stripe.payment_intents.cancel", "error_saved", order_id)
    with pytest.raises(NoAnswerError):
        await cards.cancel(announced.payment_id)
    assert (await cards.cancel(announced.payment_id)).state is ChargeState.CANCELLED


@pytest.mark.parametrize("mode", ["error_saved", "error_after"])
async def test_a_capture_is_not_stuck_behind_a_stored_500(
    cards: StripeCards, control: SandboxControl, order_id: str, mode: str
) -> None:
    announced = await announce(cards, order_id, hold=True)
    await confirm(cards, announced, order_id)
    await control.turn("stripe.payment_intents.capture", mode, order_id)
    with pytest.raises(NoAnswerError):
        await cards.capture(announced.payment_id, key=capture_key(order_id, announced.payment_id))
    captured = await cards.capture(
        announced.payment_id, key=capture_key(order_id, announced.payment_id)
    )
    assert (captured.state, captured.captured) == (ChargeState.CAPTURED, PRICE)
    assert (await control.page(order_id))["captured"] == PRICE.amount


@pytest.mark.parametrize(
    "code", ["charge_expired_for_capture", "capture_charge_authorization_expired"]
)
async def test_a_hold_the_bank_let_go_of_is_cancelled_at_stripe_too(
    cards: StripeCards, control: SandboxControl, order_id: str, code: str
) -> None:
    announced = await announce(cards, order_id, hold=True)
    await confirm(cards, announced, order_id)
    await control.turn("stripe.payment_intents.capture", "refuse", order_id, reason=code)
    lapsed = await cards.capture(
        announced.payment_id, key=capture_key(order_id, announced.payment_id)
    )
    assert lapsed.state is ChargeState.CANCELLED
    assert lapsed == await cards.read(announced.payment_id)


async def test_the_secret_for_the_browser_is_in_no_log(
    cards: StripeCards, order_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        announced = await announce(cards, order_id)
        secret = await cards.client_secret(announced.payment_id)
    assert announced.payment_id in caplog.text  # something is logged
    assert secret not in caplog.text


async def test_a_key_in_use_is_no_answer(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    dial = await control.turn("stripe.payment_intents.confirm", "delay", order_id)
    first = asyncio.create_task(confirm(cards, announced, order_id))
    await control.wait_for_hit(dial)
    with pytest.raises(NoAnswerError, match="idempotency_key_in_use"):
        await confirm(cards, announced, order_id)
    await control.remove(dial)
    assert (await first).state is ChargeState.CAPTURED


async def test_stripe_that_takes_too_long_is_no_answer(
    control: SandboxControl, order_id: str
) -> None:
    async with StripeCards("sk_test_sandbox", api_base=control.url, timeout=0.3) as hasty:
        dial = await control.turn("stripe.payment_intents.create", "delay_after", order_id)
        with pytest.raises(NoAnswerError):
            await announce(hasty, order_id)
        await control.remove(dial)
        announced = await announce(hasty, order_id)
    assert [p["id"] for p in (await control.page(order_id))["payments"]] == [announced.payment_id]


async def test_giving_up_waiting_is_a_cancellation_and_no_error(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    dial = await control.turn("stripe.payment_intents.create", "delay_after", order_id)
    asking = asyncio.create_task(announce(cards, order_id))
    await control.wait_for_hit(dial)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await control.remove(dial)
    assert (await announce(cards, order_id)).state is ChargeState.OPEN


async def test_a_key_that_stripe_refuses_locks_us_out_and_is_not_shown(
    control: SandboxControl, order_id: str
) -> None:
    key = "not_a_key_of_stripe_12345"
    async with StripeCards(key, api_base=control.url) as stranger:
        with pytest.raises(LockedOutError, match="STRIPE_API_KEY") as caught:
            await announce(stranger, order_id)
    assert key[:5] not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_refund_that_failed_at_the_bank_counts_no_more(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    await confirm(cards, announced, order_id, "pm_card_refundFail")
    key = f"{order_id}:undo"
    refund = await cards.refund(
        announced.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
    )
    assert (await cards.read(announced.payment_id)).refunded == PRICE
    await control.settle_refund(refund.refund_id)
    assert (await cards.read(announced.payment_id)).refunded == Money(0, "EUR")
    with pytest.raises(RefusedError, match="another way"):
        await cards.refund(
            announced.payment_id, PRICE, installation=INSTALLATION, order_id=order_id, key=key
        )


async def test_refunds_beyond_the_first_page_are_counted_and_found(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    await confirm(cards, announced, order_id)
    cent = Money(1, "EUR")
    keys = [f"{order_id}:{number}" for number in range(102)]
    first = await cards.refund(
        announced.payment_id, cent, installation=INSTALLATION, order_id=order_id, key=keys[0]
    )
    async with asyncio.TaskGroup() as group:
        for key in keys[1:]:
            group.create_task(
                cards.refund(
                    announced.payment_id,
                    cent,
                    installation=INSTALLATION,
                    order_id=order_id,
                    key=key,
                )
            )
    assert (await cards.read(announced.payment_id)).refunded == cent * 102
    again = await cards.refund(
        announced.payment_id, cent, installation=INSTALLATION, order_id=order_id, key=keys[0]
    )
    assert again == first


# -- what a person or Stripe does beside us --------------------------------------------------------

RISKY = "pm_card_riskLevelElevated"


async def by_hand(control: SandboxControl, path: str, **parameters: object) -> None:
    """A request to Stripe that is not ours, as the dashboard makes them."""
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    async with httpx.AsyncClient(base_url=control.url, headers=headers) as http:
        (await http.post(f"/v1/{path}", data=parameters)).raise_for_status()


@pytest.mark.parametrize("hold", [False, True])
async def test_a_review_is_named_as_long_as_it_is_open(
    cards: StripeCards,
    control: SandboxControl,
    order_id: str,
    hold: bool,  # noqa: FBT001
) -> None:
    announced = await announce(cards, order_id, hold=hold)
    confirmed = await confirm(cards, announced, order_id, RISKY)
    assert confirmed.review.startswith("prv_")
    assert (await cards.read(announced.payment_id)).review == confirmed.review

    await by_hand(control, f"reviews/{confirmed.review}/approve")

    # Stripe goes on naming it.
    assert (await cards.read(announced.payment_id)).review == ""
    if hold:
        key = capture_key(order_id, announced.payment_id)
        captured = await cards.capture(announced.payment_id, key=key)
        assert (captured.state, captured.review) == (ChargeState.CAPTURED, "")


async def test_a_review_that_a_person_asks_for_is_named(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    assert (await confirm(cards, announced, order_id)).review == ""
    review = await control.review(announced.payment_id)
    assert (await cards.read(announced.payment_id)).review == review


async def test_an_ordinary_charge_takes_no_request_more_because_of_reviews(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id)
    before = await control.newest_request()
    await confirm(cards, announced, order_id)
    [sent] = await control.sent_to_stripe(before)
    assert sent.path.endswith("/confirm")


async def test_a_part_of_a_hold_that_was_captured_by_hand_is_what_was_captured(
    cards: StripeCards, control: SandboxControl, order_id: str
) -> None:
    announced = await announce(cards, order_id, hold=True)
    held = await confirm(cards, announced, order_id)
    assert (held.held, held.captured) == (PRICE, PRICE * 0)
    part = Money(10_00, "EUR")

    await by_hand(
        control, f"payment_intents/{held.payment_id}/capture", amount_to_capture=part.amount
    )

    for charge in (
        await cards.read(held.payment_id),
        await cards.capture(held.payment_id, key=capture_key(order_id, held.payment_id)),
    ):
        assert (charge.state, charge.captured, charge.amount) == (ChargeState.CAPTURED, part, PRICE)
