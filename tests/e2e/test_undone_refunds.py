"""Refunds of undone orders, and in the dashboard, from the bank's word to a person: with a worker,
an API that gets the webhooks, and the command line.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.cli import app
from durable_orders.domain.ids import UNDO_REFUND_ID, refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.refunds.refund import RefundEntry, RefundState
from tests.e2e.api_processes import an_edge
from tests.e2e.test_payment_news import payment_of
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

REFUND, SHIP = "stripe.refunds.create", "warehouse.fulfillments.create"


async def at_sandbox(environment: DemoEnvironment, path: str, **body: Any) -> None:
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url) as http:
        (await http.post(f"/sandbox/{path}", json=body)).raise_for_status()


async def refund_in_dashboard(environment: DemoEnvironment, order_id: str, amount: int) -> None:
    headers = {"Authorization": f"Bearer {environment.sandbox.settings['STRIPE_API_KEY']}"}
    payment_id = await payment_of(environment, order_id)
    async with httpx.AsyncClient(
        base_url=environment.sandbox.stand_in_url, headers=headers
    ) as http:
        wanted = {"payment_intent": payment_id, "amount": amount}
        (await http.post("/v1/refunds", data=wanted)).raise_for_status()


async def undone(environment: DemoEnvironment, trials: Trials, *, pending: bool = False) -> str:
    """An order that was paid, and that the warehouse refuses; its id."""
    order_id = await trials.place()
    await environment.faults.inject(SHIP, "refuse", order_id=order_id, reason="no shelf has it")
    if pending:
        await environment.faults.inject(REFUND, "pending", order_id=order_id, times=1)
    await environment.orders.start(order_id)
    assert (await trials.outcome(order_id)).status is Status.REFUNDED
    return order_id


async def entry_of(environment: DemoEnvironment, order_id: str) -> RefundEntry:
    [entry] = await environment.refunds.refunds_of(order_id)
    assert entry.request.refund_id == UNDO_REFUND_ID
    return entry


async def settle(environment: DemoEnvironment, order_id: str, outcome: str) -> None:
    """The bank decides about the order's newest refund."""
    refund = (await environment.books.order(order_id)).refunds[-1]
    await at_sandbox(environment, f"refunds/{refund.id}/settle", outcome=outcome)


async def becomes(environment: DemoEnvironment, order_id: str, state: RefundState) -> None:
    async def there() -> bool:
        return (await entry_of(environment, order_id)).state is state

    await eventually(there, within=30)


async def needs_a_person(environment: DemoEnvironment, order_id: str) -> str:
    """The problem that the refund's run shows."""

    async def told() -> bool:
        progress = await environment.refunds.status(order_id, UNDO_REFUND_ID)
        return progress.attention is not None

    await eventually(told, within=30)
    progress = await environment.refunds.status(order_id, UNDO_REFUND_ID)
    assert progress.attention is not None
    return progress.attention.problem


async def findings_of(environment: DemoEnvironment, order_id: str) -> dict[str, str]:
    wanted = text("SELECT kind, detail FROM findings WHERE order_id = :id AND resolved_at IS NULL")
    async with environment.database.statement() as connection:
        rows = await connection.execute(wanted, {"id": order_id})
        return {row.kind: row.detail for row in rows}


async def attention(environment: DemoEnvironment) -> list[dict[str, Any]]:
    """What `client.py attention --json` prints."""
    said = await asyncio.to_thread(
        CliRunner().invoke,
        app.app,
        ["attention", "--json", "--limit", "1000"],
        env=environment.sandbox.settings,
    )
    assert said.exit_code == 0, said.output
    listed: list[dict[str, Any]] = json.loads(said.stdout)
    return listed


async def acknowledged(environment: DemoEnvironment, order_id: str) -> None:
    """A person answers for what was found about the order."""
    for kind in await findings_of(environment, order_id):
        word = ["acknowledge", order_id, "--kind", kind, "--by", "ops-7", "--note", "agreed"]
        said = await asyncio.to_thread(
            CliRunner().invoke, app.app, word, env=environment.sandbox.settings
        )
        assert said.exit_code == 0, said.output


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


async def test_a_pending_refund_arrives_because_stripe_said_so(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with an_edge(environment):
        order_id = await undone(environment, trials, pending=True)
        assert (await entry_of(environment, order_id)).state is RefundState.PENDING
        await settle(environment, order_id, "succeed")
        await environment.refunds.result(order_id, UNDO_REFUND_ID)
    assert (await entry_of(environment, order_id)).state is RefundState.SUCCEEDED
    books = await environment.books.order(order_id)
    assert [mail.kind for mail in books.mails] == ["closing", "refund"]
    await trials.outcomes()


async def test_a_pending_refund_that_fails_is_made_again_by_a_person(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with an_edge(environment):
        order_id = await undone(environment, trials, pending=True)
        await settle(environment, order_id, "fail")
        assert "back to us" in await needs_a_person(environment, order_id)
        shown = [one for one in await attention(environment) if one["order_id"] == order_id]
        assert UNDO_REFUND_ID in {one["refund_id"] for one in shown}
        await environment.refunds.retry_now(order_id, UNDO_REFUND_ID, "ops-7")
        await environment.refunds.result(order_id, UNDO_REFUND_ID)
    entry = await entry_of(environment, order_id)
    assert (entry.state, entry.attempt) == (RefundState.SUCCEEDED, 2)
    await trials.outcomes()


async def test_a_refund_that_had_arrived_and_fails_late_comes_before_a_person(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with an_edge(environment):
        order_id = await undone(environment, trials)
        assert (await entry_of(environment, order_id)).state is RefundState.SUCCEEDED
        await settle(environment, order_id, "fail")
        await becomes(environment, order_id, RefundState.FAILED)
        await needs_a_person(environment, order_id)
        await environment.refunds.resolve(order_id, UNDO_REFUND_ID, "by bank transfer", "ops-7")
        await environment.refunds.result(order_id, UNDO_REFUND_ID)
    assert (await entry_of(environment, order_id)).state is RefundState.SETTLED
    books = await environment.books.order(order_id)
    assert (books.refunded, [mail.kind for mail in books.mails]) == (0, ["closing"])
    await trials.outcomes()


async def test_a_refund_that_fails_while_no_webhook_comes_is_found_by_the_audit(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await undone(environment, trials)
    await settle(environment, order_id, "fail")
    said = await asyncio.to_thread(
        CliRunner().invoke, app.app, ["reconcile", "--grace", "0"], env=environment.sandbox.settings
    )
    assert said.exit_code == 0, said.output
    assert "did not arrive" in (await findings_of(environment, order_id))["refund_failed"]
    assert await environment.refunds.look_again(order_id, UNDO_REFUND_ID)
    await needs_a_person(environment, order_id)
    await environment.refunds.retry_now(order_id, UNDO_REFUND_ID, "ops-7")
    await environment.refunds.result(order_id, UNDO_REFUND_ID)
    await trials.outcomes()


async def test_a_refund_in_the_dashboard_of_a_completed_order_comes_before_a_person(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    async with an_edge(environment):
        order_id = await trials.start()
        assert (await trials.outcome(order_id)).status is Status.COMPLETED
        await refund_in_dashboard(environment, order_id, 1_00)

        async def found() -> bool:
            return "refunds_differ" in await findings_of(environment, order_id)

        await eventually(found, within=30)
    shown = [one for one in await attention(environment) if one["order_id"] == order_id]
    details = {one["kind"]: one["detail"] for one in shown}
    assert set(details) == {"money_moved", "refunds_differ"}
    said = "1.00 EUR was given back, but its refunds come to 0.00 EUR"
    assert said in details["refunds_differ"]

    refund = (await environment.books.order(order_id)).refunds[-1]
    async with an_edge(environment):
        await at_sandbox(environment, f"refunds/{refund.id}/settle", outcome="fail")

        async def failed() -> bool:
            return "refund_failed" in await findings_of(environment, order_id)

        await eventually(failed, within=30)
    await acknowledged(environment, order_id)


async def test_a_refund_in_the_dashboard_of_a_cancelled_order_comes_before_a_person(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """Its own refund had arrived, and was sent back by the bank."""
    async with an_edge(environment):
        order_id = await undone(environment, trials)
        await settle(environment, order_id, "fail")
        await needs_a_person(environment, order_id)
        await environment.refunds.resolve(order_id, UNDO_REFUND_ID, "in the dashboard", "ops-7")
        await environment.refunds.result(order_id, UNDO_REFUND_ID)
        await refund_in_dashboard(environment, order_id, 5_00)

        async def found() -> bool:
            return "given_back_too_much" in await findings_of(environment, order_id)

        await eventually(found, within=30)
    shown = [one for one in await attention(environment) if one["order_id"] == order_id]
    assert "given_back_too_much" in {one["kind"] for one in shown if "kind" in one}
    await acknowledged(environment, order_id)
    assert order_id not in {one["order_id"] for one in await attention(environment)}


async def test_the_run_that_follows_a_refund_survives_the_death_of_its_worker(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await undone(environment, trials, pending=True)
    run = environment.temporal.get_workflow_handle(refund_workflow_id(order_id, UNDO_REFUND_ID))
    assert (await run.describe()).close_time is None
    await worker.kill()
    await (await environment.start_worker()).ready()
    async with an_edge(environment):
        await settle(environment, order_id, "succeed")
        await environment.refunds.result(order_id, UNDO_REFUND_ID)
    await trials.outcomes()
