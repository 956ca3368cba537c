"""The stages of a refund: set aside, let pass, paid back, followed through the bank, told about."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError
from temporalio.exceptions import is_cancelled_exception as was_cancelled

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.order_book import OrderBookActivities
    from activities.refunds import RefundActivities
    from orders import messages as m
    from orders import refund_messages as rm
    from orders.money import Money
    from orders.refunds import UNDECIDED, RefundRefused, RefundRequest, RefundState
    from orders.requests import Approve, Reject
    from workflows import policies, visibility
    from workflows.attention import problem_of
    from workflows.ending import cancel_and_wait
    from workflows.steps import Step, StepRunner


class RefundSteps:
    """One refund under way. Its stages change it; ``RefundWorkflow`` shows it."""

    def __init__(self, request: RefundRequest) -> None:
        self.request = request
        self.ref = rm.RefundRef(request.order_id, request.refund_id)
        self.steps = StepRunner(self.show)
        self.state = RefundState.REQUESTED
        self.why = ""
        self.attempt = 1
        self.amount: Money | None = None
        self.refused: RefundRefused | None = None
        self.decision: Approve | Reject | None = None
        self.awaits_decision = False
        #: Whether it is decided if money moves: from then on nothing can be cancelled.
        self.too_late_to_cancel = False
        self.issuing = False
        #: Something has happened at the provider since it was asked last.
        self.updated = False
        #: The last attempt of which the customer has been told.
        self.emailed_attempt: int | None = None
        self.restocked = False
        self.mailed = False
        self._flagged = False

    async def reserve(self) -> rm.ReserveRefundAnswer:
        """Set the amount aside, or find how far an earlier run came."""
        step: Step[RefundRequest, rm.ReserveRefundAnswer] = RefundActivities.reserve_refund
        doing = "setting the amount aside"
        # Not given up: an attempt whose answer was lost may have set it aside.
        found = await self.steps.run_until_done(doing, step, self.request, policies.RECORD)
        if isinstance(found, RefundRefused):
            self.refused = found
            self.steps.set_doing(f"refused: {found.message}")
            return found
        self.state, self.attempt, self.amount = found.state, found.attempt, found.amount
        if found.state is RefundState.SUCCEEDED:
            self.emailed_attempt = found.attempt
        workflow.upsert_search_attributes([visibility.CUSTOMER_ID.value_set(found.customer_id)])
        self.show()
        return found

    async def obtain_approval(self, terms: rm.RefundTerms) -> None:
        """Let the refund pass, or give its amount free."""
        if terms.needs_approval and self.steps.cancel_request is None:
            await self.record_state(RefundState.AWAITING_APPROVAL)
            self.awaits_decision = True
            self.steps.set_doing("waiting for approval")
            await self._decided(terms.approval_timeout)
            self.awaits_decision = False
        # What was said until here counts, what comes later is refused: no await in between.
        self.too_late_to_cancel = True
        if self.steps.cancel_request is not None:
            await self.record_state(
                RefundState.CANCELLED, f"cancelled by {self.steps.cancel_request.by}"
            )
            return
        match self.decision:
            case Reject(by=by, reason=reason):
                await self.record_state(RefundState.REJECTED, f"rejected by {by}: {reason}")
            case Approve(by=by, note=note):
                await self.add_note("refund_approved", by=by, note=note)
            case None if terms.needs_approval:
                why = f"nobody decided within {terms.approval_timeout}"
                await self.record_state(RefundState.REJECTED, why)

    async def _decided(self, limit: timedelta) -> None:
        """Wait for a decision, or for somebody who thinks better of it; half-way the approver is
        reminded.
        """
        half = limit / 2
        if await self._decided_within(half):
            return
        reminder = asyncio.create_task(self._remind())
        await self._decided_within(half)
        await cancel_and_wait(reminder)

    async def _decided_within(self, pause: timedelta) -> bool:
        def told() -> bool:
            return self.decision is not None or self.steps.cancel_request is not None

        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(told, timeout=pause)
        return told()

    async def _remind(self) -> None:
        if self.amount is None:
            return
        waiting = rm.RefundWaiting(self.ref, self.amount)
        remind = NotificationActivities.send_refund_approval_reminder
        with contextlib.suppress(FailureError):  # no mail ever delays or fails a refund
            await self.steps.run_beside("reminding the approver", remind, waiting, policies.EMAIL)

    async def issue(self) -> None:
        """Have the provider asked, unless it was before; what had arrived is read again."""
        self.too_late_to_cancel = self.issuing = True
        if self.state in UNDECIDED or self.state is RefundState.ISSUING:
            await self._call_provider(f"giving {self.amount} back", RefundActivities.issue_refund)
        elif self.state is RefundState.SUCCEEDED:
            await self._call_provider("reading the refund", RefundActivities.check_refund)

    async def restock(self) -> None:
        """Put the pieces back on the shelf, whatever the bank does with the money."""
        if self.request.restock:
            step = RefundActivities.restock_refund
            doing = "putting the pieces back on the shelf"
            self.restocked = await self.steps.run_until_done(doing, step, self.ref, policies.RECORD)

    async def wait_for_arrival(self) -> None:
        """Follow the money to the customer and say that it is there; whatever is heard meanwhile is
        looked at, for a bank can send back what had arrived.
        """
        await self._wait_for_bank()
        while self.state is RefundState.SUCCEEDED:
            if self.updated:
                await self._call_provider("reading the refund", RefundActivities.check_refund)
                await self._wait_for_bank()
            elif self.attempt != self.emailed_attempt:
                await self._email_unless_updated()
            else:
                # What is said to the run until its very end is heard.
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self.updated:
                    return

    async def record_state(self, state: RefundState, why: str = "") -> None:
        """Write what was decided into the book, then show it."""
        move = rm.RefundMove(self.ref, state, why)
        step = RefundActivities.record_refund_state
        await self.steps.run_until_done(f"recording: {state}", step, move, policies.RECORD)
        self.state, self.why = state, why
        self.show()

    async def add_note(self, event: str, **detail: str) -> None:
        """Add a line to the order's history."""
        note = m.Note(self.ref.order_id, event, {"refund_id": self.ref.refund_id, **detail})
        step = OrderBookActivities.record_note
        await self.steps.run_beside("writing it down", step, note, policies.RECORD)

    def progress(self) -> rm.RefundProgress:
        return rm.RefundProgress(
            refund=self.ref,
            state=self.state,
            doing=self.steps.doing,
            amount=self.amount,
            why=self.why,
            attention=self.steps.operator.attention,
        )

    def show(self) -> None:
        """Bring what the Web UI shows up to date."""
        workflow.set_current_details(visibility.refund_details(self.progress()))
        needs_attention = self.steps.operator.attention is not None
        if needs_attention != self._flagged:
            self._flagged = needs_attention
            flag = visibility.NEEDS_ATTENTION.value_set(needs_attention)
            workflow.upsert_search_attributes([flag])

    async def _wait_for_bank(self) -> None:
        """A refund that fails at the bank waits for a person."""
        pause = policies.POLL_INTERVAL_FIRST
        while True:
            match self.state:
                case RefundState.PENDING:
                    if not await self._updated_within(pause):
                        pause = min(pause * 2, policies.POLL_INTERVAL_LONGEST)
                    await self._call_provider("reading the refund", RefundActivities.check_refund)
                case RefundState.FAILED:
                    await self._issue_again()
                    pause = policies.POLL_INTERVAL_FIRST
                case _:
                    return

    async def _email_unless_updated(self) -> None:
        """What would be told may be true no more then."""
        mail = asyncio.create_task(self._send_email())
        await workflow.wait_condition(lambda: mail.done() or self.updated)
        await cancel_and_wait(mail)

    async def _send_email(self) -> None:
        """Tell the customer. No mail ever delays or fails a refund."""
        step: Step[rm.RefundAttempt, m.MailAnswer] = RefundActivities.send_refund_email
        doing = "telling the customer"
        self.steps.set_doing(doing)
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        try:
            answer = await self.steps.run_beside(doing, step, attempt, policies.EMAIL)
        except FailureError as error:
            if was_cancelled(error):
                return
            workflow.logger.warning("no mail was sent: %s", problem_of(error))
            self.mailed = False
        else:
            self.mailed = isinstance(answer, m.MailSent)
        self.emailed_attempt = self.attempt

    async def _updated_within(self, pause: timedelta) -> bool:
        self.steps.set_doing("waiting for the bank")
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self.updated, timeout=pause)
        return self.updated

    async def _issue_again(self) -> None:
        """The customer has nothing: a person has it tried again, or pays another way."""
        problem = f"the bank sent {self.amount} back to us: {self.why}"
        self.steps.set_doing("waiting for a person")
        if await self.steps.operator.wait_for_decision(RefundActivities.issue_refund, problem):
            self.attempt += 1
            await self._call_provider(
                f"giving {self.amount} back again", RefundActivities.issue_refund
            )
        else:
            await self._record_settled()

    async def _call_provider(self, doing: str, step: Step[rm.RefundAttempt, rm.RefundSeen]) -> None:
        """One conversation with the provider, whatever it takes."""
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        self.updated = False
        seen = await self.steps.compensate(doing, step, attempt, policies.COMPENSATION)
        if seen is None:
            await self._record_settled()
        else:
            self.state, self.why = seen.state, seen.problem
            self.show()

    async def _record_settled(self) -> None:
        # What had arrived and could only not be read again needs no settling.
        if self.state is not RefundState.SUCCEEDED:
            await self.record_state(RefundState.SETTLED, "settled by hand")
