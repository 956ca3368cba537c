"""The order's charge, as far as its run knows it: tried, told of, looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.payments import PaymentActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.disputes.concerns import stop_for
    from durable_orders.domain.disputes.dispute import PaymentConcern
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.terms import CaptureMethod
    from durable_orders.domain.workflow_messages import PaymentChange, PaymentUpdate
    from workflows import retry_policies
    from workflows.order_state import OrderState
    from workflows.step_runner import Step


class Charge:
    """One charge per order, tried with one card after another.

    ``answer`` is what is known of it; news may have come since (``is_told``).
    """

    def __init__(self, order: OrderState) -> None:
        self.answer: m.ChargeAnswer | None = None
        self.held: m.Held | None = None
        self.tries = 0
        self.payment_method: str | None = None
        self._order = order
        self._read_at: datetime | None = None
        self._news: list[PaymentChange | None] = []
        self._accepted: set[str] = set()

    async def try_card(self, payment_method: str | None = None, *, locally: bool = False) -> None:
        """Try a card, the order's own unless another one is named; ``locally`` within the workflow
        task, at first.
        """
        order = self._order
        self.tries += 1
        self.payment_method = payment_method
        hold = order.terms.capture is CaptureMethod.AT_FULFILLMENT
        # A card that the customer brings, they bring themselves: then they are there.
        away = order.terms.off_session and payment_method is None
        request = m.ChargeRequest(order.order_id, self.tries, payment_method, hold, away)
        step: Step[m.ChargeRequest, m.ChargeAnswer] = PaymentActivities.charge_card
        doing = f"charging {order.total}"
        self._news.clear()  # the try begins with a look of its own
        policy = retry_policies.CHARGE.waiting_out_load(order.terms.payment_timeout)
        if locally:
            policy = policy.beginning_locally()
        self.hear(await order.steps.run(doing, step, request, policy))

    async def look(self) -> None:
        """Read the charge at the provider."""
        order, told = self._order, len(self._news)
        step: Step[m.OrderRef, m.ChargeAnswer] = PaymentActivities.check_payment
        doing = "reading the payment"
        self.hear(await order.steps.run(doing, step, order.ref, retry_policies.READ_PAYMENT))
        del self._news[:told]

    # -- news ------------------------------------------------------------------------------------

    def tell(self, update: PaymentUpdate | None) -> None:
        """Something happened to the charge at the provider."""
        self._news.append(update.change if update else None)

    @property
    def is_told(self) -> bool:
        """Whether news have come that the answer does not explain."""
        asked = PaymentChange.REQUIRES_ACTION
        match self.answer:
            case m.Paid():
                explained = {asked, PaymentChange.DECLINED, PaymentChange.HELD, PaymentChange.PAID}
            case m.Held():
                explained = {asked, PaymentChange.DECLINED, PaymentChange.HELD}
            case m.Declined():
                explained = {PaymentChange.DECLINED}
            case m.AuthenticationRequired():
                explained = {asked}
            case _:
                explained = set()
        return any(change not in explained for change in self._news)

    async def verify(self) -> None:
        """Look again at money that the order is about to act on, when it was told of news or has
        not looked for a while: news may be lost. Raises ``OrderStopped`` when it is gone.
        """
        steps = self._order.steps
        is_old = self._read_at is None or (
            workflow.now() - self._read_at > retry_policies.PAYMENT_STAYS_READ
        )
        if self.is_told or is_old:
            await self.look()
            self.stop_if_gone()
        steps.stop_if_asked()

    @property
    def concerns(self) -> tuple[PaymentConcern, ...]:
        """What makes the money uncertain, without what a person has accepted."""
        if not isinstance(self.answer, m.Paid | m.Held):
            return ()
        return tuple(one for one in self.answer.concerns if one.id not in self._accepted)

    def accept(self, concerns: Iterable[PaymentConcern]) -> None:
        """The order goes on in spite of these."""
        self._accepted.update(concern.id for concern in concerns)

    @contextlib.contextmanager
    def watched(self, *, pauses: bool = False) -> Iterator[None]:
        """Look whenever news come while the block runs: what is no longer paid for is stopped. With
        ``pauses`` a step in the block is interrupted when the money has become uncertain.

        News that are not looked at when the block ends are left to ``verify``.
        """
        steps = self._order.steps
        watching = asyncio.create_task(self._watch(pauses=pauses))
        try:
            yield
        finally:
            # Not waited for: a run that is evicted from a worker's cache comes here, too.
            watching.cancel()
            steps.paused = False

    async def _watch(self, *, pauses: bool) -> None:
        order = self._order
        step: Step[m.OrderRef, m.ChargeAnswer] = PaymentActivities.check_payment
        while order.steps.stop is None and not order.steps.paused:
            await workflow.wait_condition(lambda: self.is_told)
            told = len(self._news)
            try:
                answer = await order.steps.run_beside(
                    "reading the payment", step, order.ref, retry_policies.READ_PAYMENT
                )
            except FailureError:
                return
            del self._news[:told]
            self.hear(answer)
            self.stop_if_gone()
            order.steps.paused = pauses and bool(self.concerns)

    def hear(self, answer: m.ChargeAnswer) -> None:
        """Take note of an answer that a step has brought."""
        self.answer, self._read_at = answer, workflow.now()
        match answer:
            case m.Held():
                self.held = answer
            case m.Paid(amount=amount, given_back=given_back):
                order = self._order
                order.taken, order.given_back = amount, given_back or amount * 0

    def stop_if_gone(self) -> None:
        """Have the order stopped when its charge holds no money for it any more, or when the shop
        has no order go on with money that is questioned.
        """
        order = self._order
        match self.answer:
            case m.Paid() | m.Held():
                if stop := stop_for(self.concerns, order.terms):
                    order.steps.request_stop(stop)
            case m.PaymentReturned() as returned:
                order.steps.request_stop(self.stop_for_return(returned))
            case m.OrderUndone(stop=stop):
                order.steps.request_stop(stop)
            case _ if self.held is not None:
                message = "the bank no longer holds the money"
                order.steps.request_stop(Stop(StopReason.HOLD_LAPSED, message))
            case _:
                message = "the payment was cancelled at the card provider"
                order.steps.request_stop(Stop(StopReason.PAYMENT_ENDED, message))

    def stop_for_return(self, returned: m.PaymentReturned) -> Stop:
        """Why an order stops whose payment was given back without its doing."""
        order = self._order
        order.taken, order.given_back = returned.taken, returned.given_back
        message = f"{returned.given_back} of {returned.taken} was given back at the card provider"
        return Stop(StopReason.PAYMENT_RETURNED, message)
