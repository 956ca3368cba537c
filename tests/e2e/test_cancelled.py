"""Being asked to stop while nobody works: the next worker finds it and undoes everything."""

import asyncio
import signal
from datetime import timedelta

import pytest
from sqlalchemy import text

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.activity_messages import Cancelled
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status, StopReason
from tests.e2e.moments import Asking, Committing, Moment
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

SHIP = "warehouse.fulfillments.create"


async def test_cancelled_between_two_workers(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """By signal, by Update and by Temporal's own cancellation; the card was charged before."""
    moments: list[Moment] = [Asking(SHIP, "delay"), Asking(SHIP, "delay_after")]
    for moment in moments * 3:
        await trials.start_and_hold(moment)
    await trials.reached()
    await worker.kill()

    by_signal, by_update, from_outside = (trials.order_ids[at : at + 2] for at in (0, 2, 4))
    for order_id in by_signal:
        await environment.orders.request_cancel(order_id)
    patience = timedelta(seconds=40)
    answers = asyncio.gather(
        *(environment.orders.cancel(order_id, wait=patience) for order_id in by_update)
    )
    for order_id in from_outside:
        await environment.temporal.get_workflow_handle(workflow_id(order_id)).cancel()
    await environment.start_worker()
    told = await answers
    outcomes = [await trials.outcome(order_id) for order_id in trials.order_ids]
    # Only now the requests of the dead worker come through: the warehouse has to refuse them.
    await trials.let_go()
    await trials.outcomes()

    for outcome in outcomes:
        assert outcome.status is Status.REFUNDED
        assert outcome.stop
        assert outcome.stop.reason is StopReason.CANCELLED
    assert told == [Cancelled(Status.REFUNDED, outcomes[2].taken)] * 2


async def test_cancelled_between_two_workers_before_anything_was_taken(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    confirm = "stripe.payment_intents.confirm"
    order_id = await trials.start_and_hold(Asking(confirm, "delay"))
    await trials.reached()
    await worker.kill()
    await environment.orders.request_cancel(order_id)
    await environment.start_worker()

    outcome = await trials.outcome(order_id)
    # The intent is cancelled by now: the late confirmation takes nothing.
    await trials.let_go()
    await trials.outcomes()

    assert outcome.status is Status.CANCELLED
    assert not outcome.taken


async def test_cancelled_when_the_dead_worker_had_written_down_that_it_is_fulfilled(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """The next worker hears of the cancellation first: it must not undo what is kept."""
    for at, event in enumerate(("order_fulfilled", "stock_committed", "order_completed")):
        sku = await trials.product(str(at))
        await trials.start_and_hold(Committing(event), sku=sku)
    sku = await trials.product("mailed")
    await trials.start_and_hold(Asking("resend.emails.send", "delay_after"), sku=sku)
    await trials.reached()
    await worker.kill()
    await trials.let_go()
    for order_id in trials.order_ids:
        await environment.orders.request_cancel(order_id)
    await environment.start_worker()

    outcomes = await trials.outcomes()

    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    assert all(outcome.parcel_ids for outcome in outcomes)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_cancelled_while_the_commit_of_its_stock_is_slow(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, blow: signal.Signals
) -> None:
    """The worker is gone in the middle of that COMMIT, which takes longer than it lives.

    The next one hears the cancellation first. It must wait for the order's lock to know whether
    that is kept, and until then ask nobody: the warehouse would hand out the parcel again.
    """
    order_id = await trials.start_and_hold(Committing("order_fulfilled"))
    await trials.reached()
    if blow is signal.SIGKILL:
        await worker.kill()
    else:
        await worker.signal(blow)
    await environment.orders.request_cancel(order_id)
    other = await environment.start_worker()
    try:
        await eventually(lambda: _waiting(environment, at_least=2), within=40)
        before = await environment.books.order(order_id)
        await trials.let_go()
        [outcome] = await trials.outcomes()
    finally:
        if blow is signal.SIGSTOP:
            await worker.signal(signal.SIGCONT)
    assert outcome.status is Status.COMPLETED
    assert [fulfillment.status for fulfillment in before.fulfillments] == ["accepted"]
    assert other.running


async def _waiting(environment: DemoEnvironment, *, at_least: int) -> bool:
    """Whether so many transactions wait for a lock: the slow COMMIT, and those behind it."""
    waiters = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with environment.database.statement() as connection:
        return int(await connection.scalar(waiters) or 0) >= at_least
