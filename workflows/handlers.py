"""What an order can be told and asked while it runs: its signals, Updates and queries."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import TOO_LATE
    from orders import messages as m
    from orders import requests as r
    from orders.lifecycle import Reason
    from orders.payment_news import PaymentNews
    from workflows.approval import Approval
    from workflows.delivery import Delivery
    from workflows.life import Life
    from workflows.paying import Paying
    from workflows.payment import Payment


class OrderHandlers:
    """Apart from ``OrderWorkflow``, which is loaded anew for every run: this is loaded once."""

    _life: Life
    _paying: Paying
    _approval: Approval
    _payment: Payment
    _delivery: Delivery

    # -- being asked to stop: signal, Update and cancellation do the same ----------------------

    @workflow.signal
    def cancel_order(self, request: m.CancelRequest | None = None) -> None:
        """Stop the order if it still can be stopped. Fire and forget: see ``cancel``."""
        if not self._life.past_return:
            self._life.steps.cancel = self._life.steps.cancel or request or m.CancelRequest()
            self._life.show()

    @workflow.update
    async def cancel(self, request: m.CancelRequest) -> m.CancelAnswer:
        """Stop the order, and say what really became of it once that is known."""
        life = self._life
        self.cancel_order(request)
        await workflow.wait_condition(lambda: life.settled or life.past_return)
        if life.stop is not None and life.stop.reason is Reason.CANCELLED:
            return m.Cancelled(status=life.status, given_back=life.given_back)
        reason = life.stop.reason if life.stop else None
        return m.EndedOtherwise(status=life.status, reason=reason)

    @cancel.validator
    def _validate_cancel(self, request: m.CancelRequest) -> None:  # noqa: ARG002 - the SDK's shape
        if self._life.past_return:
            message = (
                f"order {self._life.order_id} is {self._life.status}: it is too late to cancel it, "
                "ask for a return instead"
            )
            raise ApplicationError(message, type=TOO_LATE)

    # -- what people and neighbours tell the order ---------------------------------------------

    @workflow.update
    def approve(self, decision: r.Approve) -> None:
        """Let an order pass that waits for a person. Refused (``NOT_WAITING``) when none does."""
        self._approval.decide(decision)

    @workflow.update
    def reject(self, decision: r.Reject) -> None:
        """Stop an order that waits for a person. Refused (``NOT_WAITING``) when none does."""
        self._approval.decide(decision)

    @approve.validator
    def _validate_approve(self, decision: r.Approve) -> None:  # noqa: ARG002 - the SDK's shape
        self._approval.check_open()

    @reject.validator
    def _validate_reject(self, decision: r.Reject) -> None:  # noqa: ARG002 - the SDK's shape
        self._approval.check_open()

    @workflow.signal
    def payment_updated(self) -> None:
        """Something happened to the payment at the provider: look again."""
        self._payment.look_again()

    @workflow.update
    def submit_payment_method(self, card: r.NewCard) -> r.CardAccepted:
        """Try another card after a decline. Refused (``NOT_WAITING``) when none is waited for."""
        return self._payment.submit(card)

    @submit_payment_method.validator
    def _validate_card(self, card: r.NewCard) -> None:  # noqa: ARG002 - the SDK's shape
        self._payment.check_wants_card()

    @workflow.query
    def payment_news(self) -> PaymentNews:
        """What a shopper has to know of the payment now."""
        return self._paying.news(self._life)

    @workflow.update
    async def payment_outcome(self) -> PaymentNews:
        """The same, once something is known. Whoever asks in the same turn shares one answer."""
        return await self._paying.outcome(self._life)

    @workflow.signal
    def parcel_updated(self, news: r.ParcelUpdate) -> None:
        """The warehouse says where a parcel is; in any order, any number of times."""
        self._delivery.told(news)

    @workflow.update
    async def settle_parcel(self, decision: r.SettleParcel) -> None:
        """Wait no more for a parcel that is lost or late. Refused (``NOT_WAITING``) otherwise."""
        await self._delivery.settle(decision)

    @settle_parcel.validator
    def _validate_settle(self, decision: r.SettleParcel) -> None:
        self._delivery.check_awaited(decision.parcel_id)

    @workflow.update
    async def resend_parcel(self, decision: r.ResendParcel) -> m.Resent:
        """Have a lost or late parcel sent again. Refused (``NOT_WAITING``) otherwise."""
        return await self._delivery.resend(decision)

    @resend_parcel.validator
    def _validate_resend(self, decision: r.ResendParcel) -> None:
        self._delivery.check_awaited(decision.parcel_id)

    @workflow.update
    async def refund_parcel(self, decision: r.RefundParcel) -> None:
        """Have a lost or late parcel refunded. Refused (``NOT_WAITING``) otherwise."""
        await self._delivery.refund(decision)

    @refund_parcel.validator
    def _validate_refund(self, decision: r.RefundParcel) -> None:
        self._delivery.check_awaited(decision.parcel_id, contents=True)

    @workflow.update
    async def operate(self, word: r.OperatorWord) -> None:
        """An operator's way out of what keeps failing: retry now, skip the step, settled by hand.

        Refused (``NOT_OPERABLE``) when nothing keeps failing, or the word does not fit it.
        """
        attention = self._life.steps.attention
        self._life.steps.operate(word)
        step = attention.step if attention else ""
        await self._life.note(f"operator_{word.kind}", by=word.by, step=step, why=word.why)

    @operate.validator
    def _validate_operate(self, word: r.OperatorWord) -> None:
        self._life.steps.check_operable(word)

    @workflow.query
    def status(self) -> m.Progress:
        """Where the order stands and what is being done about it."""
        return self._life.progress()
