"""Fulfilment: have the warehouse ship the order, cancel that, refund what it cannot ship."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.ids import refund_workflow_id
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.refunds.refund import RefundReason, RefundRequest
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.payment import Payment
    from workflows.refund import RefundWorkflow
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step


async def request_fulfillment(order: OrderState, saga: Saga, payment: Payment) -> None:
    """Have the warehouse accept the order, within the time that a hold can be captured.

    Raises ``OrderStopped`` when it refuses, or when the money for the order is gone by then.
    """
    await payment.verify()
    add_recall(order, saga)
    step: Step[m.OrderRef, m.FulfillOrderAnswer] = FulfillmentActivities.fulfill_order
    doing = "handing over to the warehouse"
    policy = retry_policies.FULFILL.within(payment.hold_time_left())
    with payment.watched():
        answer = await order.steps.run_to_answer(doing, step, order.ref, policy)
    if isinstance(answer, m.Fulfilled):
        # Also when the order was asked to stop: it may be too late for that.
        order.parcel_ids, order.short = answer.parcel_ids, answer.short
        order.contents = answer.contents
    order.steps.stop_if_asked()
    match answer:
        case m.CannotFulfill(message=message):
            raise OrderStopped(Stop(StopReason.CANNOT_FULFILL, message))
        case m.OrderUndone(stop=stop):
            raise OrderStopped(stop)


def add_recall(order: OrderState, saga: Saga) -> None:
    """Have the parcels recalled if the order is undone; a second time changes nothing."""

    async def cancel_fulfillment() -> bool:
        step: Step[m.OrderRef, m.WarehouseCancelAnswer] = FulfillmentActivities.cancel_fulfillment
        doing = "recalling the parcels"
        match await order.steps.compensate(doing, step, order.ref, retry_policies.COMPENSATION):
            case m.AlreadyLeft(parcel_ids=parcel_ids):
                order.parcel_ids = parcel_ids
                return False
        return True

    if not order.is_recalled_on_undo:
        order.is_recalled_on_undo = True
        saga.add_compensation(cancel_fulfillment)


async def refund_short_lines(order: OrderState) -> None:
    """Start a refund of what the warehouse cannot ship.

    What it cannot find is not on the shelves either, so nothing is put back into stock.
    """
    if order.short:
        order.steps.set_doing("having the missing part refunded")
        await start_refund(order, "short", order.short, "the warehouse is short of it")


async def start_refund(
    order: OrderState, refund_id: str, lines: tuple[tuple[str, int], ...], why: str
) -> None:
    """Start a refund of these lines, once per ``refund_id``: a workflow of its own, abandoned."""
    reason = RefundReason.MISSING
    request = RefundRequest(order.order_id, refund_id, lines, reason=reason, message=why)
    order.search_attributes.publish()
    try:
        await workflow.start_child_workflow(
            RefundWorkflow.run,
            request,
            id=refund_workflow_id(order.order_id, refund_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"Refund {refund_id} of order {order.order_id}",
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("refund %s is under way already", refund_id)
