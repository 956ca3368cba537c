"""The signals, Updates and queries of an order workflow."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import NO_OUTCOME, TOO_LATE
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain import workflow_messages as r
    from durable_orders.domain.lifecycle import StopReason
    from durable_orders.domain.payment_status import PaymentProgress
    from durable_orders.domain.refunds.messages import ParcelRefunded
    from durable_orders.domain.senders import sender_detail
    from workflows.approval import Approval
    from workflows.delivery import Delivery
    from workflows.order_state import OrderState
    from workflows.payment import Payment
    from workflows.payment_status import PaymentStatus
    from workflows.senders import refuse_malformed


class OrderHandlers:
    """The handlers of ``OrderWorkflow``: that is loaded anew for every run, these once."""

    _order: OrderState
    _payment_status: PaymentStatus
    _approval: Approval
    _payment: Payment
    _delivery: Delivery

    # -- cancelling: signal, Update and a cancellation of the run do the same ------------------

    @workflow.signal
    def cancel_order(self, request: m.CancelRequest | None = None) -> None:
        """Stop the order if it still can be stopped. Fire and forget: see ``cancel``."""
        if not self._order.too_late_to_cancel:
            self._order.steps.request_cancel(request or m.CancelRequest())
            self._order.show()

    @workflow.update
    async def cancel(self, request: m.CancelRequest) -> m.CancelAnswer:
        """Stop the order, and answer what really became of it once that is known."""
        order = self._order
        self.cancel_order(request)
        await workflow.wait_condition(lambda: order.ended or order.too_late_to_cancel)
        if not order.too_late_to_cancel:
            message = f"the run of order {order.order_id} failed before it did anything"
            raise ApplicationError(message, type=NO_OUTCOME)
        if self._is_cancelled:
            return m.Cancelled(status=order.status, given_back=order.given_back)
        reason = order.stop.reason if order.stop else None
        return m.EndedOtherwise(status=order.status, reason=reason)

    @property
    def _is_cancelled(self) -> bool:
        stop = self._order.stop
        return stop is not None and stop.reason is StopReason.CANCELLED

    @cancel.validator
    def _validate_cancel(self, request: m.CancelRequest) -> None:
        refuse_malformed(request)
        order = self._order
        if order.too_late_to_cancel and not self._is_cancelled:
            message = (
                f"order {order.order_id} is {order.status}: it is too late to cancel it, "
                "ask for a return instead"
            )
            raise ApplicationError(message, type=TOO_LATE)

    # -- decisions and news --------------------------------------------------------------------

    @workflow.update
    def approve(self, decision: r.Approve) -> None:
        """Approve the order, or let it go on with uncertain money. Refused (``NOT_WAITING``) when
        it waits for neither.
        """
        self._current_approval.decide(decision)

    @workflow.update
    def reject(self, decision: r.Reject) -> None:
        """Reject the order. Refused (``NOT_WAITING``) when it waits for no such decision."""
        self._current_approval.decide(decision)

    @approve.validator
    def _validate_approve(self, decision: r.Approve) -> None:
        refuse_malformed(decision)
        self._current_approval.check(decision)

    @reject.validator
    def _validate_reject(self, decision: r.Reject) -> None:
        refuse_malformed(decision)
        self._current_approval.check(decision)

    @property
    def _current_approval(self) -> Approval:
        """The decision that is waited for, or was last: whether to charge, or about the payment."""
        return self._payment.approval or self._approval

    @workflow.signal
    def payment_updated(self, update: r.PaymentUpdate | None = None) -> None:
        """The payment has changed at the provider: read it again."""
        self._payment.mark_updated(update)

    @workflow.update
    async def submit_payment_method(self, card: r.NewCard) -> r.CardAccepted:
        """Try another card after a decline. Refused (``NOT_WAITING``) when none is waited for."""
        return await self._payment.submit_card(card)

    @submit_payment_method.validator
    def _validate_card(self, card: r.NewCard) -> None:
        refuse_malformed(card)
        self._payment.check_wants_card()

    @workflow.query
    def payment_news(self) -> PaymentProgress:
        """What a shopper has to know of the payment now."""
        return self._payment_status.current(self._order)

    @workflow.update
    async def payment_outcome(self) -> PaymentProgress:
        """The same, once something is known. Clients that ask in the same turn share one Update."""
        return await self._payment_status.wait_until_known(self._order)

    @workflow.signal
    def parcel_updated(self, news: r.ParcelUpdate) -> None:
        """The warehouse says where a parcel is; in any order, any number of times."""
        self._delivery.update_parcel(news)

    @workflow.update
    async def settle_parcel(self, decision: r.SettleParcel) -> None:
        """Stop waiting for a parcel. Refused (``NOT_WAITING``) when it is not waited for."""
        await self._delivery.settle(decision)

    @settle_parcel.validator
    def _validate_settle(self, decision: r.SettleParcel) -> None:
        refuse_malformed(decision)
        self._delivery.check_awaited(decision.parcel_id)

    @workflow.update
    async def resend_parcel(self, decision: r.ResendParcel) -> m.ResendOutcome:
        """Have a parcel sent again. Refused (``NOT_WAITING``) when it is not waited for, or when
        the warehouse refuses.
        """
        return await self._delivery.resend(decision)

    @resend_parcel.validator
    def _validate_resend(self, decision: r.ResendParcel) -> None:
        refuse_malformed(decision)
        self._delivery.check_resend(decision.parcel_id)

    @workflow.update
    async def refund_parcel(self, decision: r.RefundParcel) -> ParcelRefunded:
        """Have a parcel refunded; answers once the amount is set aside.

        Refused (``NOT_WAITING``) when it is not waited for, and (``REFUND_REFUSED``) when nothing
        can be set aside: then it is still waited for.
        """
        return await self._delivery.refund(decision)

    @refund_parcel.validator
    def _validate_refund(self, decision: r.RefundParcel) -> None:
        refuse_malformed(decision)
        self._delivery.check_awaited(decision.parcel_id, contents=True)

    @workflow.update
    async def operate(self, command: r.OperatorCommand) -> None:
        """Retry at once what keeps failing, skip it, or say that it was settled by hand.

        Refused (``NOT_OPERABLE``) when nothing keeps failing, or the command does not fit it; also
        when it came too late: a try that was in flight has succeeded, or the order is stopped.
        """
        given = self._order.steps.operator.submit(command)
        await given.wait_until_decided()
        # Beside: a database that is away keeps nobody from hearing what became of it.
        who, why = sender_detail(command), command.why
        note = self._order.add_note(given.event, **who, step=given.step, why=why)
        self._order.steps.start_beside(note)
        given.raise_if_refused()

    @operate.validator
    def _validate_operate(self, command: r.OperatorCommand) -> None:
        refuse_malformed(command)
        self._order.steps.check_command(command)

    @workflow.query
    def status(self) -> m.Progress:
        """Where the order stands and what is being done about it."""
        return self._order.progress()
