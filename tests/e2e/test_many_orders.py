"""Many orders, two workers, one of them killed."""

import asyncio
from collections import Counter

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.store.seed import Product
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

#: Of a scarce product: pieces, and orders for one each. And orders of what there is enough of.
LEFT, WANTED, OTHERS = 6, 14, 8


async def test_many_orders_and_a_murder(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """A product with fewer pieces than are wanted is sold out exactly."""
    scarce = f"SCARCE-{trials.name}"
    await environment.add_product(Product(scarce, "Few of them", Money(9_00, "EUR"), LEFT))
    second = await environment.start_worker()
    await second.ready()
    for _ in range(WANTED):
        await trials.place(sku=scarce)
    for _ in range(OTHERS):
        await trials.place(sku="STICKER", quantity=3)
    slow = await environment.faults.inject("stripe.payment_intents.confirm", "delay", seconds=0.3)

    starts = asyncio.gather(*map(environment.orders.start, trials.order_ids))
    await environment.faults.wait_for_hits(slow, times=8, timeout=40)
    await worker.kill()
    await starts
    outcomes = await trials.outcomes()

    assert Counter(outcome.status for outcome in outcomes[:WANTED]) == {
        Status.COMPLETED: LEFT,
        Status.REJECTED: WANTED - LEFT,
    }
    assert {outcome.stop and outcome.stop.reason for outcome in outcomes[:WANTED]} == {
        None,
        StopReason.OUT_OF_STOCK,
    }
    assert {outcome.status for outcome in outcomes[WANTED:]} == {Status.COMPLETED}


async def test_two_checkouts_of_one_order_are_one_run(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.place()

    runs = await asyncio.gather(*(environment.orders.start(order_id) for _ in range(5)))
    await trials.outcomes()
    runs.append(await environment.orders.start(order_id))

    assert len({run.run_id for run in runs}) == 1
    assert [run.already_started for run in runs].count(False) == 1


async def test_the_web_ui_and_the_list_show_where_an_order_stands(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start()
    await trials.outcomes()

    async def listed() -> bool:
        rows = environment.orders.list(Status.COMPLETED, limit=500)
        return order_id in [row.order_id async for row in rows]

    await eventually(listed)
