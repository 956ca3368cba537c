"""Answers that are lost, refused for now, or errors: the effect is there once."""

import asyncio
from datetime import timedelta

import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status, StopReason
from sandbox.fault_client import Mode
from tests.e2e.history import tried
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

CREATE, CONFIRM = "stripe.payment_intents.create", "stripe.payment_intents.confirm"
READ, VOID = "stripe.payment_intents.retrieve", "stripe.payment_intents.cancel"
SHIP, RECALL = "warehouse.fulfillments.create", "warehouse.fulfillments.cancel"
REFUND, REFUNDS = "stripe.refunds.create", "stripe.refunds.list"
MAIL = "resend.emails.send"


@pytest.mark.parametrize("mode", ["hang_up", "hang_up_after", "error", "error_after"])
async def test_one_bad_answer_of_any_endpoint_changes_nothing(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, mode: Mode
) -> None:
    # Stripe keeps an error_after of `create` as the answer: no retry with the key can succeed.
    forward = [CREATE, CONFIRM, SHIP, MAIL] if mode != "error_after" else [CONFIRM, MAIL]
    backward = [RECALL, READ, REFUNDS, REFUND, MAIL] if mode != "error_after" else [READ, MAIL]
    for endpoint in forward:
        order_id = await trials.place()
        await environment.faults.inject(endpoint, mode, order_id=order_id, times=1)
    for endpoint in backward:
        order_id = await trials.place()
        await environment.faults.inject(SHIP, "refuse", order_id=order_id)
        await environment.faults.inject(endpoint, mode, order_id=order_id, times=1)
    declined = await trials.place(card="pm_card_visa_chargeDeclined")
    await environment.faults.inject(VOID, mode, order_id=declined, times=1)
    await asyncio.gather(*map(environment.orders.start, trials.order_ids))

    statuses = [outcome.status for outcome in await trials.outcomes()]

    assert statuses == [
        *[Status.COMPLETED] * len(forward),
        *[Status.REFUNDED] * len(backward),
        Status.REJECTED,
    ]


async def test_waits_for_as_long_as_it_is_asked_to(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    steps = {CONFIRM: "charge_card", SHIP: "fulfill_order"}
    orders = {}
    for endpoint, step in steps.items():
        orders[step] = await trials.place()
        # Longer than the pause of a second that a failure without such a word is followed by.
        await environment.faults.inject(
            endpoint, "rate_limit", order_id=orders[step], times=1, seconds=3
        )
    mailed = await trials.place()
    await environment.faults.inject(MAIL, "rate_limit", order_id=mailed, times=1, seconds=3)
    await asyncio.gather(*map(environment.orders.start, trials.order_ids))

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    for step, order_id in orders.items():
        assert (await tried(environment, order_id, step)).waited >= timedelta(seconds=3)
    at = {line.event: line.at for line in (await environment.orders.view(mailed)).history}
    assert at["confirmation_mailed"] - at["order_fulfilled"] >= timedelta(seconds=3)


@pytest.mark.parametrize("mode", ["rate_limit", "lock_timeout"])
async def test_load_at_checkout_rejects_nobody(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, mode: Mode
) -> None:
    """Longer than three tries would take, at each of the requests of a charge."""
    for endpoint in (CREATE, CONFIRM):
        order_id = await trials.place()
        await environment.faults.inject(endpoint, mode, order_id=order_id, times=5, seconds=1)
    await asyncio.gather(*map(environment.orders.start, trials.order_ids))

    outcomes = await trials.outcomes()

    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    for order_id in trials.order_ids:
        assert (await tried(environment, order_id, "charge_card")).waited >= timedelta(seconds=4)


async def test_an_account_that_is_restricted_for_a_while_is_waited_for(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.place()
    restricted = await environment.faults.inject(CREATE, "restrict", order_id=order_id)
    await environment.orders.start(order_id)
    await environment.faults.wait_for_hits(restricted)
    problem = ""

    async def flagged() -> bool:
        nonlocal problem
        attention = (await environment.orders.status(order_id)).attention
        problem = attention.problem if attention else ""
        return attention is not None

    await eventually(flagged)
    assert "Stripe does not let our key or our account do this" in problem
    assert "Check STRIPE_API_KEY and the account in Stripe's dashboard" in problem
    await environment.faults.remove(restricted)
    await environment.operations.retry_now(order_id)

    [outcome] = await trials.outcomes()
    assert outcome.status is Status.COMPLETED


async def test_three_errors_of_stripe_end_the_order_and_nothing_is_taken(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for endpoint, mode in ((CREATE, "error_saved"), (CREATE, "error_after"), (CONFIRM, "error")):
        order_id = await trials.place()
        await environment.faults.inject(endpoint, mode, order_id=order_id, times=3)  # type: ignore[arg-type]
    await asyncio.gather(*map(environment.orders.start, trials.order_ids))

    for outcome in await trials.outcomes():
        assert outcome.status is Status.REJECTED
        assert outcome.stop
        assert outcome.stop.reason is StopReason.NO_ANSWER
