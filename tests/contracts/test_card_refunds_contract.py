"""Contract of `Cards`: pending and failed refunds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, CardRefund, CardRefundState, RefusedError
from tests.contracts.cards import AT_STRIPE, IN_MEMORY, ON_SANDBOX, CardsOnTrial, on_trial
from tests.contracts.conftest import SandboxControl
from tests.support.keys import INSTALLATION, charge_key, payment_key, refund_key

PRICE = Money(42_00, "EUR")
PART = Money(10_00, "EUR")


@pytest_asyncio.fixture(params=[IN_MEMORY, ON_SANDBOX, AT_STRIPE])
async def trial(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[CardsOnTrial]:
    async with on_trial(request.param, control) as provider:
        yield provider


async def paid(trial: CardsOnTrial, order_id: str, card: str = "pm_card_visa") -> CardCharge:
    announced = await trial.cards.create(
        installation=INSTALLATION, order_id=order_id, amount=PRICE, key=payment_key(order_id)
    )
    return await trial.cards.confirm(
        announced.payment_id, payment_method=card, key=charge_key(order_id, 1)
    )


async def refund(
    trial: CardsOnTrial, charge: CardCharge, order_id: str, attempt: int = 1
) -> CardRefund:
    key = refund_key(order_id, "r1", attempt)
    return await trial.cards.refund(
        charge.payment_id, PART, installation=INSTALLATION, order_id=order_id, key=key
    )


async def test_a_refund_is_found_by_its_key_and_by_no_other(
    trial: CardsOnTrial, order_id: str
) -> None:
    charge, key = await paid(trial, order_id), refund_key(order_id, "r1")
    assert await trial.cards.find_refund(charge.payment_id, key=key) is None
    made = await refund(trial, charge, order_id)
    assert made.state is CardRefundState.SUCCEEDED
    assert await trial.cards.find_refund(charge.payment_id, key=key) == made
    assert await trial.cards.find_refund(charge.payment_id, key=f"{key}0") is None


async def test_a_refund_may_be_pending_and_arrive_later(trial: CardsOnTrial, order_id: str) -> None:
    charge = await paid(trial, order_id, "pm_card_pendingRefund")
    key = refund_key(order_id, "r1")
    made = await refund(trial, charge, order_id)
    assert made.state is CardRefundState.PENDING
    assert await refund(trial, charge, order_id) == made
    assert (await trial.cards.read(charge.payment_id)).refunded == PART
    await trial.settle_refund(key, made.refund_id)
    found = await trial.cards.find_refund(charge.payment_id, key=key)
    assert found == CardRefund(made.refund_id, PART, CardRefundState.SUCCEEDED)


async def test_a_refund_that_had_succeeded_can_fail_and_is_not_made_again_by_itself(
    trial: CardsOnTrial, order_id: str
) -> None:
    charge = await paid(trial, order_id, "pm_card_refundFail")
    key = refund_key(order_id, "r1")
    made = await refund(trial, charge, order_id)
    await trial.settle_refund(key, made.refund_id)
    found = await trial.cards.find_refund(charge.payment_id, key=key)
    assert found is not None
    assert (found.state, found.problem) == (CardRefundState.FAILED, "expired_or_canceled_card")
    assert (await trial.cards.read(charge.payment_id)).refunded == Money(0, "EUR")
    with pytest.raises(RefusedError, match="failed"):
        await refund(trial, charge, order_id)
    again = await refund(trial, charge, order_id, attempt=2)
    assert again.refund_id != made.refund_id
