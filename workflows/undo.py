"""Undoing an order: decided in its row first, so that no step of it goes on meanwhile."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.orders import OrderBookActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import Stop, StopReason
    from workflows import retry_policies
    from workflows.fulfillment import add_recall
    from workflows.operator_attention import problem_of
    from workflows.order_state import OrderState
    from workflows.payment import Payment
    from workflows.saga import Saga
    from workflows.step_runner import Step


async def begin_undo(order: OrderState, saga: Saga, payment: Payment) -> bool:
    """Decide in the order's row that it is undone; False when that says that it is kept.

    The row may know more than this run, if Temporal was put back to an earlier state: why it is
    being undone, what has to be undone besides, or that it has ended.
    """
    stop = saga.stop or _failure(saga)
    request = m.UndoRequest(order.order_id, stop, workflow.info().first_execution_run_id)
    step: Step[m.UndoRequest, m.UndoAnswer] = OrderBookActivities.begin_undo
    doing = "recording: it is being undone"
    answer = await order.steps.run_until_done(doing, step, request, retry_policies.RECORD)
    match answer:
        case m.AlreadyFulfilled(parcel_ids=parcel_ids):
            order.add_parcels(parcel_ids)
            return False
        case m.EndedBefore(stop=stop):
            saga.discard_compensations()
            order.adopt_end(answer)
        case m.UndoBegun(stop=stop, charged=charged, handed_over=handed_over):
            if charged:
                payment.add_refund(saga)
            if handed_over:
                add_recall(order, saga)
    saga.stop = stop
    return True


def _failure(saga: Saga) -> Stop:
    """Why an order is undone of which a step failed."""
    return Stop(StopReason.NO_ANSWER, problem_of(saga.failure) if saga.failure else "no answer")
