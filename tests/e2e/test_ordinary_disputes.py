"""Ordinary lives with disputes and refunds at once: the audit has nothing to say about them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.clients.audits import AuditClient
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.workflow_messages import RetryNow
from durable_orders.store.consistency_check import find_inconsistencies
from tests.e2e.api_processes import an_edge
from tests.e2e.test_disputes import bank, becomes, dispute, followed_to_its_end
from tests.e2e.test_payment_news import payment_of
from tests.e2e.test_uncertain_money import held, slow_order
from tests.e2e.test_undone_refunds import entry_of, findings_of, settle, undone
from tests.e2e.trials import Trials
from tests.support.eventually import eventually
from workflows.order import OrderWorkflow

NO_GRACE = AuditTerms(grace=timedelta(0))


async def audited(environment: DemoEnvironment, trials: Trials) -> None:
    """An audit finds nothing about these orders, nor does the check of the store."""
    report = await AuditClient(environment.temporal).run_now(NO_GRACE)
    assert report.examined >= len(trials.order_ids)
    assert report.failed == 0
    for order_id in trials.order_ids:
        assert await findings_of(environment, order_id) == {}, order_id
    assert await find_inconsistencies(environment.database) == []


async def given_back(environment: DemoEnvironment, order_id: str, cents: int) -> None:
    async def there() -> bool:
        return (await environment.books.order(order_id)).refunded == cents

    await eventually(there, within=40)


async def test_ordinary_lives_with_disputes_leave_nothing_to_find(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    won, lost, both, part, warned = [await trials.start() for _ in range(5)]
    for order_id in (won, lost, both, part, warned):
        assert (await trials.outcome(order_id)).status is Status.COMPLETED
    on_its_way = await undone(environment, trials, pending=True)
    async with an_edge(environment):
        to_win = await dispute(environment, won)
        to_lose = await dispute(environment, lost)
        first = await dispute(environment, both, amount=500)
        second = await dispute(environment, both, amount=500)
        refund = RefundRequest(part, "r1", amount=Money(500, "EUR"))
        await environment.refunds.request(refund)
        await given_back(environment, part, 500)
        rest = await dispute(environment, part, amount=900)
        await bank(environment, f"payment_intents/{await payment_of(environment, warned)}/warn")
        await environment.refunds.request(RefundRequest(warned, "r1"))
        await becomes(environment, both, DisputeStatus.NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE)
        for order_id in (won, lost, part):
            await becomes(environment, order_id, DisputeStatus.NEEDS_RESPONSE)
        await followed_to_its_end(environment, warned)
        await audited(environment, trials)

        await bank(environment, f"disputes/{to_win}/win")
        for id_ in (to_lose, second, rest):
            await bank(environment, f"disputes/{id_}/lose")
        await bank(environment, f"disputes/{first}/win")
        for order_id in (won, lost, both, part):
            await followed_to_its_end(environment, order_id)
        await audited(environment, trials)
        await settle(environment, on_its_way, "succeed")

        async def arrived() -> bool:
            return (await entry_of(environment, on_its_way)).state is RefundState.SUCCEEDED

        await eventually(arrived, within=30)
    await audited(environment, trials)
    await trials.outcomes()
    assert worker.running


async def test_orders_that_were_disputed_before_they_left_leave_nothing_to_find(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """All of it, or a part; undone by a person while it is open, won or lost afterwards."""
    ids = [await slow_order(environment, trials) for _ in range(3)]
    all_won, all_lost, part_won = ids
    total = (await environment.orders.view(all_won)).order.total.amount
    async with an_edge(environment):
        of_part = [await dispute(environment, id_, amount=500) for id_ in (part_won,)]
        of_all = [await dispute(environment, id_) for id_ in (all_won, all_lost)]
        disputes = dict(zip([part_won, all_won, all_lost], of_part + of_all, strict=True))
        for order_id in ids:
            await held(environment, order_id, disputes[order_id])
            await environment.operations.reject(order_id, by="ops-7", reason="a stolen card")
        for order_id in (all_won, all_lost):
            assert (await trials.outcome(order_id)).status is Status.REFUNDED
        await audited(environment, trials)
        await bank(environment, f"disputes/{disputes[all_won]}/win")
        await bank(environment, f"disputes/{disputes[part_won]}/win")
        await bank(environment, f"disputes/{disputes[all_lost]}/lose")
        await given_back(environment, all_won, total)
        await becomes(environment, part_won, DisputeStatus.WON)
        run = environment.temporal.get_workflow_handle_for(OrderWorkflow.run, workflow_id(part_won))

        async def needs_a_person() -> bool:
            return (await environment.orders.status(part_won)).attention is not None

        await eventually(needs_a_person, within=30)
        await run.execute_update(OrderWorkflow.operate, RetryNow("ops-7"))
        assert (await trials.outcome(part_won)).status is Status.REFUNDED
        assert (await environment.books.order(part_won)).refunded == total
        await followed_to_its_end(environment, all_lost)
        await asyncio.sleep(1)
        await audited(environment, trials)
    assert worker.running
