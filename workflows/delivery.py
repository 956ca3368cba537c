"""Delivery: follow the parcels until they are delivered, or an operator has settled them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.orders import OrderBookActivities
    from durable_orders.contracts.error_types import NOT_WAITING, REFUND_REFUSED
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.ids import parcel_refund_id
    from durable_orders.domain.lifecycle import Status
    from durable_orders.domain.parcels import MOST_PARCELS, Parcel, ParcelStatus
    from durable_orders.domain.refunds.messages import ParcelRefunded
    from durable_orders.domain.refunds.refund import RefundRefused
    from durable_orders.domain.senders import Sent, is_well_sent, sender_detail
    from durable_orders.domain.workflow_messages import (
        ParcelUpdate,
        RefundParcel,
        ResendParcel,
        SettleParcel,
    )
    from workflows import retry_policies
    from workflows.fulfillment import owed_refund, reserve_refund
    from workflows.order_state import OrderState
    from workflows.refund_start import start_refund_run
    from workflows.resends import Resends


class Delivery:
    """The order's parcels. News of one may come before the warehouse has even named it."""

    def __init__(self, order: OrderState) -> None:
        self._order = order
        self._parcels: dict[str, Parcel] = {}
        self._recorded: dict[str, ParcelStatus] = {}
        self._settled: set[str] = set()
        self._deciding: set[str] = set()
        self._resends = Resends(order, on_answer=self._hear_of_resend, on_change=self._look_again)
        self._emails: list[asyncio.Task[bool]] = []
        self._news = False
        self._deadline = workflow.now()  # until the parcels are named

    def start(self, kept: m.StockCommitted) -> None:
        """The warehouse has named the parcels: from now on they are waited for, unless the books
        have the order as delivered already.
        """
        order = self._order
        self._deadline = workflow.now() + order.terms.delivery_deadline
        for parcel in kept.parcels:
            known = self._parcels.get(parcel.parcel_id, Parcel(parcel.parcel_id))
            self._parcels[parcel.parcel_id] = known.merge(parcel)
            self._recorded[parcel.parcel_id] = parcel.status
        for parcel_id in order.parcel_ids:
            self._parcels.setdefault(parcel_id, Parcel(parcel_id))
        if kept.status.is_final:
            self._settled |= set(order.parcel_ids)

    async def follow(self, others_idle: Callable[[], bool]) -> tuple[Parcel, ...] | None:
        """Wait until every parcel is delivered or settled, and it is known of each that was to be
        sent again what became of it; not at all without a deadline.

        Returns the last news, which are still to be recorded. None when this run is to continue as
        new: its history is long, and nothing is under way in it, beside the parcels neither
        (``others_idle``).
        """
        order = self._order
        if not order.terms.delivery_deadline:
            return ()
        # One timer for the whole wait, however many news come meanwhile.
        left = max(self._deadline - workflow.now(), timedelta(0))
        deadline = asyncio.create_task(asyncio.sleep(left.total_seconds()))
        self._resends.resume()
        while self._has_something_to_await():
            await self._record_news()
            self._flag_missing(late=deadline.done())
            if not await self._wait_for_news(deadline, others_idle):
                return None
        deadline.cancel()
        order.steps.operator.clear()
        last = self._unrecorded()
        self._email_departures(last)
        return last

    async def wait_for_emails(self) -> None:
        """Wait until the emails about parcels that have left are sent or given up."""
        for email in self._emails:
            await email

    def restore(self, so_far: m.OrderSnapshot) -> None:
        """Go on from what the run before has handed over."""
        self._deadline = so_far.deadline
        self._parcels = {parcel.parcel_id: parcel for parcel in so_far.parcels}
        self._recorded = {parcel.parcel_id: parcel.status for parcel in self._own_parcels()}
        self._settled = set(so_far.settled)
        self._resends.restore(so_far.resends)

    def snapshot(self, *, confirmed: bool | None) -> m.OrderSnapshot:
        """What the next run has to know in order to go on from here."""
        order = self._order
        return m.OrderSnapshot(
            terms=order.terms,
            status=order.status,
            total=order.total,
            taken=order.taken,
            given_back=order.given_back,
            parcel_ids=order.parcel_ids,
            short=order.short,
            contents=order.contents,
            parcels=tuple(self._parcels.values()),
            settled=tuple(sorted(self._settled)),
            deadline=self._deadline,
            confirmed=confirmed,
            settled_by_hand=order.settled_by_hand,
            resends=self._resends.unanswered,
            cancel=order.steps.cancel_request,
            attention=order.steps.operator.attention,
        )

    async def can_continue_as_new(self) -> bool:
        """Whether this run may continue as new: its history is long, and no news come for a moment.

        Only a timer may come last before that. Temporal refuses to continue as new when a signal
        came meanwhile, and has the workflow task done again; then the signal comes with the firing
        of the timer, and is handled first. It would not be with the end of a local activity: the
        run is given that from its own records, before the signal, and would go on without it.
        """
        if not self._is_idle():
            return False
        self._order.steps.set_doing("going on in another run")
        try:
            pause = retry_policies.CONTINUE_AS_NEW_PAUSE
            await workflow.wait_condition(lambda: not self._is_idle(), timeout=pause)
        except TimeoutError:
            return self._is_idle()
        return False

    def _is_idle(self) -> bool:
        """Whether the history is long, parcels or the warehouse's answer about them are waited for,
        and nothing else is under way.
        """
        return (
            self._order.history_is_long
            and self._has_something_to_await()
            and self._resends.are_idle
            and not self._news
            and not self._unrecorded()
            and all(email.done() for email in self._emails)
            and workflow.all_handlers_finished()
            and self._order.steps.is_idle_beside
        )

    async def _wait_for_news(
        self, deadline: asyncio.Task[None], others_idle: Callable[[], bool]
    ) -> bool:
        """Wait for news or the deadline; False when this run is to continue as new."""
        late = deadline.done()

        def something_new() -> bool:
            return self._news or deadline.done() is not late

        def idle() -> bool:
            return others_idle() and self._is_idle()

        doing = "waiting for the parcels to arrive"
        while True:
            await self._order.steps.wait(doing, lambda: something_new() or idle(), None)
            if something_new():
                return True
            if await self.can_continue_as_new() and not something_new():
                return False

    def has_departed(self) -> bool:
        """Whether a parcel of the order has left, as far as is known."""
        return any(parcel.has_left for parcel in self._own_parcels())

    def update_parcel(self, news: ParcelUpdate) -> None:
        """Take news of a parcel. What is none is dropped: a signal cannot be refused."""
        is_new = news.parcel_id not in {*self._parcels, *self._order.parcel_ids}
        if not is_well_sent(news) or (is_new and len(self._parcels) >= MOST_PARCELS):
            workflow.logger.warning("news of a parcel is dropped that cannot be one of the order")
            return
        known = self._parcels.get(news.parcel_id, Parcel(news.parcel_id))
        update = Parcel(news.parcel_id, news.status, news.tracking)
        self._parcels[news.parcel_id] = known.merge(update)
        self._news = True

    # -- what an operator decides about a parcel that is lost or late --------------------------

    async def settle(self, decision: SettleParcel) -> None:
        """Stop waiting for a parcel: something was agreed with the customer."""
        self._resends.settle(decision.parcel_id)
        await self._stop_waiting(decision.parcel_id, decision, decision.outcome)

    async def resend(self, decision: ResendParcel) -> m.ResendOutcome:
        """Have the contents of a parcel sent again, and wait for the new one instead.

        Raises ``ApplicationError`` of type ``NOT_WAITING`` when the warehouse refuses.
        """
        answer = await self._resends.ask(decision)
        if isinstance(answer, m.CannotFulfill):
            message = f"the warehouse does not resend {decision.parcel_id}: {answer.message}"
            raise ApplicationError(message, type=NOT_WAITING)
        return answer

    async def _hear_of_resend(self, request: ResendParcel, answer: m.ResendAnswer) -> None:
        """Follow the new parcel instead of the old one, or write down why there is none."""
        order, old = self._order, request.parcel_id
        if isinstance(answer, m.CannotFulfill):
            await order.add_note(
                "parcel_not_resent", parcel_id=old, **sender_detail(request), why=answer.message
            )
            return
        new = answer.parcel_id
        if new not in order.parcel_ids:
            order.parcel_ids += (new,)
            self._parcels.setdefault(new, Parcel(new))
            order.contents = {**order.contents, new: order.contents.get(old, ())}
        await self._stop_waiting(old, request, f"resent as {new}")

    async def refund(self, decision: RefundParcel) -> ParcelRefunded:
        """Have the contents of a parcel refunded, and stop waiting for it once that is set aside.

        Raises ``ApplicationError`` of type ``REFUND_REFUSED`` when it cannot be.
        """
        order, parcel_id = self._order, decision.parcel_id
        self._deciding.add(parcel_id)
        contents, why = order.contents[parcel_id], f"parcel {parcel_id} did not arrive"
        request = owed_refund(order, parcel_refund_id(parcel_id), contents, why)
        request = replace(request, requested_by=decision.actor)
        answer = await reserve_refund(order, request)
        if isinstance(answer, RefundRefused):
            self._deciding.discard(parcel_id)
            message = f"parcel {parcel_id} is not refunded, and still waited for: {answer.message}"
            raise ApplicationError(message, type=REFUND_REFUSED)
        await start_refund_run(order, request)
        outcome = f"refunded as {request.refund_id}: {answer.why or answer.amount}"
        await self._stop_waiting(parcel_id, decision, outcome)
        return answer

    def check_resend(self, parcel_id: str) -> None:
        """Refuse to have a parcel sent again that is not waited for."""
        if not self._resends.is_open(parcel_id):
            self.check_awaited(parcel_id)

    def check_awaited(self, parcel_id: str, *, contents: bool = False) -> None:
        """Refuse a decision about a parcel that is not waited for, or whose ``contents`` are needed
        but not known.

        A parcel that the warehouse may have sent again is not refunded; an operator who knows what
        became of it may settle it.
        """
        order_id = self._order.order_id
        if self._resends.is_unanswered(parcel_id):
            if not contents:
                return
            message = (
                f"it is not known whether the warehouse sends parcel {parcel_id} again: the order "
                "goes on asking it. Wait for its answer; or ask it yourself, and if it has not "
                "sent it and will not, refund by line, then settle the parcel"
            )
        elif parcel_id in self._deciding or self._resends.is_open(parcel_id):
            message = f"parcel {parcel_id} is being resent or refunded already"
        elif parcel_id not in {parcel.parcel_id for parcel in self._awaited_parcels()}:
            message = f"order {order_id} does not wait for a parcel {parcel_id}"
        elif contents and not self._order.contents.get(parcel_id):
            message = f"what parcel {parcel_id} holds is not known: refund by line, then settle it"
        else:
            return
        raise ApplicationError(message, type=NOT_WAITING)

    def _look_again(self) -> None:
        """Have ``follow`` look at what has changed."""
        self._news = True

    async def _stop_waiting(self, parcel_id: str, sent: Sent, outcome: str) -> None:
        self._settled.add(parcel_id)
        self._deciding.discard(parcel_id)
        self._news = True
        who = sender_detail(sent)
        await self._order.add_note("parcel_settled", parcel_id=parcel_id, **who, outcome=outcome)

    def _own_parcels(self) -> list[Parcel]:
        """The order's parcels; news of others (a mistake of the warehouse) changes nothing."""
        return [self._parcels[id_] for id_ in self._order.parcel_ids if id_ in self._parcels]

    def _awaited_parcels(self) -> list[Parcel]:
        if not self._order.terms.delivery_deadline or self._order.status.is_final:
            return []
        return [
            parcel
            for parcel in self._own_parcels()
            if parcel.status is not ParcelStatus.DELIVERED and parcel.parcel_id not in self._settled
        ]

    def _has_something_to_await(self) -> bool:
        return bool(self._awaited_parcels()) or not self._resends.are_over

    def _flag_missing(self, *, late: bool) -> None:
        unanswered = self._resends.unanswered
        missing = [
            parcel
            for parcel in self._awaited_parcels()
            if (late or parcel.status is ParcelStatus.LOST)
            and not self._resends.is_unanswered(parcel.parcel_id)
        ]
        if not missing and not unanswered:
            return self._order.steps.operator.clear()
        count = len(missing) + len(unanswered)
        others = f", and {count - 1} more" if count > 1 else ""
        if unanswered:
            resend = unanswered[0]
            problem = (
                f"it is not known whether the warehouse sends parcel {resend.parcel_id} "
                f"again{others}: {resend.problem}. The order asks on; once you know that it does "
                "not, refund by line, then settle the parcel"
            )
        else:
            parcel = missing[0]
            fault = "lost" if parcel.status is ParcelStatus.LOST else "late"
            problem = (
                f"parcel {parcel.parcel_id} is {fault}{others}: resend or refund it, then settle it"
            )
        return self._order.steps.operator.flag("delivery", problem)

    def _unrecorded(self) -> tuple[Parcel, ...]:
        """The parcels of which more is known than was recorded."""
        before = ParcelStatus.ACCEPTED
        return tuple(
            parcel
            for parcel in self._own_parcels()
            if parcel.status is not self._recorded.get(parcel.parcel_id, before)
        )

    async def _record_news(self) -> None:
        """Record what is new, and email the customer about parcels that have left."""
        self._news = False
        order, news = self._order, self._unrecorded()
        if order.status is Status.FULFILLED and all(p.has_left for p in self._own_parcels()):
            await order.record_status(Status.SHIPPED, news)
        else:
            for parcel in news:
                step = OrderBookActivities.record_parcel
                doing = f"recording: {parcel.parcel_id} {parcel.status}"
                about = m.OrderParcel(order.order_id, parcel)
                await order.steps.run_until_done(doing, step, about, retry_policies.RECORD)
        self._recorded |= {parcel.parcel_id: parcel.status for parcel in news}
        self._email_departures(news)

    def _email_departures(self, news: tuple[Parcel, ...]) -> None:
        for parcel in news:
            # A parcel that is delivered before it was known to have left needs no email.
            if parcel.status is ParcelStatus.SHIPPED:
                about = m.OrderParcel(self._order.order_id, parcel)
                step = NotificationActivities.send_shipped_email
                doing = f"telling the customer of {parcel.parcel_id}"
                self._emails.append(asyncio.create_task(self._order.send_email(doing, step, about)))
