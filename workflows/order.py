"""One order, from checkout to its end."""

# Loaded anew for every run, in the SDK's sandbox. So only names are imported: a module taken from
# its package (`from workflows import policies`) is not passed through and would be loaded anew too.
# And annotations are left as they are: the SDK would evaluate each from its text.

import asyncio
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.order_book import OrderBookActivities
    from durable_orders.contracts.error_types import ALREADY_CARRIED, ORDER_FAILED
    from durable_orders.contracts.search_attributes import CUSTOMER_ID, ORDER_TOTAL
    from orders import messages as m
    from orders.lifecycle import Reason, Status, Stop
    from orders.money import Money
    from workflows.approval import Approval
    from workflows.attention import problem_of
    from workflows.delivery import Delivery
    from workflows.ending import to_the_end
    from workflows.handlers import OrderHandlers
    from workflows.handover import hand_over, refund_short
    from workflows.life import Life
    from workflows.paying import Paying
    from workflows.payment import Payment
    from workflows.policies import DATABASE
    from workflows.stock import reserve_stock, take_off_stock
    from workflows.undo import UndoneUnlessKept


@workflow.defn(name="Order")
class OrderWorkflow(OrderHandlers):
    """Reserve, approve, charge, fulfil, confirm; undone as a whole when it cannot be completed."""

    @workflow.init
    def __init__(self, order: m.Carry) -> None:
        self._life = Life(m.OrderRef(order.order_id))
        self._paying = Paying()
        self._approval = Approval(self._life, self._paying)
        self._payment = Payment(self._life, self._paying)
        self._delivery = Delivery(self._life)
        self._confirmed: bool | None = None
        self._so_far = order.so_far
        if self._so_far is not None:
            self._life.take_over(self._so_far)
            self._delivery.take_over(self._so_far)
            self._confirmed = self._so_far.confirmed

    @workflow.run
    async def run(self, order: m.Carry) -> m.Outcome:  # noqa: ARG002 - taken by __init__
        """Carry the order to its end and say how it ended.

        Raises ``ApplicationError`` of type ``ORDER_FAILED`` when a neighbour stayed silent and the
        order was undone because of that: an outage to look at, not a business decision.
        """
        return await to_the_end(
            self._live(), on_cancel=self._cancelled_from_outside, on_end=self._over
        )

    async def _live(self) -> m.Outcome:
        if self._so_far is not None:
            return await self._deliver()
        life = self._life
        await self._read()
        async with UndoneUnlessKept() as undo:
            await reserve_stock(life, undo)
            await self._approval.pass_or_stop()
            await self._payment.take(undo)
            await hand_over(life, undo, within=self._payment.hold_lasts())
            await self._payment.capture()
            undo.keep()
        if undo.undone:
            return await self._close(undo)
        # The parcels are the warehouse's: nothing stops or undoes the order from here on.
        await self._payment.collect()
        await take_off_stock(life)
        self._delivery.begin()
        if await self._delivery.can_hand_on():
            self._hand_on()
        return await self._deliver()

    async def _read(self) -> None:
        life = self._life
        step = OrderBookActivities.read_order
        found = await life.steps.read("reading the order", step, life.ref, DATABASE)
        order = found.order
        # AWAITING_APPROVAL may be ours, written in the workflow task that lost its worker.
        if order.status not in {Status.PLACED, Status.AWAITING_APPROVAL}:
            message = f"order {order.order_id} is {order.status}: another run has carried it"
            raise ApplicationError(message, type=ALREADY_CARRIED, non_retryable=True)
        life.terms, life.total = found.terms, order.total
        life.taken = life.given_back = Money(0, order.total.currency)
        if workflow.info().typed_search_attributes.get(CUSTOMER_ID) is None:
            life.announce(
                CUSTOMER_ID.value_set(order.customer_id),
                ORDER_TOTAL.value_set(order.total.amount),
            )

    async def _deliver(self) -> m.Outcome:
        """See the parcels to the customer, in as many runs as that takes."""
        life = self._life
        confirming = asyncio.create_task(self._confirm())
        if self._confirmed is None:
            await refund_short(life)
        last_news = await self._delivery.follow(quiet=confirming.done)
        if last_news is None:
            self._hand_on()
        await life.end(shipped=True, news=last_news)
        if not confirming.done():
            life.steps.now("mailing the confirmation")
        life.publish()
        await confirming
        await self._delivery.mailed()
        life.steps.now("nothing more to do")
        return self._outcome()

    async def _confirm(self) -> None:
        """Mail the confirmation, unless an earlier run has."""
        if self._confirmed is not None:
            return
        life = self._life
        confirm = NotificationActivities.send_confirmation_email
        confirmation = m.Confirmation(life.order_id, life.short)
        self._confirmed = await life.mail("mailing the confirmation", confirm, confirmation)

    def _hand_on(self) -> NoReturn:
        """Have another run carry on: to everybody outside it stays one order."""
        self._life.leave_unpublished()
        so_far = self._delivery.hand_on(confirmed=self._confirmed)
        workflow.continue_as_new(m.Carry(self._life.order_id, so_far))

    async def _close(self, undo: UndoneUnlessKept) -> m.Outcome:
        """Everything is undone: derive how the order ended, and tell the customer."""
        life = self._life
        if undo.failure is None:
            life.stop = undo.stop
        else:
            life.stop = Stop(Reason.NO_ANSWER, problem_of(undo.failure))
        await life.end(shipped=False)
        life.steps.now("telling the customer why")
        say_why = NotificationActivities.send_closing_email
        self._confirmed = await life.mail("telling the customer why", say_why, life.ref)
        life.steps.now("nothing more to do")
        if undo.failure is not None:
            message = f"order {life.order_id} is {life.status}: {problem_of(undo.failure)}"
            outcome = self._outcome()
            raise ApplicationError(message, outcome, type=ORDER_FAILED, non_retryable=True)
        return self._outcome()

    def _over(self) -> None:
        self._life.settled = True
        self._life.publish()

    def _cancelled_from_outside(self) -> None:
        self.cancel_order(m.CancelRequest(by="Temporal"))

    def _outcome(self) -> m.Outcome:
        life = self._life
        return m.Outcome(
            order_id=life.order_id,
            status=life.status,
            taken=life.taken,
            given_back=life.given_back,
            parcel_ids=life.parcel_ids,
            stop=life.stop,
            confirmed=bool(self._confirmed),
        )
