"""Handing the order over to the warehouse, and calling it back."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from orders import messages as m
    from orders.lifecycle import Reason, Stop
    from workflows import policies
    from workflows.life import Life
    from workflows.steps import Step
    from workflows.undo import StoppedError, UndoneUnlessKept


async def hand_over(life: Life, undo: UndoneUnlessKept, *, within: timedelta | None) -> None:
    """Have the warehouse accept the order, ``within`` the time that the money is held for.

    Raises ``StoppedError`` when it refuses.
    """

    async def recall() -> bool:
        step: Step[m.OrderRef, m.RecallAnswer] = FulfillmentActivities.cancel_fulfillment
        doing = "recalling the parcels"
        answer = await life.steps.undo(doing, step, life.ref, policies.UNDO)
        if isinstance(answer, m.AlreadyLeft):
            life.parcel_ids = answer.parcel_ids
            return False
        return True

    undo.add(recall)
    step: Step[m.OrderRef, m.FulfillAnswer] = FulfillmentActivities.fulfill_order
    doing = "handing over to the warehouse"
    match await life.steps.do(doing, step, life.ref, policies.FULFILL.within(within)):
        case m.Fulfilled(parcel_ids=parcel_ids):
            life.parcel_ids = parcel_ids
        case m.CannotFulfill(message=message):
            raise StoppedError(Stop(Reason.CANNOT_FULFILL, message))
