"""Orders whose histories are in the archive: what may still come is done as ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.clients.audits import AuditClient
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.messages import RefundOutcome
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.store.archive import archive_histories
from durable_orders.store.consistency_check import find_inconsistencies
from tests.e2e.api_processes import an_edge
from tests.e2e.test_disputes import asks, bank, becomes, dispute, followed_to_its_end
from tests.e2e.trials import Trials


async def archive(environment: DemoEnvironment) -> None:
    """Archive everything that has ended, as if it were long ago."""
    later = datetime.now(UTC) + timedelta(days=1)
    async for _ in archive_histories(environment.database, later, later):
        pass


async def lines_kept(environment: DemoEnvironment, order_id: str) -> int:
    """How many lines of the order are not in the archive."""
    count = text("SELECT count(*) FROM order_history WHERE order_id = :id")
    async with environment.database.statement() as connection:
        return int(await connection.scalar(count, {"id": order_id}) or 0)


async def test_a_late_chargeback_of_an_archived_order_goes_to_its_end(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start()
    await trials.outcome(order_id)
    before = await environment.orders.view(order_id)
    await archive(environment)
    assert await lines_kept(environment, order_id) == 0
    assert await environment.orders.view(order_id) == before

    async with an_edge(environment):
        id_ = await dispute(environment, order_id)
        assert id_ in await asks(environment, order_id)
        await archive(environment)  # in vain: it is open
        assert await lines_kept(environment, order_id) > 0
        await bank(environment, f"disputes/{id_}/lose")
        await becomes(environment, order_id, DisputeStatus.LOST)
        await followed_to_its_end(environment, order_id)

    after = await environment.orders.view(order_id)
    assert after.history[: len(before.history)] == before.history
    assert after.history[-1].event == "dispute_lost"
    await trials.outcomes()  # the books, the database and Temporal agree
    assert await find_inconsistencies(environment.database) == []
    await archive(environment)
    assert await lines_kept(environment, order_id) == 0
    assert await environment.orders.view(order_id) == after
    assert worker.running


async def test_a_late_refund_of_an_archived_order_arrives_and_is_mailed_once(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start(quantity=2)
    await trials.outcome(order_id)
    before = await environment.orders.view(order_id)
    await archive(environment)

    request = RefundRequest(order_id, "late", amount=Money(5_00, "EUR"))
    await environment.refunds.request(request)
    ended = await environment.refunds.result(order_id, "late")
    assert isinstance(ended, RefundOutcome)
    assert ended.state is RefundState.SUCCEEDED

    after = await environment.orders.view(order_id)
    assert after.history[: len(before.history)] == before.history
    events = [line.event for line in after.history]
    assert events.count("refund_mailed") == events.count("confirmation_mailed") == 1
    await archive(environment)
    report = await AuditClient(environment.temporal).run_now(AuditTerms(grace=timedelta(0)))
    assert order_id not in str(report)
    assert await environment.orders.view(order_id) == after
    await trials.outcomes()
    assert await find_inconsistencies(environment.database) == []
    assert worker.running


async def test_starting_an_archived_order_again_does_nothing(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start()
    outcome = await trials.outcome(order_id)
    await archive(environment)
    await environment.orders.start(order_id)
    assert await environment.orders.result(order_id) == outcome
    assert await lines_kept(environment, order_id) == 0
    await trials.outcomes()
    assert worker.running
