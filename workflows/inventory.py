"""Stock: reserve it, release it, commit it."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.inventory import InventoryActivities
    from durable_orders.contracts.error_types import ORDER_FAILED
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step


async def reserve_stock(
    order: OrderState, saga: Saga, answer: m.ReserveAnswer | None = None
) -> None:
    """Reserve all lines, unless that is answered already. Raises ``OrderStopped`` when not all of
    them can be had.
    """

    async def release() -> bool:
        step = InventoryActivities.release_inventory
        # Not a local activity: reading and reserving must be in the run's history first. Repeated
        # after this they would find the order closed, as if by another run.
        await order.steps.compensate(
            "releasing the stock", step, order.ref, retry_policies.COMPENSATION
        )
        return True

    saga.add_compensation(release)
    if answer is None:
        step: Step[m.Reservation, m.ReserveAnswer] = InventoryActivities.reserve_inventory
        answer = await order.steps.run(
            "reserving the stock", step, reservation(order), retry_policies.DATABASE
        )
    match answer:
        case m.Reserved():
            order.steps.stop_if_asked()
        case m.OutOfStock(sku=sku, wanted=wanted, available=available):
            message = f"{wanted} of {sku} ordered, {available} available"
            raise OrderStopped(Stop(StopReason.OUT_OF_STOCK, message))
        case m.OrderUndone(stop=stop):
            raise OrderStopped(stop)
        case m.ReservationClosed(state="committed"):
            pass  # it is kept, by this run: Temporal was put back to an earlier state
        case m.ReservationClosed(state=state):
            message = f"its stock was {state} by an earlier run"
            raise OrderStopped(Stop(StopReason.CLOSED_BEFORE, message))


def reservation(order: OrderState) -> m.Reservation:
    """The request for the order's stock, by the first run of its workflow."""
    return m.Reservation(order.order_id, workflow.info().first_execution_run_id)


async def commit_stock(order: OrderState) -> m.StockCommitted:
    """Take what is reserved off the shelves for good: with that the order is fulfilled, and kept.
    One that waits for nothing more has ended with it, in the books, too.

    Raises ``OrderStopped`` when it was decided before to undo it.
    """
    answer = await _commit(order)
    if isinstance(answer, m.OrderUndone):
        raise OrderStopped(answer.stop)
    order.show_status(Status.FULFILLED)
    return answer


async def commit_departed_stock(order: OrderState) -> m.StockCommitted:
    """The same for an order that it was too late to undo: it is no longer being undone."""
    answer = await _commit(order)
    if isinstance(answer, m.OrderUndone):
        message = f"order {order.order_id} has left and is being undone: {answer.stop.message}"
        raise ApplicationError(message, type=ORDER_FAILED, non_retryable=True)
    order.show_status(Status.FULFILLED)
    return answer


async def _commit(order: OrderState) -> m.CommitAnswer:
    step: Step[m.CommitRequest, m.CommitAnswer] = InventoryActivities.update_inventory
    request = m.CommitRequest(order.order_id, order.end_when_fulfilled())
    doing = f"recording: {request.ends_as or Status.FULFILLED}, taking the stock"
    return await order.steps.run_until_done(doing, step, request, retry_policies.RECORD)
