"""kill -9 of Temporal and of PostgreSQL, in the middle of orders."""

import os
import signal

import psutil  # type: ignore[import-untyped]

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status
from sandbox.child import Child
from tests.e2e.moments import Asking, Moment
from tests.e2e.trials import Trials

CONFIRM, SHIP = "stripe.payment_intents.confirm", "warehouse.fulfillments.create"
MOMENTS: list[Moment] = [
    Asking(CONFIRM, "delay"),
    Asking(CONFIRM, "delay_after"),
    Asking(SHIP, "delay"),
    Asking(SHIP, "delay_after"),
    Asking("resend.emails.send", "delay_after"),
]


async def kill(child: Child) -> None:
    """The server with all its processes, as the kernel would when memory runs out."""
    family = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, signal.SIGKILL)
    for process in family:
        if process.is_running():
            process.kill()
    await child.ended()


async def test_temporal_killed_and_back(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for moment in MOMENTS:
        await trials.start_and_hold(moment)
    await trials.reached()

    await kill(environment.sandbox.temporal.child)
    await trials.let_go()
    await environment.sandbox.temporal.stop()
    await environment.sandbox.temporal.start()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    assert worker.running


async def test_postgresql_killed_and_back(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for moment in MOMENTS:
        await trials.start_and_hold(moment)
    await trials.reached()

    await kill(environment.sandbox.postgres.child)
    await trials.let_go()
    await environment.sandbox.postgres.stop()
    await environment.sandbox.postgres.start()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    assert worker.running
