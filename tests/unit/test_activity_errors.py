"""How failures of activities reach Temporal, and what a worker that stops leaves to the next."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities import error_types
from activities.interceptor import ActivityInterceptor
from activities.payments import PaymentActivities
from activities.worker_stop import raise_if_stopping
from durable_orders.domain.activity_messages import ChargeRequest, OrderRef
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    BusyError,
    DatabaseAwayError,
    LockedOutError,
    NoAnswerError,
    RefusedError,
)
from tests.fakes.cards import InMemoryCards
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.refunds import InMemoryRefundBook
from tests.support.shop import basket

ATTEMPT = 4


class Failing(ActivityInboundInterceptor):
    """The innermost link of the chain: fails, or hangs without an ``error``."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.entered = asyncio.Event()

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        self.entered.set()
        if self.error is None:
            await asyncio.Event().wait()
            return None
        raise self.error


def environment() -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.info = ActivityEnvironment.default_info()
    object.__setattr__(made.info, "attempt", ATTEMPT)
    object.__setattr__(made.info, "activity_type", "read_order")
    object.__setattr__(made.info, "workflow_type", "Order")
    object.__setattr__(made.info, "workflow_id", "order-1001")
    object.__setattr__(made.info, "heartbeat_timeout", None)
    return made


async def run(where: ActivityEnvironment, inner: Failing) -> ApplicationError:
    """The error that Temporal is given."""
    chain = ActivityInterceptor().intercept_activity(inner)
    asked = ExecuteActivityInput(lambda: None, (OrderRef("1001"),), None, {})

    async def execute() -> None:
        await chain.execute_activity(asked)

    with pytest.raises(ApplicationError) as caught:
        await where.run(execute)
    return caught.value


@pytest.mark.parametrize(
    ("error", "type_", "details"),
    [
        (NoAnswerError("silence"), error_types.NO_ANSWER, []),
        (BusyError("too many"), error_types.BUSY, [ATTEMPT]),
        (LockedOutError("wrong key"), error_types.LOCKED_OUT, [ATTEMPT]),
        (DatabaseAwayError("away"), error_types.DATABASE_AWAY, [ATTEMPT]),
    ],
)
async def test_a_failure_says_whose_fault_it_is_and_how_many_tries_went_before(
    error: Exception, type_: str, details: list[int]
) -> None:
    told = await run(environment(), Failing(error))
    assert (told.type, told.non_retryable, list(told.details)) == (type_, False, details)


async def test_load_is_waited_out_as_told() -> None:
    busy = BusyError("too many", retry_after=timedelta(seconds=12))
    told = await run(environment(), Failing(busy))
    assert told.next_retry_delay == timedelta(seconds=12)


async def test_a_refusal_is_not_retried() -> None:
    told = await run(environment(), Failing(RefusedError("no")))
    assert (told.type, told.non_retryable) == (error_types.REFUSED, True)


async def test_what_a_stopping_worker_cut_off_is_no_try() -> None:
    where, inner = environment(), Failing(None)
    running = asyncio.create_task(run(where, inner))
    await inner.entered.wait()
    where.cancel(ActivityCancellationDetails(worker_shutdown=True))
    told = await running
    assert (told.type, told.non_retryable) == (error_types.BUSY, False)
    assert "this worker stopped" in told.message


async def test_what_was_cancelled_on_request_is_cancelled() -> None:
    where, inner = environment(), Failing(None)
    running = asyncio.create_task(run(where, inner))
    await inner.entered.wait()
    where.cancel(ActivityCancellationDetails(cancel_requested=True))
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_worker_that_stops_asks_no_new_question_that_moves_money() -> None:
    where = environment()

    async def ask() -> bool:
        assert activity.in_activity()
        raise_if_stopping()
        return True

    assert await where.run(ask)
    where.worker_shutdown()
    with pytest.raises(BusyError, match="the next one goes on"):
        await where.run(ask)


async def test_a_charge_is_left_to_the_next_worker_before_it_is_confirmed() -> None:
    database, cards = InMemoryDatabase(), InMemoryCards()
    database.add_product("MUG", "Mug", Money(14_50, "EUR"), 10)
    orders = InMemoryOrderRepository(database)
    ledger = InMemoryPaymentLedger(database)
    await orders.place(basket("1001"), datetime.now(UTC))
    refunds = InMemoryRefundBook(database)
    charge_card = PaymentActivities(cards, ledger, orders, refunds).charge_card
    stopping = environment()
    stopping.worker_shutdown()

    with pytest.raises(BusyError):
        await stopping.run(charge_card, ChargeRequest("1001"))
    assert "confirm" not in cards.calls
    answer = await environment().run(charge_card, ChargeRequest("1001"))

    assert answer.kind == "paid"
    assert (cards.calls.count("create"), cards.calls.count("confirm")) == (1, 1)


def test_outside_of_an_activity_nobody_stops() -> None:
    raise_if_stopping()
