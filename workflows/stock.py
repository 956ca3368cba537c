"""Setting stock aside, and giving it back."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.inventory import InventoryActivities
    from orders import messages as m
    from orders.lifecycle import Reason, Status, Stop
    from workflows import policies
    from workflows.life import Life
    from workflows.steps import Step
    from workflows.undo import StoppedError, UndoneUnlessKept


async def reserve_stock(life: Life, undo: UndoneUnlessKept) -> None:
    """Set all lines aside. Raises ``StoppedError`` when not all of them can be had."""

    async def release() -> bool:
        step = InventoryActivities.release_inventory
        # Not locally: reading and reserving must be in the run's history first. Repeated after this
        # they would find the order closed, as if by another run.
        await life.steps.undo("releasing the stock", step, life.ref, policies.UNDO)
        return True

    undo.add(release)
    step: Step[m.OrderRef, m.ReserveAnswer] = InventoryActivities.reserve_inventory
    match await life.steps.do("reserving the stock", step, life.ref, policies.DATABASE):
        case m.Reserved():
            pass
        case m.OutOfStock(sku=sku, wanted=wanted, available=available):
            message = f"{wanted} of {sku} ordered, {available} available"
            raise StoppedError(Stop(Reason.OUT_OF_STOCK, message))
        case m.ReservationClosed(state=state):
            message = f"its stock was {state} by an earlier run"
            raise StoppedError(Stop(Reason.CLOSED_BEFORE, message))


async def take_off_stock(life: Life) -> None:
    """Take what is set aside off the shelves for good: with that the order is fulfilled."""
    step = InventoryActivities.update_inventory
    doing = f"recording: {Status.FULFILLED}, taking the stock"
    await life.steps.finish(doing, step, life.ref, policies.RECORD)
    life.moved_to(Status.FULFILLED)
