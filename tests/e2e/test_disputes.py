"""Disputes, early fraud warnings and reviews, from Stripe's event to the balance of all books."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.disputes.messages import PaymentRiskProgress
from durable_orders.domain.ids import payment_risk_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.disputes import PostgresDisputeRepository
from tests.e2e.api_processes import an_edge
from tests.e2e.moments import Asking, Committing
from tests.e2e.test_long_lives import Shift, shift
from tests.e2e.test_payment_news import payment_of
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

LIST_DISPUTES = "stripe.disputes.list"
SHIP = "warehouse.fulfillments.create"


async def bank(environment: DemoEnvironment, path: str, **body: Any) -> str:
    """Have a cardholder, a bank or Stripe do something; the id of what it is about."""
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url) as http:
        answer = await http.post(f"/sandbox/{path}", json=body)
    return str(answer.raise_for_status().json()["id"])


async def dispute(environment: DemoEnvironment, order_id: str, **how: Any) -> str:
    payment_id = await payment_of(environment, order_id)
    return await bank(environment, f"payment_intents/{payment_id}/dispute", **how)


def risks_of(environment: DemoEnvironment) -> PaymentRiskClient:
    return PaymentRiskClient(environment.temporal, PostgresDisputeRepository(environment.database))


async def becomes(environment: DemoEnvironment, order_id: str, *statuses: DisputeStatus) -> None:
    """Wait until our books have the order's disputes like this."""

    async def booked() -> bool:
        known = await risks_of(environment).risks_of(order_id)
        return known is not None and tuple(one.status for one in known.disputes) == statuses

    await eventually(booked, within=30)


async def followed_to_its_end(environment: DemoEnvironment, order_id: str) -> None:
    """The run that follows the payment has ended, because nothing is open any more."""
    run = environment.temporal.get_workflow_handle(payment_risk_workflow_id(order_id))
    async with asyncio.timeout(30):
        await run.result()


async def asks(environment: DemoEnvironment, order_id: str) -> str:
    found: list[str] = []

    async def asked() -> bool:
        told = await risks_of(environment).status(order_id)
        if isinstance(told, PaymentRiskProgress) and told.attention is not None:
            found[:] = [told.attention.problem]
        return bool(found)

    await eventually(asked, within=30)
    return found[0]


@pytest.mark.parametrize("how", ["win", "lose"])
async def test_a_chargeback_goes_from_the_event_to_its_end(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, how: str
) -> None:
    order_id = await trials.start()
    await trials.outcome(order_id)
    async with an_edge(environment):
        id_ = await dispute(environment, order_id)
        assert id_ in await asks(environment, order_id)
        assert order_id in [each.order_id for each in await risks_of(environment).attention()]
        await bank(environment, f"disputes/{id_}/{how}")
        ended = DisputeStatus.WON if how == "win" else DisputeStatus.LOST
        await becomes(environment, order_id, ended)
        await followed_to_its_end(environment, order_id)
    await trials.outcomes()
    books = await environment.books.order(order_id)
    assert books.kept == (books.captured if how == "win" else 0)
    assert await find_inconsistencies(environment.database) == []
    assert worker.running


async def test_an_inquiry_a_warning_and_a_review_are_followed_to_their_ends(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    asked, escalated, warned, reviewed = [await trials.start() for _ in range(4)]
    for order_id in trials.order_ids:
        await trials.outcome(order_id)
    async with an_edge(environment):
        closed = await dispute(environment, asked, inquiry=True)
        worse = await dispute(environment, escalated, inquiry=True, amount=500)
        await bank(environment, f"payment_intents/{await payment_of(environment, warned)}/warn")
        payment_id = await payment_of(environment, reviewed)
        await bank(environment, f"payment_intents/{payment_id}/review")
        for order_id in trials.order_ids:
            await asks(environment, order_id)
        await bank(environment, f"disputes/{closed}/win")
        await bank(environment, f"disputes/{worse}/escalate")
        await becomes(environment, escalated, DisputeStatus.NEEDS_RESPONSE)
        await bank(environment, f"disputes/{worse}/lose")
        # The warning comes true, and Stripe closes a review of what is disputed.
        for order_id in (warned, reviewed):
            await bank(environment, f"disputes/{await dispute(environment, order_id)}/lose")
        for order_id in trials.order_ids:
            await followed_to_its_end(environment, order_id)
        await becomes(environment, asked, DisputeStatus.WARNING_CLOSED)
        for order_id in (escalated, warned, reviewed):
            await becomes(environment, order_id, DisputeStatus.LOST)
    await trials.outcomes()
    assert worker.running


async def test_lost_events_are_made_up_for_by_the_audit(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start()
    await trials.outcome(order_id)
    id_ = await dispute(environment, order_id)  # nobody listens
    no_grace = AuditTerms(grace=timedelta(0))
    report = await AuditClient(environment.temporal).run_now(no_grace)
    assert report.found.get("risk_behind") == 1
    assert id_ in await asks(environment, order_id)
    await bank(environment, f"disputes/{id_}/lose")
    report = await AuditClient(environment.temporal).run_now(no_grace)
    assert report.found.get("risk_behind") == 1
    await followed_to_its_end(environment, order_id)
    await becomes(environment, order_id, DisputeStatus.LOST)
    await trials.outcomes()
    assert worker.running


async def test_a_worker_killed_while_it_reads_or_records_a_dispute_changes_nothing(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    reading, recording = await trials.start(), await trials.start()
    for order_id in trials.order_ids:
        await trials.outcome(order_id)
    await trials.hold(Asking(LIST_DISPUTES, "delay_after"), reading)
    await trials.hold(Committing("dispute_opened"), recording)
    for order_id in trials.order_ids:
        await dispute(environment, order_id)
        await risks_of(environment).look_again(order_id)
    await trials.reached()

    await worker.kill()
    await environment.start_worker()
    await trials.let_go()

    for order_id in trials.order_ids:
        await asks(environment, order_id)
        history = (await environment.orders.view(order_id)).history
        assert [one.event for one in history].count("dispute_opened") == 1
        known = await risks_of(environment).risks_of(order_id)
        assert known is not None
        await bank(environment, f"disputes/{known.disputes[0].dispute_id}/lose")
        await risks_of(environment).look_again(order_id)
        await followed_to_its_end(environment, order_id)
    await trials.outcomes()


async def test_an_order_that_is_charged_back_before_it_left_ends_and_a_dispute_won_pays_back(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins()
    lost, won = await trials.place(), await trials.place()
    ids: dict[str, str] = {}
    for order_id in (lost, won):
        await trials.hold_at(Asking(SHIP, "delay"), order_id)
    await trials.reached()
    for order_id in (lost, won):
        ids[order_id] = await dispute(environment, order_id)  # nobody listens
        await environment.orders.cancel(order_id, wait=timedelta(seconds=1))
    await trials.let_go()
    for order_id in (lost, won):
        outcome = await trials.outcome(order_id)
        assert outcome.status is Status.REFUNDED
        assert outcome.given_back == outcome.taken
    await bank(environment, f"disputes/{ids[lost]}/lose")
    await bank(environment, f"disputes/{ids[won]}/win")
    for order_id in (lost, won):
        await risks_of(environment).look_again(order_id)

    async def paid_back() -> bool:
        books = await environment.books.order(won)
        return books.refunded == books.captured

    await eventually(paid_back, within=30)
    await risks_of(environment).look_again(won)
    for order_id in (lost, won):
        await followed_to_its_end(environment, order_id)
    await trials.outcomes()
    assert await find_inconsistencies(environment.database) == []
