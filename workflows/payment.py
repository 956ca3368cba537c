"""The payment of an order: charged or held, confirmed by the customer, captured, refunded."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.payments import PaymentActivities
    from durable_orders.contracts.error_types import NOT_WAITING
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from durable_orders.domain.manual_settlement import ManualSettlement
    from durable_orders.domain.payment_status import CustomerActionRequired, PaymentDeclined
    from durable_orders.domain.terms import SOFT_DECLINES, CaptureMethod
    from durable_orders.domain.workflow_messages import CardAccepted, NewCard, Resolve
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.payment_status import PaymentStatus
    from workflows.saga import OrderStopped, Saga
    from workflows.step_runner import Step


class Payment:
    """The order's charge, from the first card to the refund that compensates it."""

    def __init__(self, order: OrderState, payment_status: PaymentStatus) -> None:
        self._order = order
        self._payment_status = payment_status
        self._charge_request = m.ChargeRequest(order.order_id)
        self._updated = False
        self._card: NewCard | None = None
        self._wants_card = False
        self._held: m.Held | None = None

    async def charge(self, saga: Saga) -> None:
        """Charge the card, or hold the money, whichever the terms say.

        Raises ``OrderStopped`` when the bank declines, the card cannot be charged or the customer
        does not act in time.
        """
        saga.add_compensation(self._refund)
        order = self._order
        hold = order.terms.capture is CaptureMethod.AT_FULFILLMENT
        self._charge_request = m.ChargeRequest(order.order_id, hold=hold)
        soft_declines = 0
        while True:
            match await self._attempt_charge():
                case m.Paid(amount=amount):
                    order.taken = amount
                    return order.show_status(Status.PAID)
                case m.Held() as held:
                    self._held = held
                    return order.show_status(Status.HELD)
                case m.Declined(code=code) if code in SOFT_DECLINES and soft_declines < 2:
                    await self._pause(retry_policies.SOFT_DECLINE_PAUSE[soft_declines])
                    soft_declines += 1
                    self._next_attempt(self._charge_request.payment_method)
                case m.Declined() | m.UnusableCard() as refusal:
                    card = await self._wait_for_new_card(refusal.code)
                    if card is None:
                        self._payment_status.report(PaymentDeclined(refusal.code))
                        raise OrderStopped(_without_card(refusal))
                    soft_declines = 0
                    self._next_attempt(card.payment_method)
                case m.AmountRefused(code=code):
                    message = f"{order.total} cannot be charged to a card: {code}"
                    raise OrderStopped(Stop(StopReason.AMOUNT_REFUSED, message))
                case m.ChargingClosed():
                    message = "the order takes no more charges"
                    raise OrderStopped(Stop(StopReason.CLOSED_BEFORE, message))
                case m.AuthenticationRequired() | m.Processing():
                    message = f"not completed within {order.terms.payment_timeout}"
                    raise OrderStopped(Stop(StopReason.PAYMENT_TIMED_OUT, message))

    async def capture(self) -> None:
        """Capture what is held, now that the warehouse has accepted; a no-op without a hold."""
        if self._held is None:
            return
        step: Step[m.ChargeRequest, m.CaptureAnswer] = PaymentActivities.capture_payment
        policy = retry_policies.CAPTURE.within(self.hold_time_left())
        match await self._order.steps.run("taking the money", step, self._charge_request, policy):
            case m.Paid(amount=amount):
                self._order.taken = amount
                self._order.show_status(Status.PAID)
            case m.HoldLapsed():
                message = "the bank no longer holds the money"
                raise OrderStopped(Stop(StopReason.HOLD_LAPSED, message))

    async def capture_for_departed_parcels(self) -> None:
        """Capture what is held for parcels that had left when the order was to be compensated.

        Neither given up nor compensated: the goods are gone. A hold that has lapsed is for an
        operator to settle with the customer.
        """
        order = self._order
        if self._held is None or order.taken:
            return
        step: Step[m.ChargeRequest, m.CaptureAnswer] = PaymentActivities.capture_payment
        doing = "taking the money for what has left"
        answer = await order.steps.compensate(
            doing, step, self._charge_request, retry_policies.COMPENSATION
        )
        if isinstance(answer, m.Paid):
            order.taken = answer.amount
            order.show_status(Status.PAID)
            return
        if isinstance(answer, m.HoldLapsed):
            problem = "the parcels have left, but the bank no longer holds the money for them"
            await order.steps.operator.wait_until_resolved("capture_payment", problem)
        order.settled_by_hand = True

    def hold_time_left(self) -> timedelta | None:
        """How long the hold can still be captured, less a margin; None when nothing is held."""
        if self._held is None or self._held.capture_before is None:
            return None
        left = self._held.capture_before - workflow.now() - retry_policies.HOLD_MARGIN
        return max(left, timedelta(seconds=1))

    # -- what signals and Updates bring --------------------------------------------------------

    def mark_updated(self) -> None:
        """The payment has changed: read it again."""
        self._updated = True

    def submit_card(self, card: NewCard) -> CardAccepted:
        self._card = card
        return CardAccepted(attempt=self._charge_request.attempt + 1)

    def check_wants_card(self) -> None:
        """Refuse another card that the order does not wait for."""
        if self._wants_card and self._card is None:
            return
        message = f"order {self._order.order_id} does not wait for another card"
        raise ApplicationError(message, type=NOT_WAITING)

    # -- one attempt ---------------------------------------------------------------------------

    async def _attempt_charge(self) -> m.ChargeAnswer:
        """Charge once, and wait until the customer and the bank have done their part."""
        order = self._order
        charge: Step[m.ChargeRequest, m.ChargeAnswer] = PaymentActivities.charge_card
        doing = f"charging {order.total}"
        self._updated = False
        policy = retry_policies.CHARGE.waiting_out_load(order.terms.payment_timeout)
        answer = await order.steps.run(doing, charge, self._charge_request, policy)
        deadline = workflow.now() + order.terms.payment_timeout
        pause = retry_policies.POLL_INTERVAL_FIRST
        while isinstance(answer, m.AuthenticationRequired | m.Processing):
            order.show_status(Status.AWAITING_PAYMENT)
            left = deadline - workflow.now()
            if left <= timedelta(0):
                return answer
            waiting = "waiting for the customer's bank"
            asked = isinstance(answer, m.AuthenticationRequired)
            needed = CustomerActionRequired(answer.payment_id) if asked else None
            with self._payment_status.reporting(needed):
                came = await order.steps.wait_unless_cancelled(
                    waiting, lambda: self._updated, min(pause, left)
                )
            if not came:
                pause *= 2
            self._updated = False
            look: Step[m.ChargeRequest, m.ChargeAnswer] = PaymentActivities.check_payment
            answer = await order.steps.run(
                "reading the payment", look, self._charge_request, retry_policies.READ_PAYMENT
            )
        return answer

    def _next_attempt(self, payment_method: str | None) -> None:
        self._charge_request = m.ChargeRequest(
            self._order.order_id,
            self._charge_request.attempt + 1,
            payment_method,
            self._charge_request.hold,
        )

    async def _pause(self, pause: timedelta) -> None:
        await self._order.steps.wait_unless_cancelled(
            "letting the bank breathe", lambda: False, pause
        )

    async def _wait_for_new_card(self, declined: str) -> NewCard | None:
        """Wait for another card, if the terms allow for that; None when none came in time."""
        order = self._order
        if not order.terms.new_card_window:
            return None
        if order.status is not Status.AWAITING_PAYMENT:
            await order.record_status(Status.AWAITING_PAYMENT)
        self._card, self._wants_card = None, True
        window = order.terms.new_card_window
        try:
            # Reported only now that a card is accepted: the shopper may offer one at once.
            with self._payment_status.reporting(PaymentDeclined(declined, another_card=True)):
                await order.steps.wait_unless_cancelled(
                    "waiting for another card", lambda: self._card is not None, window
                )
        finally:
            self._wants_card = False
        return self._card

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
        return True

    async def _record_manual_refund(self, stake: ManualSettlement) -> None:
        """Record what was taken and given back, as an operator says who settled it by hand."""
        order = self._order
        resolution = order.steps.operator.resolution or Resolve("")
        amount = stake.given_back(resolution.given_back)
        by_hand = m.ManualRefund(order.order_id, amount, resolution.by, resolution.note)
        record = PaymentActivities.record_given_back_by_hand
        doing = "recording what was given back by hand"
        await order.steps.run_until_done(doing, record, by_hand, retry_policies.RECORD)
        order.taken = order.given_back = amount


def _without_card(refusal: m.Declined | m.UnusableCard) -> Stop:
    """Why an order stops that got no other card."""
    if isinstance(refusal, m.UnusableCard):
        message = f"the payment method cannot be charged: {refusal.code}"
        return Stop(StopReason.CARD_UNUSABLE, message)
    return Stop(StopReason.CARD_DECLINED, f"the bank declined: {refusal.code}")
