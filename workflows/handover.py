"""Handing the order over to the warehouse, and calling it back."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from orders import messages as m
    from orders.ids import refund_workflow_id
    from orders.lifecycle import Reason, Stop
    from orders.refunds import RefundReason, RefundRequest
    from workflows import policies
    from workflows.life import Life
    from workflows.refund import RefundWorkflow
    from workflows.steps import Step
    from workflows.undo import StoppedError, UndoneUnlessKept


async def hand_over(life: Life, undo: UndoneUnlessKept, *, within: timedelta | None) -> None:
    """Have the warehouse accept the order, ``within`` the time that the money is held for.

    Raises ``StoppedError`` when it refuses.
    """

    async def recall() -> bool:
        step: Step[m.OrderRef, m.CancelFulfillmentAnswer]
        step = FulfillmentActivities.cancel_fulfillment
        doing = "recalling the parcels"
        match await life.steps.undo(doing, step, life.ref, policies.UNDO):
            case m.AlreadyLeft(parcel_ids=parcel_ids):
                life.parcel_ids = parcel_ids
                return False
            case m.KeptBefore():
                return False
        return True

    undo.add(recall)
    step: Step[m.OrderRef, m.FulfillAnswer] = FulfillmentActivities.fulfill_order
    doing = "handing over to the warehouse"
    answer = await life.steps.ask(doing, step, life.ref, policies.FULFILL.within(within))
    if isinstance(answer, m.Fulfilled):
        # Also when the order is to be stopped: it may be too late for that.
        life.parcel_ids, life.short = answer.parcel_ids, answer.short
        life.contents = answer.contents
    life.steps.stop_if_cancelled()
    if isinstance(answer, m.CannotFulfill):
        raise StoppedError(Stop(Reason.CANNOT_FULFILL, answer.message))


async def refund_short(life: Life) -> None:
    """Have a refund begin for what the warehouse cannot ship; it goes on by itself.

    What it cannot find is not on the shelves either, so nothing is put back into stock.
    """
    if life.short:
        life.steps.now("having the missing part refunded")
        await refund_missing(life, "short", life.short, "the warehouse is short of it")


async def refund_missing(
    life: Life, refund_id: str, lines: tuple[tuple[str, int], ...], why: str
) -> None:
    """Begin a refund of these lines that goes on by itself, once per ``refund_id``."""
    reason = RefundReason.MISSING
    request = RefundRequest(life.order_id, refund_id, lines, reason=reason, message=why)
    life.publish()
    try:
        await workflow.start_child_workflow(
            RefundWorkflow.run,
            request,
            id=refund_workflow_id(life.order_id, refund_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"Refund {refund_id} of order {life.order_id}",
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("refund %s is under way already", refund_id)
