"""A worker with one bug, for tests of the chaos runner: ``PLANTED_BUG`` names one of ``BUGS``.

Its workflows run without the SDK's sandbox, which would import them anew and without the bug.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from temporalio.worker import UnsandboxedWorkflowRunner

import activities.notifications
import worker
import workflows.order
from activities.notifications import NotificationActivities
from durable_orders.domain import activity_messages as m
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.ports import CardCharge
from durable_orders.process import exit_process
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.inventory import PostgresInventory
from workflows.delivery import Delivery
from workflows.fulfillment import request_fulfillment
from workflows.order_state import OrderState
from workflows.payment import Payment
from workflows.refund_steps import RefundSteps
from workflows.saga import Saga

_RESERVE_WHAT_IS_THERE: Final = text(
    "UPDATE products p SET reserved = reserved + l.quantity FROM order_lines l "
    "WHERE l.order_id = :id AND l.sku = p.sku AND p.on_hand - p.reserved >= l.quantity"
)


def random_key() -> None:
    """Each request that creates a payment has a key of its own."""
    create = StripeCards.create

    async def with_any_key(self: StripeCards, *arguments: Any, **named: Any) -> CardCharge:
        return await create(self, *arguments, **(named | {"key": str(uuid.uuid4())}))

    _replace(StripeCards, "create", with_any_key)


def no_undo() -> None:
    """Compensations are forgotten."""

    async def compensate_nothing(self: Saga) -> bool:
        return True

    _replace(Saga, "_compensate_all", compensate_nothing)


def stock_not_atomic() -> None:
    """Of an order that cannot be had as a whole, what is there is set aside."""
    reserve = PostgresInventory.reserve

    async def line_by_line(
        self: PostgresInventory, order_id: str, run_id: str = ""
    ) -> m.ReserveAnswer:
        answer = await reserve(self, order_id, run_id)
        if isinstance(answer, m.OutOfStock):
            async with self._database.transaction() as connection:
                await connection.execute(_RESERVE_WHAT_IS_THERE, {"id": order_id})
        return answer

    _replace(PostgresInventory, "reserve", line_by_line)


def lost_signal() -> None:
    """News of parcels is lost."""

    def forget(self: Delivery, news: object) -> None:
        return

    _replace(Delivery, "update_parcel", forget)


def refund_not_followed() -> None:
    """A refund that is pending at the bank is taken for done."""

    async def arrived(self: RefundSteps) -> None:
        return

    _replace(RefundSteps, "wait_for_arrival", arrived)


def mail_before_its_time() -> None:
    """The confirmation is sent before the warehouse has been asked, and not withheld."""

    async def confirm_first(order: OrderState, saga: Saga, payment: Payment) -> None:
        confirm = NotificationActivities.send_confirmation_email
        confirmation = m.Confirmation(order.order_id, ())
        await order.send_email("mailing the confirmation", confirm, confirmation)
        await request_fulfillment(order, saga, payment)

    _replace(workflows.order, "request_fulfillment", confirm_first)
    _replace(activities.notifications, "_is_kept", lambda _: True)


def dispute_not_booked() -> None:
    """What is disputed is looked at, and not recorded."""

    async def recorded(
        self: PostgresDisputeRepository, order_id: str, risks: PaymentRisks, now: datetime
    ) -> PaymentRisks:
        return risks

    _replace(PostgresDisputeRepository, "record", recorded)


BUGS: Final[dict[str, Callable[[], None]]] = {
    plant.__name__: plant
    for plant in (
        random_key,
        no_undo,
        stock_not_atomic,
        lost_signal,
        refund_not_followed,
        mail_before_its_time,
        dispute_not_booked,
    )
}


def _replace(owner: object, name: str, bug: object) -> None:
    """Put the bug in place of what has this name, which must be there."""
    getattr(owner, name)
    setattr(owner, name, bug)


if __name__ == "__main__":
    _replace(worker, "RUNNER", UnsandboxedWorkflowRunner())
    BUGS[os.environ["PLANTED_BUG"]]()
    exit_process(worker.main())
