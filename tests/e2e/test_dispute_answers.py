"""A dispute from Stripe's webhook to its end: read with the command line, answered, decided."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess, process_environment
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.lifecycle import Status
from tests.e2e.api_processes import an_edge
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

CLIENT: Final = Path(__file__).resolve().parents[2] / "client.py"


async def client(environment: DemoEnvironment, directory: Path, *arguments: str) -> Any:
    """What ``python client.py … --json`` prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CLIENT), *arguments, "--json"),
        cwd=directory,
        env=process_environment(environment.sandbox.settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(printed)


@pytest.mark.parametrize(
    ("text", "state", "withdrawn"), [("winning_evidence", "won", 0), ("losing_evidence", "lost", 1)]
)
async def test_a_dispute_is_answered_and_its_end_is_heard_of(
    environment: DemoEnvironment,
    worker: WorkerProcess,
    trials: Trials,
    tmp_path: Path,
    text: str,
    state: str,
    withdrawn: int,
) -> None:
    async with an_edge(environment):
        order_id = await trials.start()
        [outcome] = await trials.outcomes()
        assert outcome.status is Status.COMPLETED
        [payment] = (await environment.orders.view(order_id)).payments
        await environment.dispute(payment.payment_id, "product_not_received")
        async with asyncio.timeout(30):
            risk = await environment.wait_for_risk(
                order_id, ConcernKind.CHARGEBACK, "needs_response"
            )

        listed = await client(environment, tmp_path, "disputes")
        assert risk.risk_id in [one["risk"]["risk_id"] for one in listed]
        command = ("disputes", "evidence", risk.risk_id)
        told = await client(environment, tmp_path, *command)
        assert told["evidence"]["customer_email_address"] == "ada@example.com"
        assert "the confirmation mail was sent" in told["evidence"]["uncategorized_text"]
        setting = ("--set", f"uncategorized_text={text}")
        sent = await client(environment, tmp_path, *command, *setting, "--submit", "--yes")
        assert sent["status"] == state

        async def decided() -> bool:
            view = await environment.orders.view(order_id)
            lines = [line.event for line in view.history]
            [now] = view.risks
            assert now.withdrawn is not None
            is_booked = now.withdrawn.amount == withdrawn * risk.amount.amount
            return f"dispute_{state}" in lines and now.fee is not None and is_booked

        await eventually(decided)
        [there] = (await environment.books.order(order_id)).disputes
        assert (there.status, there.withdrawn) == (state, withdrawn * risk.amount.amount)
        listed = await client(environment, tmp_path, "disputes", "--all")
        states = {one["risk"]["risk_id"]: one["risk"]["state"] for one in listed}
        assert states[risk.risk_id] == state
