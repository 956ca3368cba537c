"""Webhooks from the neighbours over HTTP into `python api.py`, and on to the orders."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from temporalio.api.enums.v1 import EventType
from typer.testing import CliRunner

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.cli import app
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.store.api_keys import PostgresApiKeyRepository
from sandbox.ports import free_port
from tests.api.api_clients import a_key
from tests.e2e.api_processes import an_edge, events_about, neighbours_tell, start_edge
from tests.e2e.test_long_lives import THREE_D_SECURE, Shift, shift
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

TIMER_FIRED = EventType.EVENT_TYPE_TIMER_FIRED
SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


async def waits_for_bank(environment: DemoEnvironment, trials: Trials) -> str:
    """An order whose customer has to confirm at the bank."""
    order_id = await trials.start(card=THREE_D_SECURE)
    await environment.wait_until_waiting(order_id)
    return order_id


async def confirmed_at_bank(environment: DemoEnvironment, order_id: str) -> None:
    [payment] = (await environment.orders.view(order_id)).payments
    await environment.confirm_at_bank(payment.payment_id)


async def happened(environment: DemoEnvironment, order_id: str, kind: EventType.ValueType) -> int:
    run = environment.temporal.get_workflow_handle(workflow_id(order_id))
    history = await run.fetch_history()
    return sum(event.event_type == kind for event in history.events)


async def test_an_order_goes_on_because_stripe_said_that_its_customer_has_confirmed(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with an_edge(environment):
        other = await start_edge(environment, free_port())
        try:
            order_id = await waits_for_bank(environment, trials)
            await confirmed_at_bank(environment, order_id)
            [outcome] = await trials.outcomes()
        finally:
            await other.stop()

    assert outcome.status is Status.COMPLETED
    assert await happened(environment, order_id, TIMER_FIRED) == 0
    # Whichever of the two edges told it: each event once, that the customer is asked, and has paid.
    assert await happened(environment, order_id, SIGNALED) <= 2


async def test_an_ordinary_order_is_not_signalled_what_stripe_has_answered_already(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    token = Token.of(b"known0", bytes(range(32)))
    await PostgresApiKeyRepository(environment.database).add(a_key(token, "known", Scope.READ))
    async with neighbours_tell(environment) as port:
        edge = await start_edge(environment, port)
        order_id = await trials.start()
        [outcome] = await trials.outcomes()

        async def ended() -> bool:
            rows = await events_about(environment, order_id)
            return bool(rows) and all(row.ended_at for row in rows)

        await eventually(ended)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
            metrics = (await http.get("/metrics")).text
        await edge.stop()

    assert outcome.status is Status.COMPLETED
    assert [(row.type, row.ending) for row in await events_about(environment, order_id)] == [
        ("payment_intent.succeeded", "already_known")
    ]
    counted = 'events_total{result="already_known",type="payment_intent.succeeded"} 1.0'
    assert counted in metrics
    assert await happened(environment, order_id, SIGNALED) == 0


async def test_parcels_arrive_because_the_warehouse_said_so(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    await shift.begins(DELIVERY_DEADLINE_DAYS="9")
    async with an_edge(environment):
        order_id = await trials.start()

        async def at_warehouse() -> bool:
            return bool((await environment.orders.view(order_id)).parcels)

        await eventually(at_warehouse)
        async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url) as world:
            for move in ("dispatch", "deliver"):
                await world.post(f"/sandbox/warehouse/{order_id}/{move}")
        [outcome] = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    [parcel] = (await environment.orders.view(order_id)).parcels
    assert parcel.status == ParcelStatus.DELIVERED
    assert re.fullmatch(r"AB \d{4} \d{4} \dGB", parcel.tracking)
    assert [
        row.type for row in await events_about(environment, order_id) if row.source == "warehouse"
    ]


async def test_a_confirmation_that_bounced_is_seen_over_http_and_on_the_command_line(
    environment: DemoEnvironment,
    worker: WorkerProcess,
    trials: Trials,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    token = Token.of(b"hooks0", bytes(range(32)))
    await PostgresApiKeyRepository(environment.database).add(a_key(token, "hooks", Scope.READ))
    order_id = f"{trials.name}-bounces"
    nowhere = Recipient("Ada Lovelace", f"bounced+{order_id}@resend.dev", "London")
    await environment.orders.place(
        Basket(order_id, "customer-1", nowhere, (("MUG", 1),), "pm_card_visa")
    )
    trials.order_ids.append(order_id)
    async with neighbours_tell(environment) as port:
        edge = await start_edge(environment, port)
        address = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as http:
            await environment.orders.start(order_id)
            [outcome] = await trials.outcomes()

            async def bounced() -> bool:
                view = (await http.get(f"/orders/{order_id}")).json()
                return bool(view["history"][-1]["event"] == "confirmation_mail_bounced")

            await eventually(bounced)
            told = (await http.get(f"/orders/{order_id}")).json()["history"][-1]["detail"]
        await edge.stop()
    monkeypatch.chdir(tmp_path)  # where there is no .env
    watched = await asyncio.to_thread(
        CliRunner().invoke, app.app, ["watch", order_id], env=environment.sandbox.settings
    )

    assert outcome.status is Status.COMPLETED
    assert outcome.confirmed  # Resend took it; that it came back is not the order's fault
    [mail] = (await environment.books.order(order_id)).mails
    assert told == {"mail": mail.id, "why": "Permanent General"}
    assert watched.exit_code == 0, watched.output
    assert "confirmation mail bounced" in watched.output
    assert "resend.dev" not in watched.output


async def test_an_edge_killed_between_storing_and_telling_leaves_the_event_to_another(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await waits_for_bank(environment, trials)
    async with neighbours_tell(environment) as port:
        # It hears Stripe, and cannot reach Temporal.
        first = await start_edge(environment, port, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
        await confirmed_at_bank(environment, order_id)

        async def stored() -> bool:
            return bool(await events_about(environment, order_id))

        await eventually(stored)
        await first.kill()
    # Nobody says it again: the webhooks go nowhere from here on.
    assert [row.ended_at for row in await events_about(environment, order_id)] == [None]
    assert (await environment.orders.status(order_id)).status is Status.AWAITING_PAYMENT

    second = await start_edge(environment, free_port())
    try:
        [outcome] = await trials.outcomes()
    finally:
        await second.stop()

    assert outcome.status is Status.COMPLETED
    assert await happened(environment, order_id, TIMER_FIRED) == 0


async def test_an_event_that_comes_while_no_edge_runs_is_sent_again(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with neighbours_tell(environment) as port:
        order_id = await waits_for_bank(environment, trials)
        confirmed = datetime.now(UTC)
        await confirmed_at_bank(environment, order_id)
        edge = await start_edge(environment, port)
        try:
            [outcome] = await trials.outcomes()
        finally:
            await edge.stop()

    assert outcome.status is Status.COMPLETED
    events = await events_about(environment, order_id)
    assert "payment_intent.succeeded" in {event.type for event in events}
    assert all(event.received_at > confirmed for event in events)
    assert await happened(environment, order_id, TIMER_FIRED) == 0
