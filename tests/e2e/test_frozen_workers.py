"""SIGSTOP of a worker in the middle of a try, for longer than its activity may take.

Another worker does its work. Then the frozen one goes on where it was, and must change nothing.
"""

from __future__ import annotations

import signal

from temporalio.api.enums.v1 import EventType

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from tests.e2e.moments import Asking, Committing, Moment
from tests.e2e.test_long_lives import DECLINED, Shift, shift
from tests.e2e.trials import Trials
from tests.support.eventually import eventually

__all__ = ["shift"]

CONFIRM = "stripe.payment_intents.confirm"

#: Announced and not sent; sent and not done; done and not heard; heard and not recorded.
MOMENTS: list[Moment] = [
    Committing("payment_open"),
    Asking(CONFIRM, "delay"),
    Asking(CONFIRM, "delay_after"),
    Committing("payment_captured"),
]
#: Enough for the charges that are held, so that nothing else is handed to a worker that is frozen.
NO_MORE = str(len(MOMENTS))


async def test_frozen_in_the_first_try(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    frozen = await shift.begins(MAX_CONCURRENT_ACTIVITIES=NO_MORE)
    for at, moment in enumerate(MOMENTS):
        await trials.start_and_hold(moment, sku=await trials.product(str(at)))
    await trials.reached()

    await _frozen_while_another_works(environment, frozen, trials)

    for order_id in trials.order_ids:
        [payment] = (await environment.books.order(order_id)).payments
        assert [charge.status for charge in payment.charges] == ["succeeded"]


async def test_frozen_in_the_try_of_another_card(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    frozen = await shift.begins(
        MAX_CONCURRENT_ACTIVITIES=NO_MORE, NEW_CARD_WINDOW_MINUTES="60", MAX_CARD_TRIES="2"
    )
    for at, moment in enumerate(MOMENTS):
        order_id = await trials.start(sku=await trials.product(str(at)), card=DECLINED)
        await environment.wait_until_waiting(order_id)
        await trials.hold(moment, order_id)
    accepted = [
        await environment.orders.submit_payment_method(order_id, "pm_card_mastercard")
        for order_id in trials.order_ids
    ]
    assert [one.number for one in accepted] == [2] * len(MOMENTS)
    await trials.reached()

    await _frozen_while_another_works(environment, frozen, trials)

    for order_id in trials.order_ids:
        [payment] = (await environment.books.order(order_id)).payments
        assert [charge.status for charge in payment.charges] == ["failed", "succeeded"]


async def test_no_try_of_a_charge_is_used_up_by_frozen_workers(
    environment: DemoEnvironment, shift: Shift, trials: Trials
) -> None:
    """A frozen worker is handed tasks as long as the server has its polls: here the next two tries
    of the charge that it was frozen in, which then has had all three.
    """
    frozen = await shift.begins()
    order_id = await trials.start_and_hold(Asking(CONFIRM, "delay"))
    await trials.reached()
    await frozen.signal(signal.SIGSTOP)
    run = environment.temporal.get_workflow_handle(workflow_id(order_id))

    async def has_had_all_tries() -> bool:
        timed_out = EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
        return timed_out in [event.event_type for event in (await run.fetch_history()).events]

    await eventually(has_had_all_tries, within=60)
    await trials.let_go()
    other = await environment.start_worker()
    await other.ready()
    try:
        assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]
    finally:
        await frozen.signal(signal.SIGCONT)


async def _frozen_while_another_works(
    environment: DemoEnvironment, frozen: WorkerProcess, trials: Trials
) -> None:
    """Freeze the worker; have another one complete its orders; let the frozen one go on.

    It has room for no other activity until its late ones have ended, and then is the only worker.
    """
    held = list(trials.order_ids)
    await frozen.signal(signal.SIGSTOP)
    await trials.let_go()
    other = await environment.start_worker()
    await other.ready()
    try:
        assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    finally:
        await frozen.signal(signal.SIGCONT)
    await other.kill()
    for _ in held:
        await trials.start()
    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}
    trials.order_ids = held
