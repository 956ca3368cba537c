"""The refund workflow: one refund of a paid order, from the request to the money's arrival."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import (
        NO_OUTCOME,
        OTHER_CONTENTS,
        TOO_LATE,
    )
    from durable_orders.domain.activity_messages import CancelRequest
    from durable_orders.domain.ids import refund_workflow_id
    from durable_orders.domain.refunds import messages as rm
    from durable_orders.domain.refunds.refund import (
        NEVER_ISSUED,
        NOT_YET_ISSUED,
        RefundRefused,
        RefundRequest,
    )
    from durable_orders.domain.senders import sender_detail
    from durable_orders.domain.workflow_messages import Approve, OperatorCommand, Reject
    from workflows.own_id import raise_unless_own_id
    from workflows.refund_steps import RefundSteps
    from workflows.senders import refuse_malformed
    from workflows.shielding import shield_from_cancellation


@workflow.defn(name="Refund")
class RefundWorkflow:
    """Set the amount aside, approve, issue, restock, email. A refund that is stopped before any
    money moved gives its amount free; after that its run goes on until the money has arrived.

    It can be run again at any time: the refund book says how far the refund came. One that had
    arrived is read again, because a bank can send money back weeks later.
    """

    @workflow.init
    def __init__(self, request: RefundRequest) -> None:
        self._refund = RefundSteps(request)
        self._ended = False

    @workflow.run
    async def run(self, request: RefundRequest) -> rm.RefundAnswer:  # noqa: ARG002 - by __init__
        """Process the refund to its end and return how it ended."""
        return await shield_from_cancellation(
            self._process(),
            on_cancel=self._on_cancel,
            on_end=self._on_end,
            is_idle=lambda: self._refund.steps.is_idle_beside,
        )

    async def _process(self) -> rm.RefundAnswer:
        refund = self._refund
        raise_unless_own_id(lambda: refund_workflow_id(refund.ref.order_id, refund.ref.refund_id))
        refuse_malformed(refund.request)
        found = await refund.reserve()
        if isinstance(found, RefundRefused):
            return found
        if refund.state in NOT_YET_ISSUED:
            await refund.obtain_approval(found.terms)
        if refund.state not in NEVER_ISSUED:
            await refund.issue()
            await refund.restock()
            await refund.wait_for_arrival()
        refund.steps.set_doing("nothing more to do")
        return rm.RefundOutcome(
            refund=refund.ref,
            state=refund.state,
            amount=found.amount,
            why=refund.why,
            restocked=refund.restocked,
            mailed=refund.mailed,
        )

    # -- requesting and cancelling -------------------------------------------------------------

    @workflow.update
    async def request(self, request: RefundRequest) -> rm.RequestRefundAnswer:  # noqa: ARG002 - validated
        """Request the refund; answers once the amount is set aside, or refused for now.

        Refused (``OTHER_CONTENTS``) when the refund was requested with other contents.
        """
        refund = self._refund
        await workflow.wait_condition(
            lambda: refund.amount is not None or refund.refused is not None or self._ended
        )
        if refund.refused is not None:
            return refund.refused
        return self._progress()

    @request.validator
    def _validate_request(self, request: RefundRequest) -> None:
        refuse_malformed(request)
        if not self._refund.request.same_as(request):
            message = (
                f"order {request.order_id} has a refund {request.refund_id} already, "
                "of other contents"
            )
            raise ApplicationError(message, type=OTHER_CONTENTS)

    @workflow.update
    async def cancel(self, request: CancelRequest) -> rm.RefundProgress:
        """Cancel the refund, and answer what really became of it."""
        refund = self._refund
        refund.steps.request_cancel(request)
        await workflow.wait_condition(
            lambda: (
                refund.state in NEVER_ISSUED
                or refund.issuing
                or refund.refused is not None
                or self._ended
            )
        )
        return self._progress()

    @cancel.validator
    def _validate_cancel(self, request: CancelRequest) -> None:
        refuse_malformed(request)
        refund = self._refund
        if refund.too_late_to_cancel or refund.refused is not None or self._ended:
            message = (
                f"refund {refund.ref.refund_id} of order {refund.ref.order_id} is "
                f"{'refused' if refund.refused else refund.state}: it is too late to cancel it"
            )
            raise ApplicationError(message, type=TOO_LATE)

    def _on_end(self) -> None:
        self._ended = True
        self._refund.steps.operator.refuse_command("needs nothing any more: the refund has ended")

    def _on_cancel(self) -> None:
        if not (self._refund.too_late_to_cancel or self._refund.refused):
            self._refund.steps.request_cancel(CancelRequest(by="Temporal"))

    # -- decisions and news --------------------------------------------------------------------

    @workflow.update
    def approve(self, decision: Approve) -> None:
        """Approve the refund. Refused (``NOT_WAITING``) when it waits for no approval."""
        self._refund.approval.decide(decision)

    @workflow.update
    def reject(self, decision: Reject) -> None:
        """Reject the refund. Refused (``NOT_WAITING``) when it waits for no approval."""
        self._refund.approval.decide(decision)

    @approve.validator
    def _validate_approve(self, decision: Approve) -> None:
        refuse_malformed(decision)
        self._refund.approval.check(decision)

    @reject.validator
    def _validate_reject(self, decision: Reject) -> None:
        refuse_malformed(decision)
        self._refund.approval.check(decision)

    @workflow.signal
    def refund_updated(self) -> None:
        """The refund has changed at the provider: read it again."""
        self._refund.updated = True

    @workflow.update
    async def operate(self, command: OperatorCommand) -> None:
        """Retry at once what keeps failing, or say that it was settled by hand.

        Refused (``NOT_OPERABLE``) when nothing keeps failing, or the command does not fit it; also
        when it came too late: a try that was in flight has succeeded.
        """
        given = self._refund.steps.operator.submit(command)
        await given.wait_until_decided()
        # Beside: a database that is away keeps nobody from hearing what became of it.
        who, why = sender_detail(command), command.why
        note = self._refund.add_note(given.event, **who, step=given.step, why=why)
        self._refund.steps.start_beside(note)
        given.raise_if_refused()

    @operate.validator
    def _validate_operate(self, command: OperatorCommand) -> None:
        refuse_malformed(command)
        self._refund.steps.check_command(command)

    @workflow.query
    def status(self) -> rm.RefundProgress:
        """Where the refund stands and what is being done about it."""
        return self._refund.progress()

    def _progress(self) -> rm.RefundProgress:
        """Where the refund stands, for the caller of an Update."""
        if self._refund.amount is None and self._refund.refused is None:
            message = "the refund's run failed before anything was set aside"
            raise ApplicationError(message, type=NO_OUTCOME)
        return self._refund.progress()
