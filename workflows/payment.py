"""Getting the money: charged or held, confirmed by the customer, with another card if need be."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.payments import PaymentActivities
    from durable_orders.contracts.error_types import NOT_WAITING
    from orders import messages as m
    from orders.by_hand import Stake
    from orders.lifecycle import Reason, Status, Stop
    from orders.payment_news import CustomerNeeded, PaymentDeclined
    from orders.requests import CardAccepted, NewCard, Resolve
    from orders.terms import SOFT_DECLINES, Capture
    from workflows import policies
    from workflows.life import Life
    from workflows.paying import Paying
    from workflows.steps import Step
    from workflows.undo import StoppedError, UndoneUnlessKept


class Payment:
    """The order's money, from the first card to the last refund of the undo."""

    def __init__(self, life: Life, paying: Paying) -> None:
        self._life = life
        self._paying = paying
        self._charge = m.Charge(life.order_id)
        self._news = False
        self._card: NewCard | None = None
        self._wants_card = False
        self._held: m.Held | None = None

    async def take(self, undo: UndoneUnlessKept) -> None:
        """Have the money taken, or held, whichever the terms say.

        Raises ``StoppedError`` when the bank or the customer does not give it.
        """
        undo.add(self._give_back)
        life = self._life
        hold = life.terms.capture is Capture.AT_FULFILLMENT
        self._charge = m.Charge(life.order_id, hold=hold)
        soft_declines = 0
        while True:
            match await self._tried():
                case m.Paid(amount=amount):
                    life.taken = amount
                    return life.moved_to(Status.PAID)
                case m.Held() as held:
                    self._held = held
                    return life.moved_to(Status.HELD)
                case m.Declined(code=code) if code in SOFT_DECLINES and soft_declines < 2:
                    await self._pause(policies.SOFT_DECLINE_PAUSE[soft_declines])
                    soft_declines += 1
                    self._next(self._charge.payment_method)
                case m.Declined(code=code):
                    card = await self._another_card(code)
                    if card is None:
                        self._paying.tell(PaymentDeclined(code))
                        message = f"the bank declined: {code}"
                        raise StoppedError(Stop(Reason.CARD_DECLINED, message))
                    soft_declines = 0
                    self._next(card.payment_method)
                case m.ChargingClosed():
                    message = "the order takes no more charges"
                    raise StoppedError(Stop(Reason.CLOSED_BEFORE, message))
                case m.AuthenticationRequired() | m.Processing():
                    message = f"not completed within {life.terms.payment_timeout}"
                    raise StoppedError(Stop(Reason.PAYMENT_TIMED_OUT, message))

    async def capture(self) -> None:
        """Take what is held, now that the warehouse has accepted. Nothing to do otherwise."""
        if self._held is None:
            return
        step: Step[m.Charge, m.CaptureAnswer] = PaymentActivities.capture_payment
        policy = policies.CAPTURE.within(self.hold_lasts())
        match await self._life.steps.do("taking the money", step, self._charge, policy):
            case m.Paid(amount=amount):
                self._life.taken = amount
                self._life.moved_to(Status.PAID)
            case m.HoldLapsed():
                message = "the bank no longer holds the money"
                raise StoppedError(Stop(Reason.HOLD_LAPSED, message))

    async def collect(self) -> None:
        """Take the money for parcels that had left when the order was to be undone.

        Not to be given up, and not to be undone: the goods are gone. A hold that has lapsed is for
        a person to settle with the customer.
        """
        life = self._life
        if self._held is None or life.taken:
            return
        step: Step[m.Charge, m.CaptureAnswer] = PaymentActivities.capture_payment
        doing = "taking the money for what has left"
        answer = await life.steps.undo(doing, step, self._charge, policies.UNDO)
        if isinstance(answer, m.Paid):
            life.taken = answer.amount
            life.moved_to(Status.PAID)
            return
        if isinstance(answer, m.HoldLapsed):
            problem = "the parcels have left, but the bank no longer holds the money for them"
            await life.steps.by_hand("capture_payment", problem)
        life.settled_by_hand = True

    def hold_lasts(self) -> timedelta | None:
        """How long the hold is good for, with a margin to act in; None when nothing is held."""
        if self._held is None or self._held.capture_before is None:
            return None
        left = self._held.capture_before - workflow.now() - policies.HOLD_MARGIN
        return max(left, timedelta(seconds=1))

    # -- told by the webhook and the customer --------------------------------------------------

    def look_again(self) -> None:
        """Something happened to the payment: read it."""
        self._news = True

    def submit(self, card: NewCard) -> CardAccepted:
        self._card = card
        return CardAccepted(attempt=self._charge.attempt + 1)

    def check_wants_card(self) -> None:
        """Refuse another card that the order does not wait for."""
        if self._wants_card and self._card is None:
            return
        message = f"order {self._life.order_id} does not wait for another card"
        raise ApplicationError(message, type=NOT_WAITING)

    # -- one attempt ---------------------------------------------------------------------------

    async def _tried(self) -> m.ChargeAnswer:
        """What became of one attempt, once the customer and the bank have done their part."""
        life = self._life
        charge: Step[m.Charge, m.ChargeAnswer] = PaymentActivities.charge_card
        doing = f"charging {life.total}"
        self._news = False
        answer = await life.steps.do(doing, charge, self._charge, policies.CHARGE)
        deadline = workflow.now() + life.terms.payment_timeout
        pause = policies.LOOK_AGAIN_FIRST
        while isinstance(answer, m.AuthenticationRequired | m.Processing):
            life.moved_to(Status.AWAITING_PAYMENT)
            left = deadline - workflow.now()
            if left <= timedelta(0):
                return answer
            waiting = "waiting for the customer's bank"
            asked = isinstance(answer, m.AuthenticationRequired)
            needed = CustomerNeeded(answer.payment_id) if asked else None
            with self._paying.telling(needed):
                came = await life.wait(waiting, lambda: self._news, min(pause, left))
            if not came:
                pause *= 2
            self._news = False
            look: Step[m.Charge, m.ChargeAnswer] = PaymentActivities.check_payment
            answer = await life.steps.do("reading the payment", look, self._charge, policies.LOOK)
        return answer

    def _next(self, payment_method: str | None) -> None:
        self._charge = m.Charge(
            self._life.order_id, self._charge.attempt + 1, payment_method, self._charge.hold
        )

    async def _pause(self, pause: timedelta) -> None:
        await self._life.wait("letting the bank breathe", lambda: False, pause)

    async def _another_card(self, declined: str) -> NewCard | None:
        """Wait for the customer to offer another card, if the terms allow for that."""
        life = self._life
        if not life.terms.new_card_window:
            return None
        if life.status is not Status.AWAITING_PAYMENT:
            await life.move_to(Status.AWAITING_PAYMENT)
        self._card, self._wants_card = None, True
        window = life.terms.new_card_window
        try:
            # Told now that one is taken: whoever hears of it may offer one at once.
            with self._paying.telling(PaymentDeclined(declined, another_card=True)):
                await life.wait("waiting for another card", lambda: self._card is not None, window)
        finally:
            self._wants_card = False
        return self._card

    async def _give_back(self) -> bool:
        """Undo of every charge: cancel what took nothing, refund what did."""
        life = self._life
        step = PaymentActivities.refund_card
        doing = "undoing the charge"
        stake = Stake(life.taken, life.total)
        undone = await life.steps.undo(doing, step, life.ref, policies.UNDO, stake=stake)
        if undone is None:
            await self._record_by_hand(stake)
        else:
            life.taken, life.given_back = undone.taken, undone.given_back
        return True

    async def _record_by_hand(self, stake: Stake) -> None:
        """Take an operator's word for what was taken and given back, and write it down as that."""
        life = self._life
        said = life.steps.resolved or Resolve("")
        amount = stake.given_back(said.given_back)
        by_hand = m.GivenBackByHand(life.order_id, amount, said.by, said.note)
        record = PaymentActivities.record_given_back_by_hand
        doing = "recording what was given back by hand"
        await life.steps.finish(doing, record, by_hand, policies.RECORD)
        life.taken = life.given_back = amount
