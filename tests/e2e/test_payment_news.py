"""What customers do in browsers, and the shop's people in the dashboard, reaches the order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from demo.environment import DemoEnvironment
from durable_orders.domain.lifecycle import Status, StopReason
from tests.e2e.api_processes import an_edge
from tests.e2e.test_long_lives import DECLINED, THREE_D_SECURE, Shift, shift
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

SHIP = "warehouse.fulfillments.create"


async def at_stripe(environment: DemoEnvironment, path: str, **body: Any) -> None:
    """Have something happen at the stand-in for Stripe."""
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url) as http:
        (await http.post(f"/sandbox/payment_intents/{path}", json=body)).raise_for_status()


async def refunded_in_dashboard(environment: DemoEnvironment, payment_id: str) -> None:
    headers = {"Authorization": f"Bearer {environment.sandbox.settings['STRIPE_API_KEY']}"}
    async with httpx.AsyncClient(
        base_url=environment.sandbox.stand_in_url, headers=headers
    ) as http:
        reply = await http.post("/v1/refunds", data={"payment_intent": payment_id})
        reply.raise_for_status()


async def payment_of(environment: DemoEnvironment, order_id: str) -> str:
    [payment] = (await environment.orders.view(order_id)).payments
    return payment.payment_id


@pytest.mark.parametrize("card", [THREE_D_SECURE, DECLINED])
async def test_a_customer_who_was_declined_pays_in_the_browser_at_once(
    environment: DemoEnvironment, shift: Shift, trials: Trials, card: str
) -> None:
    await shift.begins(NEW_CARD_WINDOW_MINUTES="1")
    async with an_edge(environment):
        order_id = await trials.start(card=card)
        await environment.wait_until_waiting(order_id)
        payment_id = await payment_of(environment, order_id)
        if card == THREE_D_SECURE:
            await at_stripe(environment, f"{payment_id}/authenticate", outcome="fail")
        await waits_for_another_card(environment, order_id)
        await at_stripe(environment, f"{payment_id}/confirm", payment_method="pm_card_mastercard")
        [outcome] = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    view = await environment.orders.view(order_id)
    declined = next(line.at for line in view.history if line.event == "payment_declined")
    paid = next(line.at for line in view.history if line.event == "payment_captured")
    assert paid - declined < timedelta(seconds=30)  # and not when the minute was over
    [payment] = (await environment.books.order(order_id)).payments
    assert payment.charges[-1].status == "succeeded"


async def test_a_lost_webhook_is_made_up_for_by_hand(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(NEW_CARD_WINDOW_MINUTES="60")
    order_id = await trials.start(card=DECLINED)
    await waits_for_another_card(environment, order_id)
    payment_id = await payment_of(environment, order_id)
    await at_stripe(environment, f"{payment_id}/confirm", payment_method="pm_card_mastercard")
    await environment.orders.payment_updated(order_id)  # client.py payment-updated
    assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]


@pytest.mark.parametrize("told", [True, False])
async def test_an_order_refunded_while_the_warehouse_takes_its_time_does_not_ship(
    environment: DemoEnvironment,
    shift: Shift,
    trials: Trials,
    told: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    await shift.begins()
    order_id = await trials.place()
    slow = await environment.faults.inject(SHIP, "delay", order_id=order_id, seconds=12)
    if told:
        async with an_edge(environment):
            await _refund_at_the_warehouse(environment, order_id, slow)
    else:
        await _refund_at_the_warehouse(environment, order_id, slow)
    assert (await environment.orders.view(order_id)).order.reason == StopReason.PAYMENT_RETURNED
    await environment.operations.resolve(order_id, "a refund by mistake", "ops-7")
    [outcome] = await trials.outcomes()
    assert outcome.status is Status.REFUNDED
    books = await environment.books.order(order_id)
    assert (books.captured, books.refunded) == (outcome.taken.amount, outcome.taken.amount)


async def _refund_at_the_warehouse(environment: DemoEnvironment, order_id: str, slow: Any) -> None:
    """Refund the order once it is there, and wait until a person is told."""
    await environment.orders.start(order_id)
    await environment.faults.wait_for_hits(slow, timeout=30)
    await refunded_in_dashboard(environment, await payment_of(environment, order_id))

    async def a_person_is_told() -> bool:
        attention = (await environment.orders.status(order_id)).attention
        return attention is not None and "was given back" in attention.problem

    await eventually(a_person_is_told, within=40)


async def waits_for_another_card(environment: DemoEnvironment, order_id: str) -> None:
    async def waits() -> bool:
        return (await environment.orders.status(order_id)).doing == "waiting for another card"

    await eventually(waits, within=30)
