"""The contract of the refund workflow: one refund of a paid order."""

from __future__ import annotations

from temporalio import workflow

from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.refunds.messages import RefundAnswer, RefundProgress, RequestRefundAnswer
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.domain.workflow_messages import Approve, OperatorCommand, Reject


@workflow.defn(name="Refund")
class RefundWorkflow:
    """Carries one refund; its workflow id is ``durable_orders.domain.ids.refund_workflow_id(…)``.

    It can be run again at any time: the refund book says how far the refund came.
    """

    @workflow.run
    async def run(self, request: RefundRequest) -> RefundAnswer:
        """Carry the refund to its end and return how it ended."""
        raise NotImplementedError

    @workflow.update
    async def request(self, request: RefundRequest) -> RequestRefundAnswer:
        """Return whether the amount is set aside, once that is known.

        Refused with ``OTHER_CONTENTS`` when the refund was requested with other contents.
        """
        raise NotImplementedError

    @workflow.update
    async def cancel(self, request: CancelRequest) -> RefundProgress:
        """Take the request back and return what became of it. Refused with ``TOO_LATE``."""
        raise NotImplementedError

    @workflow.update
    def approve(self, decision: Approve) -> None:
        """Approve a refund that waits for it. Refused with ``NOT_WAITING``."""
        raise NotImplementedError

    @workflow.update
    def reject(self, decision: Reject) -> None:
        """Stop a refund that waits for approval. Refused with ``NOT_WAITING``."""
        raise NotImplementedError

    @workflow.signal
    def refund_updated(self) -> None:
        """Read the refund again: something happened to it at the card provider."""
        raise NotImplementedError

    @workflow.update
    async def operate(self, word: OperatorCommand) -> None:
        """Retry or resolve the step that keeps failing. Refused with ``NOT_OPERABLE``."""
        raise NotImplementedError

    @workflow.query
    def status(self) -> RefundProgress:
        """Where the refund stands and what is being done about it."""
        raise NotImplementedError
