"""A worker that is asked to stop, one that comes too early, and one that is set up wrongly."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import psutil  # type: ignore[import-untyped]
import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.lifecycle import Status
from durable_orders.stopping import CUT_OFF
from tests.e2e.history import tried
from tests.e2e.moments import Asking
from tests.e2e.trials import Trials


async def stops_in_flight(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, number: signal.Signals
) -> None:
    """What is in flight is finished, and another worker goes on."""
    order_id = await trials.start_and_hold(Asking("stripe.payment_intents.confirm", "delay_after"))
    await trials.reached()

    await worker.signal(number)
    await worker.wait_for_log("stopping: letting activities in flight finish")
    await trials.let_go()
    exit_code = await worker.ends()
    await environment.start_worker()
    (outcome,) = await trials.outcomes()

    last_words = worker.log.partition("stopping:")[2]
    assert (exit_code, "Traceback" in last_words) == (0, False), last_words
    assert outcome.status is Status.COMPLETED
    assert (await tried(environment, order_id, "charge_card")).attempt == 1


async def test_what_is_in_flight_is_finished_and_another_worker_goes_on(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    await stops_in_flight(environment, worker, trials, signal.SIGTERM)


async def test_a_worker_that_stops_begins_no_request_for_money(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    order_id = await trials.start_and_hold(Asking("stripe.payment_intents.create", "delay_after"))
    await trials.reached()
    await worker.signal(signal.SIGTERM)
    await worker.wait_for_log("stopping: letting activities in flight finish")
    await trials.let_go()
    assert await worker.ends() == 0
    assert (await environment.books.order(order_id)).captured == 0

    await environment.start_worker()
    (outcome,) = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    [payment] = (await environment.books.order(order_id)).payments
    assert payment.captured == outcome.taken.amount


async def test_ctrl_c_lets_what_is_in_flight_finish_too(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    await stops_in_flight(environment, worker, trials, signal.SIGINT)


async def test_a_worker_waits_for_temporal_and_says_so(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials
) -> None:
    await worker.kill()
    await environment.sandbox.temporal.stop()
    early = await environment.start_worker()
    try:
        await early.wait_for_log("is not there yet (connection refused)")
    finally:
        await environment.sandbox.temporal.start()
    await early.ready()

    await trials.start()
    (outcome,) = await trials.outcomes()

    assert outcome.status is Status.COMPLETED
    assert "Traceback" not in early.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_waits_for_temporal_can_be_stopped(
    environment: DemoEnvironment, number: signal.Signals
) -> None:
    waiting = await environment.start_worker(TEMPORAL_ADDRESS="127.0.0.1:1")
    await waiting.wait_for_log("is not there yet")

    await waiting.signal(number)

    assert (await waiting.ends(), "Traceback" in waiting.log) == (0, False), waiting.log


@contextlib.asynccontextmanager
async def away(environment: DemoEnvironment, part: str, how: str) -> AsyncIterator[None]:
    """A part that is down, or that hangs: it accepts connections and answers nothing."""
    sandbox = environment.sandbox
    found = sandbox.temporal if part == "Temporal" else sandbox.postgres
    if how == "down":
        await found.stop()
        try:
            yield
        finally:
            await found.start()
        return
    root = psutil.Process(found.child.pid)
    family = [root, *root.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


AWAY = [(part, how) for part in ("Temporal", "PostgreSQL") for how in ("down", "hanging")]


@pytest.mark.parametrize(("part", "how"), AWAY)
async def test_a_worker_stops_whatever_is_away(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, part: str, how: str
) -> None:
    await trials.start_and_hold(Asking("resend.emails.send", "delay_after"))
    await trials.reached()
    async with away(environment, part, how):
        await trials.let_go()
        await worker.signal(signal.SIGTERM)
        asked_at = time.monotonic()
        async with asyncio.timeout(40):
            exit_code = await worker.ends()
        # With room for a busy machine; without a limit it was until the part came back.
        assert time.monotonic() - asked_at < 30
    assert exit_code in {0, CUT_OFF}, worker.log
    assert "Traceback" not in worker.log.partition("stopping:")[2]
    await environment.start_worker()
    assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]


#: What docs/operations.md says, and room for a busy machine.
LONGEST_STOP = timedelta(seconds=135 + 10)


@pytest.mark.parametrize(
    ("endpoint", "mode"),
    [
        ("warehouse.fulfillments.create", "delay"),
        ("resend.emails.send", "delay_after"),
        ("stripe.payment_intents.create", "delay"),
        ("stripe.payment_intents.confirm", "delay_after"),
    ],
)
async def test_a_worker_stops_whichever_neighbour_hangs_to_the_end(
    environment: DemoEnvironment,
    worker: WorkerProcess,
    trials: Trials,
    endpoint: str,
    mode: Literal["delay", "delay_after"],
) -> None:
    """The order goes on at another worker, which is there before this one has ended."""
    order_id = await trials.place()
    hanging = await environment.faults.inject(
        endpoint, mode, order_id=order_id, times=1, seconds=600
    )
    await environment.orders.start(order_id)
    await environment.faults.wait_for_hits(hanging, timeout=30)

    await worker.signal(signal.SIGTERM)
    await worker.wait_for_log("stopping: letting activities in flight finish")
    other = await environment.start_worker()
    await other.ready()
    exit_code = await worker.ends(within=LONGEST_STOP.total_seconds())
    assert (await environment.faults.get(hanging)).holding == 1
    # As every service does at last. Until then its key is in use.
    await environment.faults.remove(hanging)

    # What became of the activity was told before the end, however long it took.
    assert exit_code == 0, worker.log
    assert "Traceback" not in worker.log.partition("stopping:")[2]
    assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_told_twice_ends_at_once(
    environment: DemoEnvironment, worker: WorkerProcess, trials: Trials, number: signal.Signals
) -> None:
    await trials.start_and_hold(Asking("stripe.payment_intents.confirm", "delay_after"))
    await trials.reached()
    await worker.signal(number)
    await worker.wait_for_log("stopping: letting activities in flight finish")
    await worker.signal(number)
    assert await worker.ends() == 128 + number
    await trials.let_go()
    await environment.start_worker()
    assert [outcome.status for outcome in await trials.outcomes()] == [Status.COMPLETED]


@pytest.mark.parametrize("how", ["down", "hanging"])
async def test_a_worker_that_is_still_connecting_stops(
    environment: DemoEnvironment, worker: WorkerProcess, how: str
) -> None:
    await worker.kill()
    async with away(environment, "Temporal", how):
        early = await environment.start_worker()
        if how == "down":
            await early.wait_for_log("is not there yet")
        else:
            await asyncio.sleep(2)  # it says nothing while it waits for an answer
        await early.signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await early.ends() in {0, CUT_OFF, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        (
            {"STRIPE_API_KEY": " ", "DATABASE_URL": "mysql://x", "FULFILLMENT_URL": "warehouse"},
            [
                "DATABASE_URL must be postgresql://user:password@host:5432/database.",
                "STRIPE_API_KEY must not be empty.",
                "FULFILLMENT_URL must be an http:// or https:// address.",
            ],
        ),
        (
            {"STRIPE_API_KEY": "sk_live_1", "STRIPE_API_BASE": "http://127.0.0.1:1"},
            [
                "STRIPE_API_KEY is a live key but STRIPE_API_BASE is http://127.0.0.1:1: a live "
                "key is only ever sent to Stripe. Use a test key, or unset STRIPE_API_BASE."
            ],
        ),
    ],
)
async def test_wrong_settings_are_a_sentence_each(
    environment: DemoEnvironment, settings: dict[str, str], sentences: list[str]
) -> None:
    wrong = await environment.start_worker(**settings)

    assert await wrong.ends() == 1
    assert wrong.log.splitlines() == sentences


async def test_settings_that_are_missing_are_named(environment: DemoEnvironment) -> None:
    bare = WorkerProcess(environment.sandbox.state / "workers" / "bare", {})
    needed = [
        name
        for name in environment.sandbox.settings
        if not name.startswith("TEMPORAL") and not name.endswith("WEBHOOK_SECRET")  # the edge's
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name in needed:
            patch.delenv(name, raising=False)
        await bare.start()

    try:
        assert await bare.ends() == 1
        named = {line.split(" is not set")[0] for line in bare.log.splitlines()}
        # Those of the two services' own addresses have a default, and a mail needs no link.
        assert named == set(needed) - {"STRIPE_API_BASE", "RESEND_API_URL", "PAYMENT_URL"}
    finally:
        await asyncio.shield(bare.stop())
