"""The payment of an order: charged or held, completed by the customer, captured, refunded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeGuard

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.payments import PaymentActivities
    from durable_orders.contracts.error_types import NOT_WAITING
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from durable_orders.domain.manual_settlement import ManualSettlement
    from durable_orders.domain.payment_status import (
        CustomerActionRequired,
        PaymentDeclined,
        PaymentProgress,
    )
    from durable_orders.domain.senders import sender
    from durable_orders.domain.terms import AUTHENTICATION_REQUIRED, SOFT_DECLINES
    from durable_orders.domain.workflow_messages import (
        CardAccepted,
        NewCard,
        PaymentUpdate,
        Resolve,
    )
    from workflows import retry_policies, side_steps
    from workflows.approval import Approval
    from workflows.charge import Charge
    from workflows.order_state import OrderState
    from workflows.payment_decision import PaymentDecision
    from workflows.payment_status import PaymentStatus
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step

#: The answers after which another card may follow.
_Refusal = m.Declined | m.UnusableCard


class Payment:
    """The order's payment, from the first card to the refund that compensates it."""

    def __init__(self, order: OrderState, payment_status: PaymentStatus) -> None:
        self._order = order
        self._payment_status = payment_status
        self._charge = Charge(order)
        self._decision = PaymentDecision(order, self._charge)
        self._card: NewCard | None = None
        self._tried: NewCard | None = None
        self._wants_card = False
        self._window_ends: datetime | None = None
        self._soft_declines = 0
        #: The charge that the customer, who was away, was asked to confirm; and the email about it.
        self._asked: str | None = None
        self._request: asyncio.Task[None] | None = None
        self._is_refunded_on_undo = False

    async def charge(self, saga: Saga, *, locally: bool = False) -> None:
        """Charge the card, or hold the money, whichever the terms say; ``locally`` as in
        ``Charge.try_card``.

        Raises ``OrderStopped`` when the bank declines, the card cannot be charged or the customer
        does not act in time.
        """
        self.add_refund(saga)
        try:
            await self._charge_to_its_end(locally=locally)
        finally:
            if self._request is not None:
                self._request.cancel()  # no email asks for what is done, or too late

    async def _charge_to_its_end(self, *, locally: bool) -> None:
        order, charge = self._order, self._charge
        await charge.try_card(locally=locally)
        while True:
            match charge.answer:
                case m.Paid(amount=amount):
                    order.taken = amount
                    return order.show_status(Status.PAID)
                case m.Held():
                    return order.show_status(Status.HELD)
                case m.Declined() | m.UnusableCard() as refusal:
                    await self._after_refusal(refusal)
                case m.AmountRefused(code=code):
                    message = f"{order.total} cannot be charged to a card: {code}"
                    raise OrderStopped(Stop(StopReason.AMOUNT_REFUSED, message))
                case m.CustomerUnknown(code=code):
                    message = f"the card provider does not know the customer: {code}"
                    raise OrderStopped(Stop(StopReason.CUSTOMER_UNKNOWN, message))
                case m.AuthenticationRequired() | m.Processing():
                    await self._wait_for_customer()
                case m.TryExpired():
                    message = "the card was not charged for a day, and is not tried any more"
                    raise OrderStopped(Stop(StopReason.PAYMENT_TIMED_OUT, message))
                case m.ChargingClosed():
                    message = "the order takes no more charges"
                    raise OrderStopped(Stop(StopReason.CLOSED_BEFORE, message))
                case m.OrderUndone(stop=stop):
                    raise OrderStopped(stop)
                case _:
                    charge.stop_if_gone()
                    order.steps.stop_if_asked()

    def add_refund(self, saga: Saga) -> None:
        """Have the charge compensated if the order is undone; a second time changes nothing."""
        if not self._is_refunded_on_undo:
            self._is_refunded_on_undo = True
            saga.add_compensation(self._refund)

    async def verify(self, departed: Callable[[], bool] | None = None) -> None:
        """Look again at the money that the order is about to act on, if it may have gone, and wait
        for a person's decision while it is uncertain; ``departed`` as for ``capture``.

        Raises ``OrderStopped`` when it has gone, or when the order must not go on with it.
        """
        await self._charge.verify()
        await self._decision.obtain(departed)

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Have the order stopped as soon as it is told that its money has gone, while the block
        runs, and its step paused (``StepPaused``) when the money has become uncertain.
        """
        return self._charge.watched(pauses=True)

    async def capture(self, departed: Callable[[], bool]) -> None:
        """Capture what is held, now that the warehouse has accepted; without a hold, make sure that
        the money is there.

        ``departed``: whether a parcel has left, so that nothing is left to decide.
        """
        order = self._order
        if self._charge.held is None:
            await self.verify(departed)
            return
        await self._decision.obtain(departed)
        step: Step[m.OrderRef, m.CaptureAnswer] = PaymentActivities.capture_payment
        policy = retry_policies.CAPTURE.within(self.hold_time_left())
        match await order.steps.run("taking the money", step, order.ref, policy):
            case m.Paid() as paid:
                self._charge.hear(paid)
                order.show_status(Status.PAID)
                await self.verify(departed)
            case m.HoldLapsed():
                message = "the bank no longer holds the money"
                raise OrderStopped(Stop(StopReason.HOLD_LAPSED, message))
            case m.PaymentReturned() as returned:
                raise OrderStopped(self._charge.stop_for_return(returned))
            case m.OrderUndone(stop=stop):
                raise OrderStopped(stop)

    async def settle_departed_parcels(self) -> None:
        """Capture what is held for parcels that had left when the order was to be compensated.

        Neither given up nor compensated: the goods are gone. Money that is not there for them, a
        hold that has lapsed or a payment that was given back, is for an operator to settle with the
        customer.
        """
        order = self._order
        if order.taken - order.given_back:
            return
        problem = "the parcels have left, but their payment was given back at the card provider"
        if not order.taken:
            step: Step[m.OrderRef, m.CaptureAnswer] = PaymentActivities.capture_payment
            doing = "taking the money for what has left"
            answer = await order.steps.compensate(
                doing, step, order.ref, retry_policies.COMPENSATION
            )
            match answer:
                case m.Paid() as paid:
                    self._charge.hear(paid)
                    order.show_status(Status.PAID)
                    return
                case m.PaymentReturned() as returned:
                    self._charge.stop_for_return(returned)
                case m.HoldLapsed():
                    problem = "the parcels have left, but the bank no longer holds their money"
                case m.OrderUndone(stop=stop):
                    problem = (
                        f"the parcels have left, but the order is being undone: {stop.message}"
                    )
                case None:
                    order.settled_by_hand = True
                    return
        await order.steps.operator.wait_until_resolved("capture_payment", problem)
        order.settled_by_hand = True

    async def tell_of_returned_money(self) -> None:
        """Have an operator take note that the payment of an order which was stopped because of that
        went back without our doing.
        """
        order = self._order
        if order.stop is not None and order.stop.reason is StopReason.PAYMENT_RETURNED:
            problem = f"{order.stop.message} before anything was sent: the order was stopped"
            await order.steps.operator.wait_until_resolved("check_payment", problem)

    def hold_time_left(self) -> timedelta | None:
        """How long the hold can still be captured, less a margin; None when nothing is held."""
        held = self._charge.held
        if isinstance(self._charge.answer, m.Paid) or held is None or held.capture_before is None:
            return None
        left = held.capture_before - workflow.now() - retry_policies.HOLD_MARGIN
        return max(left, timedelta(seconds=1))

    # -- what signals and Updates bring --------------------------------------------------------

    @property
    def approval(self) -> Approval | None:
        """The decision about uncertain money that is waited for, or was last."""
        return self._decision.approval

    def mark_updated(self, update: PaymentUpdate | None) -> None:
        """The payment has changed at the provider."""
        self._charge.tell(update)

    async def submit_card(self, card: NewCard) -> CardAccepted:
        """Offer another card, and answer once it is tried.

        Raises ``ApplicationError`` of type ``NOT_WAITING`` when the order is stopped, or the
        payment has gone on, in the same moment.
        """
        self._card = card
        await workflow.wait_condition(lambda: not self._wants_card)
        if self._tried is card:
            return CardAccepted(number=self._charge.tries)
        order = self._order
        what = (
            f"order {order.order_id} is being stopped"
            if order.steps.must_stop
            else f"the payment of order {order.order_id} has gone on without it"
        )
        raise ApplicationError(f"the card came too late: {what}", type=NOT_WAITING)

    def check_wants_card(self) -> None:
        """Refuse another card that the order does not wait for."""
        if self._wants_card and not self._has_card() and not self._order.steps.must_stop:
            return
        message = f"order {self._order.order_id} does not wait for another card"
        raise ApplicationError(message, type=NOT_WAITING)

    # -- waiting for the customer ----------------------------------------------------------------

    async def _wait_for_customer(self) -> None:
        """Wait until the customer and the bank have done their part."""
        order, charge = self._order, self._charge
        order.show_status(Status.AWAITING_PAYMENT)
        deadline = workflow.now() + order.terms.payment_timeout
        pause = retry_policies.POLL_INTERVAL_FIRST
        while isinstance(charge.answer, m.AuthenticationRequired | m.Processing):
            left = deadline - workflow.now()
            if left <= timedelta(0):
                message = f"not completed within {order.terms.payment_timeout}"
                raise OrderStopped(Stop(StopReason.PAYMENT_TIMED_OUT, message))
            asked = isinstance(charge.answer, m.AuthenticationRequired)
            needed = CustomerActionRequired(charge.answer.payment_id) if asked else None
            with self._payment_status.reporting(needed):
                came = await order.steps.wait_unless_cancelled(
                    "waiting for the customer's bank", lambda: charge.is_told, min(pause, left)
                )
            if not came:
                pause *= 2
            await charge.look()

    async def _after_refusal(self, refusal: _Refusal) -> None:
        """Have another card tried, or the same one in a while when the customer is away; or hear
        that the customer has gone on in the browser.

        A customer who is present is told at once and decides: nothing is charged behind their back.
        Raises ``OrderStopped`` when nothing of that comes in time.
        """
        order, charge = self._order, self._charge
        if self._window_ends is None:
            self._window_ends = workflow.now() + order.terms.new_card_window
        if self._asked is None and self._wants_customer(refusal):
            self._ask_customer(refusal)
        pause = self._pause_before_retry(refusal)
        until = self._window_ends if pause is None else workflow.now() + pause
        may_try = charge.tries < order.terms.max_card_tries
        if (may_try or self._asked) and until > workflow.now():
            card = await self._wait_for_card(refusal, until, may_try=may_try)
            if not isinstance(charge.answer, _Refusal):
                return
            if card is not None:
                self._tried = card
                self._soft_declines = 0
                await charge.try_card(card.payment_method)
                return
            if pause is not None:
                self._soft_declines += 1
                await charge.try_card(charge.payment_method)
                return
            refusal = charge.answer
        stop = self._stop_without_card(refusal)
        if stop.reason is not StopReason.PAYMENT_TIMED_OUT:
            self._payment_status.report(PaymentDeclined(refusal.code))
        raise OrderStopped(stop)

    # -- a customer who is away ------------------------------------------------------------------

    def _wants_customer(self, refusal: _Refusal) -> TypeGuard[m.Declined]:
        """Whether the bank wants to hear from a customer who is away."""
        is_wanted = isinstance(refusal, m.Declined) and refusal.code == AUTHENTICATION_REQUIRED
        return is_wanted and self._order.terms.off_session

    def _ask_customer(self, declined: m.Declined) -> None:
        """Ask the customer, once, to confirm the payment, which the order then waits for as it does
        for a customer who is present.
        """
        terms = self._order.terms
        self._asked = declined.payment_id
        self._window_ends = workflow.now() + max(terms.payment_timeout, terms.new_card_window)
        self._request = asyncio.create_task(self._send_request())

    async def _send_request(self) -> None:
        order = self._order
        request = m.PaymentRequest(order.order_id, order.terms.payment_url)
        step = NotificationActivities.send_payment_request_email
        with contextlib.suppress(FailureError):  # cancelled
            await side_steps.send_email(
                order.steps,
                "asking the customer to confirm",
                step,
                request,
                retry_policies.EMAIL_ASIDE,
            )

    def _stop_without_card(self, refusal: _Refusal) -> Stop:
        """Why the order stops when no other card is tried."""
        tries, code = self._charge.tries, refusal.code
        if self._wants_customer(refusal):
            timeout = self._order.terms.payment_timeout
            message = f"the customer did not confirm it within {timeout}"
            return Stop(StopReason.PAYMENT_TIMED_OUT, message)
        if tries > 1 and tries >= self._order.terms.max_card_tries:
            message = f"{tries} tries were refused, the last one: {code}"
            return Stop(StopReason.TOO_MANY_CARDS, message)
        if isinstance(refusal, m.UnusableCard):
            message = f"the payment method cannot be charged: {code}"
            return Stop(StopReason.CARD_UNUSABLE, message)
        return Stop(StopReason.CARD_DECLINED, f"the bank declined: {code}")

    def _pause_before_retry(self, refusal: _Refusal) -> timedelta | None:
        """How long to wait before the same card is tried again by itself; None: it is not, nor is
        one that the customer has brought, or after they were asked.
        """
        pauses = retry_policies.SOFT_DECLINE_PAUSE
        is_soft = isinstance(refusal, m.Declined) and refusal.code in SOFT_DECLINES
        is_alone = self._charge.payment_method is None and not self._asked
        if not self._order.terms.off_session or not is_soft or not is_alone:
            return None
        return pauses[self._soft_declines] if self._soft_declines < len(pauses) else None

    async def _wait_for_card(
        self, refusal: _Refusal, until: datetime, *, may_try: bool
    ) -> NewCard | None:
        """Wait for another card, as long as the last one stays refused; None when none came.

        Without ``may_try`` only the customer's browser can pay.
        """
        order, charge = self._order, self._charge
        if order.status is not Status.AWAITING_PAYMENT:
            await order.record_status(Status.AWAITING_PAYMENT)
        self._card, self._wants_card = None, may_try
        pause = retry_policies.POLL_INTERVAL_FIRST
        doing, news = "waiting for another card", self._news_of(refusal, may_try=may_try)
        if isinstance(news, CustomerActionRequired):
            doing = "waiting for the customer to confirm"
        try:
            # Reported only now that a card is accepted: the shopper may offer one at once.
            with self._payment_status.reporting(news):
                while isinstance(charge.answer, _Refusal) and not self._has_card():
                    left = until - workflow.now()
                    if left <= timedelta(0):
                        break
                    came = await order.steps.wait_unless_cancelled(
                        doing,
                        lambda: self._has_card() or charge.is_told,
                        min(pause, left),
                    )
                    if not self._has_card():
                        pause = pause if came else pause * 2
                        await charge.look()
        finally:
            self._wants_card = False
        return self._card

    def _news_of(self, refusal: _Refusal, *, may_try: bool) -> PaymentProgress:
        """What the shopper is shown while the order waits after a refusal."""
        if self._asked and (self._wants_customer(refusal) or not may_try):
            return CustomerActionRequired(self._asked, needs_payment_method=True)
        return PaymentDeclined(refusal.code, another_card=True)

    def _has_card(self) -> bool:
        return self._card is not None

    # -- compensation ------------------------------------------------------------------------------

    async def _refund(self) -> bool:
        """Compensate every charge: cancel what took nothing, refund what did."""
        order = self._order
        step = PaymentActivities.refund_card
        doing = "undoing the charge"
        stake = ManualSettlement(order.taken, order.total)
        undone = await order.steps.compensate(
            doing, step, order.ref, retry_policies.COMPENSATION, stake=stake
        )
        if undone is None:
            await self._record_manual_refund(stake)
        else:
            order.taken, order.given_back = undone.taken, undone.given_back
            order.on_its_way = undone.on_its_way
        return True

    async def _record_manual_refund(self, stake: ManualSettlement) -> None:
        """Record what was taken and given back, as an operator says who settled it by hand."""
        order = self._order
        resolution = order.steps.operator.resolution or Resolve("")
        amount = stake.given_back(resolution.given_back)
        by_hand = m.ManualRefund(order.order_id, amount, sender(resolution), resolution.note)
        record = PaymentActivities.record_given_back_by_hand
        doing = "recording what was given back by hand"
        await order.steps.run_until_done(doing, record, by_hand, retry_policies.RECORD)
        order.taken = order.given_back = amount
