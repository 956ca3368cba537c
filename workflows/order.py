"""The order workflow: one order, from checkout to its end."""

# Loaded anew for every run, in the SDK's sandbox. So only names are imported: a module taken from
# its package (`from workflows import policies`) is not passed through and would be loaded anew too.
# And annotations are left as they are: the SDK would evaluate each from its text.

import asyncio
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.orders import OrderBookActivities
    from durable_orders.contracts.error_types import ALREADY_CARRIED, ORDER_FAILED
    from durable_orders.contracts.search_attributes import CUSTOMER_ID, ORDER_TOTAL
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.ids import workflow_id
    from durable_orders.domain.lifecycle import Status, StopReason
    from durable_orders.domain.money import Money
    from workflows.approval import Approval, obtain_approval
    from workflows.delivery import Delivery
    from workflows.fulfillment import (
        read_lost_answer,
        refund_short_lines,
        request_fulfillment,
    )
    from workflows.inventory import (
        commit_departed_stock,
        commit_stock,
        reservation,
        reserve_stock,
    )
    from workflows.order_handlers import OrderHandlers
    from workflows.order_state import OrderState
    from workflows.own_id import raise_unless_own_id
    from workflows.payment import Payment
    from workflows.payment_status import PaymentStatus
    from workflows.refund_start import follow_undo_refund
    from workflows.retry_policies import DATABASE
    from workflows.saga import Saga
    from workflows.shielding import shield_from_cancellation
    from workflows.undo import begin_undo


@workflow.defn(name="Order")
class OrderWorkflow(OrderHandlers):
    """Reserve, approve, charge, fulfil, confirm; compensated as a whole when that cannot be."""

    @workflow.init
    def __init__(self, order: m.OrderInput) -> None:
        self._order = OrderState(m.OrderRef(order.order_id))
        self._payment_status = PaymentStatus()
        self._approval = Approval(
            self._order.steps, f"order {order.order_id}", self._order.describe
        )
        self._payment = Payment(self._order, self._payment_status)
        self._delivery = Delivery(self._order)
        self._confirmed: bool | None = None
        self._snapshot = order.so_far
        if self._snapshot is not None:
            self._order.restore(self._snapshot)
            self._delivery.restore(self._snapshot)
            self._confirmed = self._snapshot.confirmed

    @workflow.run
    async def run(self, order: m.OrderInput) -> m.Outcome:  # noqa: ARG002 - taken by __init__
        """Process the order to its end and return how it ended.

        Raises ``ApplicationError`` of type ``ORDER_FAILED`` when a neighbour gave no answer and the
        order was compensated because of that: an outage to look at, not a business decision.
        """
        return await shield_from_cancellation(
            self._process(),
            on_cancel=self._on_cancel,
            on_end=self._on_end,
            is_idle=lambda: self._order.steps.is_idle_beside,
        )

    async def _process(self) -> m.Outcome:
        order = self._order
        raise_unless_own_id(lambda: workflow_id(order.order_id), goes_on=self._snapshot is not None)
        if self._snapshot is not None:
            return await self._deliver()
        begun = await self._begin()
        kept: m.StockCommitted | None = None
        async with Saga(self._begin_undo) as saga:
            await reserve_stock(order, saga, begun.stock if begun else None)
            waited = await obtain_approval(order, self._approval, self._payment_status)
            # Within the first workflow task, where that is likely to be quick.
            locally = begun is not None and begun.charge_locally and not waited
            await self._payment.charge(saga, locally=locally)
            await request_fulfillment(order, saga, self._payment)
            await self._payment.capture(self._delivery.has_departed)
            kept = await commit_stock(order)
            saga.commit()
        if saga.compensated:
            return await self._close(saga)
        # The warehouse has the parcels: nothing stops or compensates the order from here on.
        if kept is None:
            await self._payment.settle_departed_parcels()
            kept = await commit_departed_stock(order)
        await read_lost_answer(order)
        self._delivery.start(kept)
        if kept.status == order.end_when_fulfilled():
            order.show_end(kept.status)
        if await self._delivery.can_continue_as_new():
            self._continue_as_new()
        return await self._deliver()

    async def _begin(self) -> m.OrderBegun | None:
        """Read the order and reserve its stock in one conversation. None when the order was only
        read: it is to be stopped already, or our database took its time.
        """
        order = self._order
        if not order.steps.must_stop:
            begin = OrderBookActivities.begin_order
            begun = await order.steps.try_locally("reserving the stock", begin, reservation(order))
            if begun is not None:
                self._take_over(begun.found, is_ours=begun.stock is not None)
                return begun
        step = OrderBookActivities.read_order
        found = await order.steps.run_or_fail("reading the order", step, order.ref, DATABASE)
        run_id = workflow.info().first_execution_run_id
        is_ours = not found.order.is_carried_by_another(run_id)
        self._take_over(found, is_ours=is_ours)
        return None

    def _take_over(self, found: m.OrderWithTerms, *, is_ours: bool) -> None:
        """Take note of what the order is. Raises ``ApplicationError`` when another run has carried
        it.
        """
        order, summary = self._order, found.order
        if not is_ours:
            message = f"order {summary.order_id} is {summary.status}: another run has carried it"
            raise ApplicationError(message, type=ALREADY_CARRIED, non_retryable=True)
        order.terms, order.total = found.terms, summary.total
        order.asked_by = summary.placed_by if found.terms.four_eyes else ""
        order.is_approved = summary.status not in {Status.PLACED, Status.AWAITING_APPROVAL}
        order.taken = order.given_back = Money(0, summary.total.currency)
        if workflow.info().typed_search_attributes.get(CUSTOMER_ID) is None:
            order.search_attributes.set(
                CUSTOMER_ID.value_set(summary.customer_id),
                ORDER_TOTAL.value_set(summary.total.amount),
            )

    async def _begin_undo(self, saga: Saga) -> bool:
        return await begin_undo(self._order, saga, self._payment)

    async def _deliver(self) -> m.Outcome:
        """Confirm the order and follow its parcels, in as many runs as that takes."""
        order = self._order
        confirming = asyncio.create_task(self._confirm())
        if self._confirmed is None:
            await refund_short_lines(order)
        last_news = await self._delivery.follow(others_idle=confirming.done)
        if last_news is None:
            self._continue_as_new()
        if not order.ended:
            await order.record_end(shipped=True, news=last_news)
        if not confirming.done():
            order.steps.set_doing("mailing the confirmation")
        order.search_attributes.publish()
        await confirming
        await self._delivery.wait_for_emails()
        order.steps.set_doing("nothing more to do")
        return self._outcome()

    async def _confirm(self) -> None:
        """Email the confirmation, unless an earlier run has."""
        if self._confirmed is not None:
            return
        order = self._order
        confirm = NotificationActivities.send_confirmation_email
        confirmation = m.Confirmation(order.order_id, order.short)
        self._confirmed = await order.send_email("mailing the confirmation", confirm, confirmation)

    def _continue_as_new(self) -> NoReturn:
        """Go on in a new run: to clients it stays one workflow."""
        self._order.search_attributes.discard_unpublished()
        so_far = self._delivery.snapshot(confirmed=self._confirmed)
        workflow.continue_as_new(m.OrderInput(self._order.order_id, so_far))

    async def _close(self, saga: Saga) -> m.Outcome:
        """Derive how a compensated order ended, and email the customer why."""
        order = self._order
        order.stop = saga.stop
        if not order.ended:
            await order.record_end(shipped=False)
        await follow_undo_refund(order)
        order.steps.set_doing("telling the customer why")
        send = NotificationActivities.send_closing_email
        closing = m.Closing(order.order_id, order.on_its_way)
        self._confirmed = await order.send_email("telling the customer why", send, closing)
        await self._payment.tell_of_returned_money()
        order.steps.set_doing("nothing more to do")
        if order.stop is not None and order.stop.reason is StopReason.NO_ANSWER:
            message = f"order {order.order_id} is {order.status}: {order.stop.message}"
            outcome = self._outcome()
            raise ApplicationError(message, outcome, type=ORDER_FAILED, non_retryable=True)
        return self._outcome()

    def _on_end(self) -> None:
        self._order.ended = True
        self._order.steps.operator.refuse_command("needs nothing any more: the order has ended")
        self._order.search_attributes.publish()

    def _on_cancel(self) -> None:
        self.cancel_order(m.CancelRequest(by="Temporal"))

    def _outcome(self) -> m.Outcome:
        order = self._order
        return m.Outcome(
            order_id=order.order_id,
            status=order.status,
            taken=order.taken,
            given_back=order.given_back,
            parcel_ids=order.parcel_ids,
            stop=order.stop,
            confirmed=bool(self._confirmed),
        )
