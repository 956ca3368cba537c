"""Cancelling: signal, Update and the Web UI's button, at every point of an order's life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from durable_orders.contracts.error_types import TOO_LATE
from durable_orders.domain.activity_messages import (
    Cancelled,
    CancelRequest,
    EndedOtherwise,
    OrderInput,
    Outcome,
)
from durable_orders.domain.ids import TASK_QUEUE, workflow_id
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.ports import NoAnswerError
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, events
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]


async def by_signal(handle: Handle) -> None:
    await handle.signal(OrderWorkflow.cancel_order)


async def by_update(handle: Handle) -> None:
    answer = await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
    assert isinstance(answer, Cancelled)


async def by_temporal(handle: Handle) -> None:
    await handle.cancel()


SOURCES = [by_signal, by_update, by_temporal]

#: Where an order can be stopped while a neighbour works on it, and whether money was taken by then.
POINTS = [
    ("cards", "create", "before", False),
    ("cards", "create", "after", False),
    ("cards", "confirm", "before", False),
    ("cards", "confirm", "after", True),
    ("warehouse", "fulfill", "before", True),
    ("warehouse", "fulfill", "after", True),
    ("book", "record_parcels", "after", True),
]


@pytest.mark.parametrize("cancel", SOURCES)
@pytest.mark.parametrize(("neighbour", "method", "where", "taken"), POINTS)
async def test_a_cancel_in_mid_step_undoes_everything(
    shop: Shop,
    neighbour: str,
    method: str,
    where: str,
    taken: bool,  # noqa: FBT001 - a parameter of the test, never written by hand
    cancel: Callable[[Handle], Coroutine[Any, Any, None]],
) -> None:
    gate = getattr(shop, neighbour).hold(method, where=where)
    handle = await shop.order()
    await gate.entered()
    cancelling = asyncio.create_task(cancel(handle))
    outcome = await shop.check(await handle.result())
    await cancelling
    assert outcome.status is (Status.REFUNDED if taken else Status.CANCELLED)
    assert outcome.given_back.amount == (TOTAL.amount if taken else 0)
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.CANCELLED


@pytest.mark.parametrize("cancel", SOURCES)
@pytest.mark.parametrize(("neighbour", "method", "where"), [p[:3] for p in POINTS])
async def test_a_step_that_finishes_in_spite_of_a_cancel_is_undone_too(
    shop: Shop,
    neighbour: str,
    method: str,
    where: str,
    cancel: Callable[[Handle], Coroutine[Any, Any, None]],
) -> None:
    gate = getattr(shop, neighbour).hold(method, where=where)
    handle = await shop.order()
    await gate.entered()
    cancelling = asyncio.create_task(cancel(handle))
    await eventually(lambda: cancel_requested(handle))
    gate.release()
    outcome = await shop.check(await handle.result())
    await cancelling
    assert outcome.status in {Status.REFUNDED, Status.CANCELLED}


async def test_a_cancel_that_comes_with_the_start_charges_nothing(shop: Shop) -> None:
    order_id = await shop.place()
    handle = await shop.client.start_workflow(
        OrderWorkflow.run,
        OrderInput(order_id),
        id=workflow_id(order_id),
        task_queue=TASK_QUEUE,
        start_signal="cancel_order",
        start_signal_args=[CancelRequest(by="operator")],
    )
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.CANCELLED
    assert outcome.stop is not None
    assert outcome.stop.message == "cancelled by operator"
    assert shop.cards.charges == {}


async def test_a_cancel_between_two_tries_is_heard_at_once(shop: Shop) -> None:
    """The charge waits in Temporal for its next try; nothing runs that could hear a heartbeat."""
    shop.warehouse.fail_until_healed("fulfill", NoAnswerError("nobody answers"))
    handle = await shop.order(waits=True)

    async def tried() -> bool:
        return "fulfill" in shop.warehouse.calls

    await eventually(tried)
    answer = await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
    assert answer == Cancelled(status=Status.REFUNDED, given_back=TOTAL)
    await shop.check(await handle.result())


async def test_the_update_says_what_was_given_back(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order()
    await gate.entered()
    answer = await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
    assert answer == Cancelled(status=Status.REFUNDED, given_back=TOTAL)


async def test_a_cancel_after_the_point_of_no_return_is_refused_and_changes_nothing(
    shop: Shop,
) -> None:
    shop.mailer.fail_until_healed("send", NoAnswerError("nobody answers"))  # the run stays open
    handle = await shop.order(waits=True)

    async def completed() -> bool:
        order = await shop.book.get(handle.id.removeprefix("order-"))
        return order.status is Status.COMPLETED

    await eventually(completed)
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
    assert isinstance(refusal.value.cause, ApplicationError)
    assert refusal.value.cause.type == TOO_LATE
    assert "ask for a return" in refusal.value.cause.message
    await by_signal(handle)
    await by_temporal(handle)
    shop.mailer.heal("send")
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED


async def test_a_cancel_that_finds_the_parcel_gone_lets_the_order_complete(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order()
    await gate.entered()
    shop.warehouse.dispatch(handle.id.removeprefix("order-"))
    answer = await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
    assert isinstance(answer, EndedOtherwise)
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    assert outcome.stop is None


async def test_a_cancel_during_an_undo_is_told_how_the_order_really_ended(shop: Shop) -> None:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    gate = shop.cards.hold("refund")
    handle = await shop.start(order_id)
    await gate.entered()
    cancelling = asyncio.create_task(
        handle.execute_update(OrderWorkflow.cancel, CancelRequest()),
    )
    await eventually(lambda: cancel_requested(handle))
    await by_temporal(handle)
    gate.release()
    answer = await cancelling
    assert answer == EndedOtherwise(status=Status.REFUNDED, reason=StopReason.CANNOT_FULFILL)
    await shop.check(await handle.result())


async def test_two_cancels_at_once_get_the_same_answer_and_one_refund(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order()
    await gate.entered()
    first, second = await asyncio.gather(
        handle.execute_update(OrderWorkflow.cancel, CancelRequest(by="customer")),
        handle.execute_update(OrderWorkflow.cancel, CancelRequest(by="operator")),
    )
    assert first == second
    await shop.check(await handle.result())
    assert len(shop.cards.refunds) == 1


async def cancel_requested(handle: Handle) -> bool:
    return (await handle.query(OrderWorkflow.status)).cancel_requested


async def test_a_cancel_that_overtakes_a_lost_workflow_task_finds_the_order_kept(
    shop: Shop,
) -> None:
    """A worker wrote down that the order is fulfilled and died before it could tell the server."""
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order()
    await gate.entered()
    await shop.inventory.commit(handle.id.removeprefix("order-"))
    cancelling = asyncio.create_task(handle.execute_update(OrderWorkflow.cancel, CancelRequest()))

    async def accepted() -> bool:  # else it may come when the run closes, which answers nobody
        told = events(await handle.fetch_history())
        return "WORKFLOW_EXECUTION_UPDATE_ACCEPTED" in told

    await eventually(accepted)
    await handle.signal(OrderWorkflow.cancel_order)
    gate.release()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    assert isinstance(await cancelling, EndedOtherwise)
    assert shop.warehouse.cancelled == set()
