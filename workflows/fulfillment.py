"""Fulfilment: have the warehouse ship the order, cancel that, refund what it cannot ship."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from activities.refunds import RefundActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.ids import SHORT_REFUND_ID
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.refunds import messages as rm
    from durable_orders.domain.refunds.refund import (
        NEVER_ISSUED,
        RefundReason,
        RefundRefused,
        RefundRequest,
    )
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.payment import Payment
    from workflows.refund_start import start_refund_run
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step, StepPaused


async def request_fulfillment(order: OrderState, saga: Saga, payment: Payment) -> None:
    """Have the warehouse accept the order, within the time that a hold can be captured.

    It is not asked while the money is uncertain. Raises ``OrderStopped`` when it refuses, or when
    the money for the order is gone by then.
    """
    await payment.verify()
    add_recall(order, saga)
    answer = await _hand_over(order, payment)
    if isinstance(answer, m.Fulfilled):
        # Also when the order was asked to stop: it may be too late for that.
        order.set_fulfillment(answer)
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
                order.add_parcels(parcel_ids)
                return False
        return True

    if not order.is_recalled_on_undo:
        order.is_recalled_on_undo = True
        saga.add_compensation(cancel_fulfillment)


async def _hand_over(order: OrderState, payment: Payment) -> m.FulfillOrderAnswer:
    """Ask the warehouse to ship the order, but not while its money is uncertain."""
    step: Step[m.OrderRef, m.FulfillOrderAnswer] = FulfillmentActivities.fulfill_order
    doing = "handing over to the warehouse"
    while True:
        policy = retry_policies.FULFILL.within(payment.hold_time_left())
        try:
            with payment.watched():
                return await order.steps.run_to_answer(doing, step, order.ref, policy)
        except StepPaused:
            # It may have accepted already: asked again by the same key it accepts once.
            await payment.verify()


async def read_lost_answer(order: OrderState) -> None:
    """Read what the warehouse has accepted, of an order that stands although the answer was lost.

    Never given up: until it is known, nobody can tell what is to be refunded and what to confirm.
    Where the warehouse does not say it, an operator finds out and settles it with the customer.
    """
    if order.has_fulfillment:
        return
    step: Step[m.OrderRef, m.ReadFulfillmentAnswer] = FulfillmentActivities.read_fulfillment
    doing = "reading what is in the parcels"
    answer = await order.steps.compensate(doing, step, order.ref, retry_policies.COMPENSATION)
    match answer:
        case m.Fulfilled():
            order.set_fulfillment(answer)
        case m.ContentsUnknown(message=message, parcel_ids=parcel_ids):
            order.add_parcels(parcel_ids)
            problem = (
                f"it is not known what is in the order's parcels: {message}. Ask the warehouse, "
                "refund by line what is missing, then resolve"
            )
            await order.steps.operator.wait_until_resolved("read_fulfillment", problem)


async def refund_short_lines(order: OrderState) -> None:
    """Start a refund of what the warehouse cannot ship. It goes on by itself: one that is refused
    asks for a person in its own run.

    What it cannot find is not on the shelves either, so nothing is put back into stock.
    """
    if order.short:
        order.steps.set_doing("having the missing part refunded")
        why = "the warehouse is short of it"
        await start_refund_run(order, owed_refund(order, SHORT_REFUND_ID, order.short, why))


def owed_refund(
    order: OrderState, refund_id: str, lines: tuple[tuple[str, int], ...], why: str
) -> RefundRequest:
    """The request for a refund of these lines, which the customer does not get."""
    reason = RefundReason.MISSING
    return RefundRequest(order.order_id, refund_id, lines, reason=reason, message=why, owed=True)


async def reserve_refund(
    order: OrderState, request: RefundRequest
) -> rm.ParcelRefunded | RefundRefused:
    """Set a refund aside before its run is started, so that its refusal is heard by the order.

    Not given up: a try whose answer was lost may have set it aside.
    """
    step: Step[RefundRequest, rm.ReserveRefundAnswer] = RefundActivities.reserve_refund
    doing, pause = "setting a refund aside", retry_policies.REPEAT_PAUSE_FIRST
    answer: rm.ReserveRefundAnswer | None = None
    while answer is None:
        try:
            answer = await order.steps.run_beside(doing, step, request, retry_policies.RECORD)
        except FailureError as error:
            order.steps.operator.flag_beside(step, error)
            await workflow.sleep(pause)
            pause = min(pause * 2, retry_policies.REPEAT_PAUSE_LONGEST)
    order.steps.operator.clear_beside(step)
    if isinstance(answer, RefundRefused):
        return answer
    if answer.state in NEVER_ISSUED:
        return RefundRefused(f"its refund {request.refund_id} was {answer.state}: {answer.why}")
    ref = rm.RefundRef(request.order_id, request.refund_id)
    return rm.ParcelRefunded(ref, answer.amount, answer.why)
