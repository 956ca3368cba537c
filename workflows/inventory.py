"""Stock: reserve it, release it, commit it."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.inventory import InventoryActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step


async def reserve_stock(order: OrderState, saga: Saga) -> None:
    """Reserve all lines. Raises ``OrderStopped`` when not all of them can be had."""

    async def release() -> bool:
        step = InventoryActivities.release_inventory
        # Not a local activity: reading and reserving must be in the run's history first. Repeated
        # after this they would find the order closed, as if by another run.
        await order.steps.compensate(
            "releasing the stock", step, order.ref, retry_policies.COMPENSATION
        )
        return True

    saga.add_compensation(release)
    step: Step[m.OrderRef, m.ReserveAnswer] = InventoryActivities.reserve_inventory
    match await order.steps.run("reserving the stock", step, order.ref, retry_policies.DATABASE):
        case m.Reserved():
            pass
        case m.OutOfStock(sku=sku, wanted=wanted, available=available):
            message = f"{wanted} of {sku} ordered, {available} available"
            raise OrderStopped(Stop(StopReason.OUT_OF_STOCK, message))
        case m.ReservationClosed(state=state):
            message = f"its stock was {state} by an earlier run"
            raise OrderStopped(Stop(StopReason.CLOSED_BEFORE, message))


async def commit_stock(order: OrderState) -> None:
    """Take what is reserved off the shelves for good: with that the order is fulfilled."""
    step = InventoryActivities.update_inventory
    doing = f"recording: {Status.FULFILLED}, taking the stock"
    await order.steps.run_until_done(doing, step, order.ref, retry_policies.RECORD)
    order.show_status(Status.FULFILLED)
