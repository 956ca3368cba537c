"""Orders whose money is uncertain, from Stripe's dashboard or a bank to a person and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from demo.environment import DemoEnvironment
from durable_orders.clients.audits import AuditClient
from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.audit.messages import Acknowledgement
from durable_orders.domain.audit.model import AuditTerms, DiscrepancyKind
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.consistency_check import find_inconsistencies
from tests.e2e.api_processes import an_edge
from tests.e2e.test_long_lives import Shift, shift
from tests.e2e.test_payment_news import payment_of
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

SHIP, CAPTURE = "warehouse.fulfillments.create", "stripe.payment_intents.capture"
A_PART = Money(10_00, "EUR")
RISKY, WARNED = "pm_card_riskLevelElevated", "pm_card_createIssuerFraudRecord"
ASKED = "pm_card_createDisputeInquiry"


async def at_stripe(
    environment: DemoEnvironment, path: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A request that is not ours, as the dashboard makes them; or a GET without parameters."""
    headers = {"Authorization": f"Bearer {environment.sandbox.settings['STRIPE_API_KEY']}"}
    async with httpx.AsyncClient(
        base_url=environment.sandbox.stand_in_url, headers=headers
    ) as http:
        request = http.get(path) if parameters is None else http.post(path, data=dict(parameters))
        return dict((await request).raise_for_status().json())


async def slow_order(
    environment: DemoEnvironment, trials: Trials, card: str = "pm_card_visa"
) -> str:
    """An order that the warehouse takes its time for, once it has been asked."""
    order_id = await trials.place(quantity=2, card=card)
    slow = await environment.faults.inject(SHIP, "delay", order_id=order_id, seconds=12)
    await environment.orders.start(order_id)
    await environment.faults.wait_for_hits(slow, timeout=30)
    return order_id


async def captured_in_part(environment: DemoEnvironment, order_id: str) -> None:
    """10.00 of the 29.00 that are held are captured in the dashboard."""
    payment_id = await payment_of(environment, order_id)
    amount = {"amount_to_capture": A_PART.amount}
    await at_stripe(environment, f"/v1/payment_intents/{payment_id}/capture", amount)


async def held(environment: DemoEnvironment, order_id: str, about: str) -> Attention:
    """What a person is told, once the order is held for it."""
    found: list[Attention] = []

    async def is_held() -> bool:
        attention = (await environment.orders.status(order_id)).attention
        found[:] = [] if attention is None else [attention]
        return attention is not None and about in attention.problem

    await eventually(is_held, within=40)
    assert found[0].can == ("approve", "reject")
    return found[0]


@pytest.mark.parametrize("told", [True, False])
async def test_a_part_that_was_captured_by_hand_goes_back_when_a_person_says_so(
    environment: DemoEnvironment,
    shift: Shift,
    trials: Trials,
    told: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    await shift.begins(CAPTURE="at_fulfillment")
    if told:
        async with an_edge(environment):
            order_id = await slow_order(environment, trials)
            await captured_in_part(environment, order_id)
            await held(environment, order_id, "10.00 EUR of 29.00 EUR is captured")
        assert (await environment.books.order(order_id)).fulfillments == ()
    else:
        order_id = await slow_order(environment, trials)
        await captured_in_part(environment, order_id)
        attention = await held(environment, order_id, "10.00 EUR of 29.00 EUR is captured")
        assert "the warehouse has accepted" in attention.problem
    listed = [one.order_id for one in await environment.operations.attention()]
    assert order_id in listed

    await environment.operations.reject(order_id, "ops-7", "captured by mistake")

    [outcome] = await trials.outcomes()
    assert outcome.status is Status.REFUNDED
    assert (outcome.taken, outcome.given_back) == (A_PART, A_PART)


async def test_it_is_sent_when_a_person_says_so_and_the_audit_names_it(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    worker = await shift.begins(CAPTURE="at_fulfillment")
    async with an_edge(environment):
        order_id = await slow_order(environment, trials)
        await captured_in_part(environment, order_id)
        await held(environment, order_id, "10.00 EUR of 29.00 EUR is captured")
    # It is held whoever is at work.
    await worker.kill()
    await shift.begins(CAPTURE="at_fulfillment")

    await environment.operations.approve(order_id, "ops-7", "the rest by invoice")

    outcome = await trials.outcome(order_id)
    assert (outcome.status, outcome.taken) == (Status.COMPLETED, A_PART)
    sentence = f"order {order_id} is completed, but 1000 of it was kept, not 2900"
    assert sentence in await find_inconsistencies(environment.database)
    audits = AuditClient(environment.temporal)
    report = await audits.run_now(AuditTerms(grace=timedelta(0)))
    assert report.found.get("paid_in_part") == 1
    findings = PostgresFindingRepository(environment.database)
    word = Acknowledgement("ops-7", "the rest by invoice", datetime.now(UTC))
    [finding] = await findings.acknowledge(order_id, DiscrepancyKind.PAID_IN_PART, word)
    assert finding.detail == "completed, and 10.00 EUR of 29.00 EUR was taken"
    assert sentence not in await find_inconsistencies(environment.database)


async def test_an_inquiry_of_the_bank_holds_an_order_until_it_is_closed(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins()
    async with an_edge(environment):
        order_id = await slow_order(environment, trials, ASKED)
        await held(environment, order_id, "inquiry du_")
        payment_id = await payment_of(environment, order_id)
        page = await at_stripe(environment, f"/v1/disputes?payment_intent={payment_id}")
        [dispute] = page["data"]
        await at_stripe(environment, f"/sandbox/disputes/{dispute['id']}/win", {})
        [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED


async def test_a_review_holds_an_order_until_it_is_approved_in_the_dashboard(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins()
    async with an_edge(environment):
        order_id = await trials.start(card=RISKY)
        await held(environment, order_id, "review prv_")
        payment_id = await payment_of(environment, order_id)
        intent = await at_stripe(environment, f"/v1/payment_intents/{payment_id}")
        await at_stripe(environment, f"/v1/reviews/{intent['review']}/approve", {})
        [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED


async def test_a_shop_that_refunds_warnings_has_nothing_sent(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(ON_FRAUD_WARNING="refund")
    async with an_edge(environment):
        order_id = await slow_order(environment, trials, WARNED)
        [outcome] = await trials.outcomes()
    assert outcome.status is Status.REFUNDED
    assert (await environment.orders.view(order_id)).order.reason == StopReason.DISPUTED
