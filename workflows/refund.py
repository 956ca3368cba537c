"""One refund of a paid order, from the request to the money's arrival."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import (
        NO_OUTCOME,
        NOT_WAITING,
        OTHER_CONTENTS,
        TOO_LATE,
    )
    from orders import refund_messages as rm
    from orders.messages import CancelRequest
    from orders.refunds import FREED, UNDECIDED, RefundRefused, RefundRequest
    from orders.requests import Approve, OperatorWord, Reject
    from workflows.ending import to_the_end
    from workflows.refund_life import RefundLife


@workflow.defn(name="Refund")
class RefundWorkflow:
    """Set aside, approve, give back, restock, tell. Stopped before any money moved, a refund gives
    free what it had set aside; after that its run sees to it that the money arrives.

    It can be run again at any time: the book says how far the refund came. One that had arrived is
    read again, because a bank can send money back weeks later.
    """

    @workflow.init
    def __init__(self, request: RefundRequest) -> None:
        self._life = RefundLife(request)
        self._over = False

    @workflow.run
    async def run(self, request: RefundRequest) -> rm.RefundAnswer:  # noqa: ARG002 - by __init__
        """Carry the refund to its end and say how it ended."""
        return await to_the_end(
            self._live(), on_cancel=self._cancelled_from_outside, on_end=self._is_over
        )

    async def _live(self) -> rm.RefundAnswer:
        life = self._life
        found = await life.reserve()
        if isinstance(found, RefundRefused):
            return found
        if life.state in UNDECIDED:
            await life.pass_or_free(found.terms)
        if life.state not in FREED:
            await life.pay_back()
            await life.restock()
            await life.see_it_arrive()
        life.steps.now("nothing more to do")
        return rm.RefundOutcome(
            refund=life.ref,
            state=life.state,
            amount=found.amount,
            why=life.why,
            restocked=life.restocked,
            mailed=life.mailed,
        )

    # -- asking for it, and taking that back ---------------------------------------------------

    @workflow.update
    async def request(self, request: RefundRequest) -> rm.RequestAnswer:  # noqa: ARG002 - validated
        """Whether the amount is set aside for this request, once that is known.

        Refused (``OTHER_CONTENTS``) when the refund was asked for with other contents.
        """
        life = self._life
        await workflow.wait_condition(
            lambda: life.amount is not None or life.refused is not None or self._over
        )
        if life.refused is not None:
            return life.refused
        return self._progress()

    @request.validator
    def _validate_request(self, request: RefundRequest) -> None:
        if not self._life.request.same_as(request):
            message = (
                f"order {request.order_id} has a refund {request.refund_id} already, "
                "of other contents"
            )
            raise ApplicationError(message, type=OTHER_CONTENTS)

    @workflow.update
    async def cancel(self, request: CancelRequest) -> rm.RefundProgress:
        """Take the request back, and say what really became of it."""
        life = self._life
        life.steps.cancel = life.steps.cancel or request
        await workflow.wait_condition(
            lambda: life.state in FREED or life.paying or life.refused is not None or self._over
        )
        return self._progress()

    @cancel.validator
    def _validate_cancel(self, request: CancelRequest) -> None:  # noqa: ARG002 - the SDK's shape
        life = self._life
        if life.past_return or life.refused is not None or self._over:
            message = (
                f"refund {life.ref.refund_id} of order {life.ref.order_id} is "
                f"{'refused' if life.refused else life.state}: it is too late to cancel it"
            )
            raise ApplicationError(message, type=TOO_LATE)

    def _is_over(self) -> None:
        self._over = True

    def _cancelled_from_outside(self) -> None:
        if not self._life.past_return:
            self._life.steps.cancel = self._life.steps.cancel or CancelRequest(by="Temporal")

    # -- what people and the bank tell it ------------------------------------------------------

    @workflow.update
    def approve(self, decision: Approve) -> None:
        """Let a refund pass that waits for a person. Refused (``NOT_WAITING``) when none does."""
        self._life.decision = decision

    @workflow.update
    def reject(self, decision: Reject) -> None:
        """Stop a refund that waits for a person. Refused (``NOT_WAITING``) when none does."""
        self._life.decision = decision

    @approve.validator
    def _validate_approve(self, decision: Approve) -> None:  # noqa: ARG002 - the SDK's shape
        self._check_awaited()

    @reject.validator
    def _validate_reject(self, decision: Reject) -> None:  # noqa: ARG002 - the SDK's shape
        self._check_awaited()

    def _check_awaited(self) -> None:
        life = self._life
        if life.awaits_decision and life.decision is None:
            return
        why = f"{life.decision.by} has decided" if life.decision else f"it is {life.state}"
        message = (
            f"refund {life.ref.refund_id} of order {life.ref.order_id} does not wait for an "
            f"approval: {why}"
        )
        raise ApplicationError(message, type=NOT_WAITING)

    @workflow.signal
    def refund_updated(self) -> None:
        """Something happened to the refund at the provider: look again."""
        self._life.news = True

    @workflow.update
    async def operate(self, word: OperatorWord) -> None:
        """An operator's way out of what keeps failing: retry now, or settled by hand.

        Refused (``NOT_OPERABLE``) when nothing keeps failing, or the word does not fit it.
        """
        steps = self._life.steps
        step = steps.attention.step if steps.attention else ""
        steps.operate(word)
        await self._life.note(f"operator_{word.kind}", by=word.by, step=step, why=word.why)

    @operate.validator
    def _validate_operate(self, word: OperatorWord) -> None:
        self._life.steps.check_operable(word)

    @workflow.query
    def status(self) -> rm.RefundProgress:
        """Where the refund stands and what is being done about it."""
        return self._life.progress()

    def _progress(self) -> rm.RefundProgress:
        """Where the refund stands, for an Update's caller."""
        if self._life.amount is None and self._life.refused is None:
            message = "the refund's run failed before anything was set aside"
            raise ApplicationError(message, type=NO_OUTCOME)
        return self._life.progress()
