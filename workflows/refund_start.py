"""Start of a refund's run from the run of its order."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from durable_orders.domain.ids import refund_workflow_id
    from durable_orders.domain.refunds.refund import RefundRequest, undo_request
    from workflows.order_state import OrderState
    from workflows.refund import RefundWorkflow


async def start_refund_run(order: OrderState, request: RefundRequest) -> None:
    """Start the run of a refund, once per refund id: a workflow of its own, abandoned."""
    refund_id = request.refund_id
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


async def follow_undo_refund(order: OrderState) -> None:
    """Have what the undone order gives back followed to the customer, for as long as that takes."""
    if order.on_its_way is not None:
        order.steps.set_doing("having the refund followed")
        await start_refund_run(order, undo_request(order.order_id))
