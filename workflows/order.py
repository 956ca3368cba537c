"""One order, from checkout to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from activities.inventory import InventoryActivities
    from activities.notifications import NotificationActivities
    from activities.order_book import OrderBookActivities
    from activities.payments import PaymentActivities
    from orders import messages as m
    from orders.lifecycle import FOLLOWS, Facts, Reason, Status, Stop, final_status
    from orders.money import Money
    from workflows import policies, visibility
    from workflows.steps import Step, Steps, problem_of
    from workflows.undo import StoppedError, UndoneUnlessKept

T = TypeVar("T")

#: ``ApplicationError.type`` of a run that failed because a neighbour gave no answer. Everything is
#: undone and the ``Outcome`` is in the error's details. Alert on failed runs: they are outages.
ORDER_FAILED = "OrderFailed"
#: ``ApplicationError.type`` of a run started for an order that another run has carried already.
ALREADY_CARRIED = "AlreadyCarried"
#: ``ApplicationError.type`` of an Update that comes too late.
TOO_LATE = "TooLate"


@workflow.defn(name="Order")
class OrderWorkflow:
    """Reserve, charge, fulfil, confirm; undone as a whole when it cannot be completed."""

    @workflow.init
    def __init__(self, order: m.OrderRef) -> None:
        self._ref = order
        self._status = Status.PLACED
        self._stop: Stop | None = None
        self._taken = self._given_back = Money(0, "XXX")  # the currency is not known yet
        self._total = self._taken
        self._parcel_ids: tuple[str, ...] = ()
        self._confirmed = True
        self._flagged = False
        self._settled = False
        self._steps = Steps(self._show)

    @workflow.run
    async def run(self, order: m.OrderRef) -> m.Outcome:  # noqa: ARG002 - taken by __init__
        """Carry the order to its end and say how it ended.

        Raises ``ApplicationError`` of type ``ORDER_FAILED`` when a neighbour stayed silent and the
        order was undone because of that: an outage to look at, not a business decision.
        """
        return await to_the_end(self._life(), on_cancel=self._cancelled_from_outside)

    async def _life(self) -> m.Outcome:
        try:
            return await self._live()
        finally:
            self._settled = True  # whatever became of it: whoever waits to hear of it may go

    async def _live(self) -> m.Outcome:
        await self._read()
        async with UndoneUnlessKept() as undo:
            await self._reserve(undo)
            await self._charge(undo)
            await self._fulfill(undo)
            undo.keep()
        if undo.undone:
            return await self._close(undo)
        return await self._complete()

    # -- the steps, each undone by what it registers first ------------------------------------

    async def _read(self) -> None:
        found = await self._steps.finish(
            "reading the order", OrderBookActivities.read_order, self._ref, policies.DATABASE
        )
        if found.status is not Status.PLACED:
            message = f"order {found.order_id} is {found.status}: another run has carried it"
            raise ApplicationError(message, type=ALREADY_CARRIED, non_retryable=True)
        self._total = found.total
        self._taken = self._given_back = Money(0, found.total.currency)
        workflow.upsert_search_attributes(
            [
                visibility.CUSTOMER_ID.value_set(found.customer_id),
                visibility.ORDER_TOTAL.value_set(found.total.amount),
            ]
        )

    async def _reserve(self, undo: UndoneUnlessKept) -> None:
        async def release() -> bool:
            step = InventoryActivities.release_inventory
            # Not locally: reading and reserving must be in the run's history first. Repeated after
            # this they would find the order closed, as if by another run.
            await self._steps.undo("releasing the stock", step, self._ref, policies.UNDO)
            return True

        undo.add(release)
        step: Step[m.OrderRef, m.ReserveAnswer] = InventoryActivities.reserve_inventory
        answer = await self._steps.do("reserving the stock", step, self._ref, policies.DATABASE)
        match answer:
            case m.Reserved():
                pass
            case m.OutOfStock(sku=sku, wanted=wanted, available=available):
                message = f"{wanted} of {sku} ordered, {available} available"
                raise StoppedError(Stop(Reason.OUT_OF_STOCK, message))
            case m.ReservationClosed(state=state):
                message = f"its stock was {state} by an earlier run"
                raise StoppedError(Stop(Reason.CLOSED_BEFORE, message))

    async def _charge(self, undo: UndoneUnlessKept) -> None:
        async def refund() -> bool:
            undone = await self._steps.undo(
                "giving the money back",
                PaymentActivities.refund_card,
                self._ref,
                policies.UNDO,
            )
            self._taken, self._given_back = undone.taken, undone.given_back
            return True

        undo.add(refund)
        step: Step[m.Charge, m.ChargeAnswer] = PaymentActivities.charge_card
        charge = m.Charge(self._ref.order_id)
        doing = f"charging {self._total}"
        answer = await self._steps.do(doing, step, charge, policies.CHARGE)
        match answer:
            case m.Paid(amount=amount):
                self._taken = amount
            case m.Declined(code=code):
                raise StoppedError(Stop(Reason.CARD_DECLINED, f"the bank declined: {code}"))
            case m.AuthenticationRequired():
                message = "the bank asks the customer to confirm the payment"
                raise StoppedError(Stop(Reason.AUTHENTICATION_REQUIRED, message))
            case m.ChargingClosed():
                message = "the order takes no more charges"
                raise StoppedError(Stop(Reason.CLOSED_BEFORE, message))
        await self._move_to(Status.PAID)

    async def _fulfill(self, undo: UndoneUnlessKept) -> None:
        async def recall() -> bool:
            step: Step[m.OrderRef, m.RecallAnswer] = FulfillmentActivities.cancel_fulfillment
            answer = await self._steps.undo("recalling the parcels", step, self._ref, policies.UNDO)
            if isinstance(answer, m.AlreadyLeft):
                self._parcel_ids = answer.parcel_ids
                return False
            return True

        undo.add(recall)
        step: Step[m.OrderRef, m.FulfillAnswer] = FulfillmentActivities.fulfill_order
        doing = "handing over to the warehouse"
        answer = await self._steps.do(doing, step, self._ref, policies.FULFILL)
        match answer:
            case m.Fulfilled(parcel_ids=parcel_ids):
                self._parcel_ids = parcel_ids
            case m.CannotFulfill(message=message):
                raise StoppedError(Stop(Reason.CANNOT_FULFILL, message))

    # -- the two ends --------------------------------------------------------------------------

    async def _complete(self) -> m.Outcome:
        """The parcels are the warehouse's: nothing stops or undoes the order from here on."""
        await self._move_to(Status.FULFILLED)
        confirm = NotificationActivities.send_confirmation_email
        mail = asyncio.create_task(self._mail("mailing the confirmation", confirm))
        await self._steps.finish(
            "taking the stock",
            InventoryActivities.update_inventory,
            self._ref,
            policies.RECORD,
        )
        await self._end(shipped=True)
        self._confirmed = await mail
        return self._outcome()

    async def _close(self, undo: UndoneUnlessKept) -> m.Outcome:
        """Everything is undone: derive how the order ended, and tell the customer."""
        if undo.failure is None:
            self._stop = undo.stop
        else:
            self._stop = Stop(Reason.NO_ANSWER, problem_of(undo.failure))
        await self._end(shipped=False)
        say_why = NotificationActivities.send_closing_email
        self._confirmed = await self._mail("telling the customer why", say_why)
        if undo.failure is not None:
            message = f"order {self._ref.order_id} is {self._status}: {problem_of(undo.failure)}"
            outcome = self._outcome()
            raise ApplicationError(message, outcome, type=ORDER_FAILED, non_retryable=True)
        return self._outcome()

    async def _end(self, *, shipped: bool) -> None:
        facts = Facts(self._taken, self._given_back, shipped=shipped, stop=self._stop)
        await self._move_to(final_status(facts))
        self._settled = True

    async def _mail(self, doing: str, step: Step[m.OrderRef, m.MailAnswer]) -> bool:
        """Send a mail; False when it could not be sent, which changes nothing for the order."""
        try:
            answer = await self._steps.finish(doing, step, self._ref, policies.MAIL)
        except FailureError as error:
            workflow.logger.warning("no mail was sent: %s", problem_of(error))
            return False
        finally:
            self._steps.doing = "nothing more to do"
        return isinstance(answer, m.MailSent)

    # -- being asked to stop: signal, Update and cancellation do the same ----------------------

    @workflow.signal
    def cancel_order(self, request: m.CancelRequest | None = None) -> None:
        """Stop the order if it still can be stopped. Fire and forget: see ``cancel``."""
        if not self._too_late():
            self._steps.cancel = self._steps.cancel or request or m.CancelRequest()
            self._show()

    @workflow.update
    async def cancel(self, request: m.CancelRequest) -> m.CancelAnswer:
        """Stop the order, and say what really became of it once that is known."""
        self.cancel_order(request)
        await workflow.wait_condition(lambda: self._settled or self._too_late())
        if self._stop is not None and self._stop.reason is Reason.CANCELLED:
            return m.Cancelled(status=self._status, given_back=self._given_back)
        reason = self._stop.reason if self._stop else None
        return m.EndedOtherwise(status=self._status, reason=reason)

    @cancel.validator
    def _validate_cancel(self, request: m.CancelRequest) -> None:  # noqa: ARG002 - the SDK's shape
        if self._too_late():
            message = (
                f"order {self._ref.order_id} is {self._status}: it is too late to cancel it, "
                "ask for a return instead"
            )
            raise ApplicationError(message, type=TOO_LATE)

    def _cancelled_from_outside(self) -> None:
        self.cancel_order(m.CancelRequest(by="Temporal"))

    def _too_late(self) -> bool:
        return self._status is Status.FULFILLED or self._status.is_end

    # -- telling where the order stands --------------------------------------------------------

    @workflow.query
    def status(self) -> m.Progress:
        """Where the order stands and what is being done about it."""
        return m.Progress(
            order_id=self._ref.order_id,
            status=self._status,
            doing=self._steps.doing,
            stop=self._stop,
            cancel_requested=self._steps.cancel is not None,
            attention=self._steps.attention,
        )

    async def _move_to(self, status: Status) -> None:
        """Write the status into the database, then show it: what is shown is true."""
        if status not in FOLLOWS[self._status]:
            raise RuntimeError(f"{self._status} cannot become {status}")
        change = m.StatusChange(self._ref.order_id, status, self._stop)
        step = OrderBookActivities.record_status
        await self._steps.finish(f"recording: {status}", step, change, policies.RECORD)
        self._status = status
        workflow.upsert_search_attributes([visibility.ORDER_STATUS.value_set(status)])
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(visibility.details(self.status()))
        needs_attention = self._steps.attention is not None
        if needs_attention != self._flagged:
            self._flagged = needs_attention
            flag = visibility.NEEDS_ATTENTION.value_set(needs_attention)
            workflow.upsert_search_attributes([flag])

    def _outcome(self) -> m.Outcome:
        return m.Outcome(
            order_id=self._ref.order_id,
            status=self._status,
            taken=self._taken,
            given_back=self._given_back,
            parcel_ids=self._parcel_ids,
            stop=self._stop,
            confirmed=self._confirmed,
        )


async def to_the_end(life: Coroutine[Any, Any, T], *, on_cancel: Callable[[], None]) -> T:
    """Run ``life`` in a task of its own that no cancellation of the run reaches.

    A cancellation (the Web UI's button) becomes a call of ``on_cancel`` instead of an exception at
    an arbitrary line, so that there is one way to stop an order and undoing is never interrupted.
    Handlers still at work are waited for: their callers get an answer, not an error.
    """
    task = asyncio.create_task(life)
    while not task.done():
        try:
            await workflow.wait([task])
        except asyncio.CancelledError:
            on_cancel()
    await workflow.wait_condition(workflow.all_handlers_finished)
    return await task
