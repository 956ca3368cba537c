"""The yardsticks on Temporal: an empty workflow, and four normal activities on default settings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from bench.yardsticks.steps import PlainOrder, Steps

SEED_QUEUE: Final = "bench-seed"
EMPTY_QUEUE: Final = "bench-empty"

#: The one time-out that Temporal requires.
_STEP: Final = timedelta(seconds=30)


class SeedActivities:
    """The four steps as activities."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    @activity.defn(name="seed_charge_card")
    async def charge_card(self, order: PlainOrder) -> str:
        return await self._steps.charge_card(order)

    @activity.defn(name="seed_fulfill_order")
    async def fulfill_order(self, order: PlainOrder) -> str:
        return await self._steps.fulfill_order(order)

    @activity.defn(name="seed_send_confirmation_email")
    async def send_confirmation_email(self, order: PlainOrder) -> str:
        return await self._steps.send_confirmation_email(order)

    @activity.defn(name="seed_update_inventory")
    async def update_inventory(self, order: PlainOrder) -> None:
        await self._steps.update_inventory(order)


@workflow.defn
class SeedOrder:
    """Charge, fulfil, then mail and stock at the same time."""

    @workflow.run
    async def run(self, order: PlainOrder) -> None:
        await workflow.execute_activity_method(
            SeedActivities.charge_card, order, start_to_close_timeout=_STEP
        )
        await workflow.execute_activity_method(
            SeedActivities.fulfill_order, order, start_to_close_timeout=_STEP
        )
        await asyncio.gather(
            workflow.execute_activity_method(
                SeedActivities.send_confirmation_email, order, start_to_close_timeout=_STEP
            ),
            workflow.execute_activity_method(
                SeedActivities.update_inventory, order, start_to_close_timeout=_STEP
            ),
        )


@workflow.defn
class EmptyWorkflow:
    """What the engine costs by itself."""

    @workflow.run
    async def run(self, order: PlainOrder) -> None:
        pass
