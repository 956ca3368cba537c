"""kill -9 of the worker: in the middle of every activity, and between any two."""

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status, StopReason
from tests.e2e.moments import Asking, Committing, Moment, Writing
from tests.e2e.trials import Trials

CREATE, CONFIRM = "stripe.payment_intents.create", "stripe.payment_intents.confirm"
SHIP, MAIL = "warehouse.fulfillments.create", "resend.emails.send"
RECALL, REFUND = "warehouse.fulfillments.cancel", "stripe.refunds.create"
READ = "stripe.payment_intents.retrieve"

NO_SHELF = "no such shelf"
#: What becomes of it in the order's row: its code, in a sentence of ours.
NOT_SHIPPED = "the warehouse does not ship it (cannot_fulfill): the order's history has its words"

#: Asked, but not done yet: the step before is complete. The request still arrives, later.
BEFORE_IT_IS_DONE = [Asking(endpoint, "delay") for endpoint in (CREATE, CONFIRM, SHIP, MAIL)]

#: Done, but nobody here knows.
DONE_AND_UNTOLD = [
    *(Asking(endpoint, "delay_after") for endpoint in (CREATE, CONFIRM, SHIP, MAIL)),
    *(Asking(endpoint, "hang_up_after") for endpoint in (CREATE, CONFIRM, SHIP, MAIL)),
]

#: Each step of the database.
WRITTEN_BUT_NOT_COMMITTED = [
    Writing(event)
    for event in (
        "stock_reserved",
        "order_paid",
        "order_fulfilled",
        "stock_committed",
        "order_completed",
    )
]

COMMITTED_AND_UNTOLD = [
    Committing(event)
    for event in (
        "stock_reserved",
        "payment_open",
        "payment_captured",
        "order_paid",
        "parcel_named",
        "order_fulfilled",
        "stock_committed",
        "order_completed",
        "confirmation_mailed",
    )
]

UNDONE_AND_UNTOLD = [
    Committing(event)
    for event in (
        "undo_begun",
        "charging_closed",
        "refund_issuing",
        "refund_succeeded",
        "stock_released",
        "order_refunded",
        "closing_mailed",
    )
]

UNDOING: list[tuple[Moment, str]] = [
    (Writing("undo_begun", {"reason": "cannot_fulfill", "message": NOT_SHIPPED}), "MUG"),
    (Asking(RECALL, "delay"), "MUG"),
    (Asking(RECALL, "delay_after"), "MUG"),
    (Writing("charging_closed"), "MUG"),
    (Asking(READ, "delay"), "MUG"),
    (Asking(REFUND, "delay"), "MUG"),
    (Asking(REFUND, "delay_after"), "MUG"),
    (Asking(REFUND, "hang_up_after"), "MUG"),
    (Writing("stock_released"), "STICKER"),
    (Writing("order_refunded", {"reason": "cannot_fulfill", "message": NOT_SHIPPED}), "MUG"),
    (Asking(MAIL, "delay"), "MUG"),
    (Asking(MAIL, "delay_after"), "MUG"),
]


async def test_killed_while_a_neighbour_is_asked(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for moment in [*BEFORE_IT_IS_DONE, *DONE_AND_UNTOLD]:
        await trials.start_and_hold(moment)
    await trials.reached()

    await worker.kill()
    await environment.start_worker()
    await trials.let_go()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}


async def test_killed_before_the_database_commits(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for at, moment in enumerate(WRITTEN_BUT_NOT_COMMITTED):
        await trials.start_and_hold(moment, sku=await trials.product(str(at)))
    await trials.reached()

    await worker.kill()
    await trials.let_go()
    await environment.start_worker()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}


async def test_killed_when_the_database_has_done_it_and_nobody_was_told(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for at, moment in enumerate(COMMITTED_AND_UNTOLD):
        await trials.start_and_hold(moment, sku=await trials.product(str(at)))
    await trials.reached()

    await worker.kill()
    await trials.let_go()
    await environment.start_worker()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}


async def test_killed_when_an_undo_is_done_and_nobody_was_told(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for at, moment in enumerate(UNDONE_AND_UNTOLD):
        order_id = await trials.place(sku=await trials.product(str(at)))
        await environment.faults.inject(SHIP, "refuse", order_id=order_id, reason=NO_SHELF)
        await trials.hold_at(moment, order_id)
    await trials.reached()

    await worker.kill()
    await trials.let_go()
    await environment.start_worker()

    for outcome in await trials.outcomes():
        assert outcome.status is Status.REFUNDED
        assert outcome.stop
        assert outcome.stop.reason is StopReason.CANNOT_FULFILL


async def test_killed_when_an_order_that_is_out_of_stock_has_ended(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    """All of it happens within one task of the workflow, which the next worker begins anew."""
    for event in ("stock_released", "order_rejected", "closing_mailed"):
        await trials.start_and_hold(Committing(event), sku="CALENDAR")
    await trials.reached()

    await worker.kill()
    await trials.let_go()
    await environment.start_worker()

    for outcome in await trials.outcomes():
        assert outcome.status is Status.REJECTED
        assert outcome.stop
        assert outcome.stop.reason is StopReason.OUT_OF_STOCK


async def test_killed_while_undoing(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    for moment, sku in UNDOING:
        order_id = await trials.place(sku=sku)
        await environment.faults.inject(SHIP, "refuse", order_id=order_id, reason=NO_SHELF)
        await trials.hold_at(moment, order_id)
    await trials.reached()

    await worker.kill()
    await trials.let_go()
    await environment.start_worker()

    for outcome in await trials.outcomes():
        assert outcome.status is Status.REFUNDED
        assert outcome.stop
        assert outcome.stop.reason is StopReason.CANNOT_FULFILL
        assert outcome.given_back == outcome.taken


async def test_a_worker_that_is_there_already_takes_over(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    moments: list[Moment] = [
        Asking(CONFIRM, "delay_after"),
        Asking(SHIP, "delay"),
        Writing("order_paid"),
    ]
    for moment in moments:
        await trials.start_and_hold(moment)
    await trials.reached()
    survivor = await environment.start_worker()
    await survivor.ready()

    await worker.kill()
    await trials.let_go()

    assert {outcome.status for outcome in await trials.outcomes()} == {Status.COMPLETED}


async def test_killed_again_and_again(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.place()
    for endpoint in (CONFIRM, SHIP):
        held = await Asking(endpoint, "delay_after").hold(environment, order_id)
        await environment.orders.start(order_id)
        await held.reached()
        await environment.running_workers[0].kill()
        await held.let_go()
        await environment.start_worker()

    (outcome,) = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
