"""The contract of the order workflow: one order, from checkout to its end."""

from __future__ import annotations

from temporalio import workflow

from durable_orders.domain.activity_messages import (
    CancelAnswer,
    CancelRequest,
    OrderInput,
    Outcome,
    Progress,
    ResendOutcome,
)
from durable_orders.domain.payment_status import PaymentProgress
from durable_orders.domain.refunds.messages import ParcelRefunded
from durable_orders.domain.workflow_messages import (
    Approve,
    CardAccepted,
    NewCard,
    OperatorCommand,
    ParcelUpdate,
    PaymentUpdate,
    RefundParcel,
    Reject,
    ResendParcel,
    SettleParcel,
)


@workflow.defn(name="Order")
class OrderWorkflow:
    """Carries one order: its workflow id is ``durable_orders.domain.ids.workflow_id(order_id)``."""

    @workflow.run
    async def run(self, order: OrderInput) -> Outcome:
        """Carry the order to its end and return how it ended.

        Fails with an ``ApplicationError`` of type ``ORDER_FAILED``, whose details hold the
        ``Outcome``, when the order was undone because a neighbour gave no answer.
        """
        raise NotImplementedError

    # -- cancellation ------------------------------------------------------------------------------

    @workflow.signal
    def cancel_order(self, request: CancelRequest | None = None) -> None:
        """Stop the order if it still can be stopped. Fire and forget: see ``cancel``."""
        raise NotImplementedError

    @workflow.update
    async def cancel(self, request: CancelRequest) -> CancelAnswer:
        """Stop the order and return what became of it. Refused with ``TOO_LATE``."""
        raise NotImplementedError

    # -- approval ----------------------------------------------------------------------------------

    @workflow.update
    def approve(self, decision: Approve) -> None:
        """Approve an order that waits for it, or let one go on whose payment is uncertain. Refused
        with ``NOT_WAITING``.
        """
        raise NotImplementedError

    @workflow.update
    def reject(self, decision: Reject) -> None:
        """Stop an order that waits for such a decision. Refused with ``NOT_WAITING``."""
        raise NotImplementedError

    # -- payment -----------------------------------------------------------------------------------

    @workflow.signal
    def payment_updated(self, update: PaymentUpdate | None = None) -> None:
        """Read the payment again: something happened to it at the card provider."""
        raise NotImplementedError

    @workflow.update
    def submit_payment_method(self, card: NewCard) -> CardAccepted:
        """Charge another card after a decline. Refused with ``NOT_WAITING``."""
        raise NotImplementedError

    @workflow.query
    def payment_news(self) -> PaymentProgress:
        """What the customer has to know of the payment now."""
        raise NotImplementedError

    @workflow.update
    async def payment_outcome(self) -> PaymentProgress:
        """What the customer has to know of the payment, once something is known."""
        raise NotImplementedError

    # -- parcels -----------------------------------------------------------------------------------

    @workflow.signal
    def parcel_updated(self, news: ParcelUpdate) -> None:
        """Take the warehouse's news of a parcel; in any order, any number of times."""
        raise NotImplementedError

    @workflow.update
    async def settle_parcel(self, decision: SettleParcel) -> None:
        """Stop waiting for a lost or late parcel. Refused with ``NOT_WAITING``."""
        raise NotImplementedError

    @workflow.update
    async def resend_parcel(self, decision: ResendParcel) -> ResendOutcome:
        """Have a lost or late parcel sent again. Refused with ``NOT_WAITING``, also when the
        warehouse does not.
        """
        raise NotImplementedError

    @workflow.update
    async def refund_parcel(self, decision: RefundParcel) -> ParcelRefunded:
        """Have a lost or late parcel refunded. Refused with ``NOT_WAITING``, or ``REFUND_REFUSED``
        when nothing can be set aside for it: then it is still waited for.
        """
        raise NotImplementedError

    # -- operators ---------------------------------------------------------------------------------

    @workflow.update
    async def operate(self, word: OperatorCommand) -> None:
        """Retry, skip or resolve the step that keeps failing. Refused with ``NOT_OPERABLE``."""
        raise NotImplementedError

    @workflow.query
    def status(self) -> Progress:
        """Where the order stands and what is being done about it."""
        raise NotImplementedError
