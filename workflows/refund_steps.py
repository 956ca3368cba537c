"""The stages of a refund: set aside, approved, issued, followed through the bank, emailed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.refunds import RefundActivities
    from durable_orders.contracts import search_attributes
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.money import Money
    from durable_orders.domain.refunds import messages as rm
    from durable_orders.domain.refunds.refund import (
        FAILED_BY_DISPUTE,
        NOT_YET_ISSUED,
        REFUSED_EVENT,
        TAKEN_BY_DISPUTE,
        RefundRefused,
        RefundRequest,
        RefundState,
    )
    from durable_orders.domain.senders import sender, sender_detail
    from durable_orders.domain.workflow_messages import Approve, Reject
    from workflows import retry_policies, side_steps, visibility
    from workflows.approval import Approval
    from workflows.operator_attention import problem_of
    from workflows.shielding import cancel_and_wait
    from workflows.step_runner import Step, StepRunner


class RefundSteps:
    """One refund under way. Its stages change it; ``RefundWorkflow`` shows it."""

    def __init__(self, request: RefundRequest) -> None:
        self.request = request
        self.ref = rm.RefundRef(request.order_id, request.refund_id)
        self.state = RefundState.REQUESTED
        self.why = ""
        self.attempt = 1
        self.amount: Money | None = None
        self.refused: RefundRefused | None = None
        #: It is decided whether money moves: from then on nothing can be cancelled.
        self.too_late_to_cancel = False
        self.issuing = False
        #: Something has happened at the provider since it was asked last.
        self.updated = False
        self.restocked = False
        self.mailed = False
        self._reminders = 0
        #: The last attempt that the customer was told of.
        self._emailed_attempt: int | None = None
        self._search_attributes = visibility.SearchAttributes()
        self.steps = StepRunner(self.show)
        subject = f"refund {self.ref.refund_id} of order {self.ref.order_id}"
        self.approval = Approval(self.steps, subject, self._describe)

    async def reserve(self) -> rm.ReserveRefundAnswer:
        """Set the amount aside, or find how far an earlier run came.

        What the order itself requested is not dropped when it is refused: an operator is asked.
        """
        step: Step[RefundRequest, rm.ReserveRefundAnswer] = RefundActivities.reserve_refund
        doing = "setting the amount aside"
        # Not given up: an attempt whose answer was lost may have set it aside.
        found = await self.steps.run_until_done(doing, step, self.request, retry_policies.RECORD)
        if isinstance(found, RefundRefused) and self.request.owed:
            found = await self._reserve_owed(found)
        if isinstance(found, RefundRefused):
            self._show_refused(found)
            return found
        self.refused = None
        self.state, self.attempt, self.amount = found.state, found.attempt, found.amount
        self.why = found.why
        if found.state is RefundState.SUCCEEDED:
            self._emailed_attempt = found.attempt
        self._search_attributes.set(search_attributes.CUSTOMER_ID.value_set(found.customer_id))
        self._search_attributes.publish()
        self.show()
        return found

    async def _reserve_owed(self, refused: RefundRefused) -> rm.ReserveRefundAnswer:
        """Set aside what is owed and was refused, as soon as that can be, unless an operator has
        settled it by hand.
        """
        step: Step[RefundRequest, rm.ReserveRefundAnswer] = RefundActivities.reserve_refund
        await self.add_note(REFUSED_EVENT, why=refused.message)
        pause = retry_policies.POLL_INTERVAL_FIRST
        while not refused.owes_nothing:
            self._show_refused(refused)
            operator, problem = self.steps.operator, refused.message
            if not await operator.wait_for_decision(step, problem, limit=pause):
                break
            pause = min(pause * 2, retry_policies.POLL_INTERVAL_LONGEST)
            try:
                found = await self.steps.run_beside(
                    "setting the amount aside", step, self.request, retry_policies.RECORD
                )
            except FailureError as error:
                found = RefundRefused(problem_of(error))
            if not isinstance(found, RefundRefused):
                operator.clear("has set the amount aside meanwhile")
                return found
            refused = found
        self.steps.operator.clear()
        return refused

    def _show_refused(self, refused: RefundRefused) -> None:
        self.refused = refused
        self.steps.set_doing(f"refused: {refused.message}")

    async def obtain_approval(self, terms: rm.RefundTerms) -> None:
        """Have the refund approved, if its terms ask for that; else its amount is free again."""
        # Also one that waited in an earlier run, whatever the shop's rules have become.
        needs_approval = terms.needs_approval or self.state is RefundState.AWAITING_APPROVAL
        if needs_approval and self.steps.cancel_request is None:
            await self.record_state(RefundState.AWAITING_APPROVAL, self.why)
            self.approval.asked_by = self.request.requested_by if terms.four_eyes else ""
            await self._wait_for_approval(terms.approval_timeout)
        # What was said until here counts, what comes later is refused: no await in between. A
        # decision came first: none is accepted after a cancellation.
        self.too_late_to_cancel = True
        decision, cancel = self.approval.decision, self.steps.cancel_request
        if isinstance(decision, Approve):
            await self.add_note("refund_approved", **sender_detail(decision), note=decision.note)
        match decision:
            case Reject(reason=reason):
                why = f"rejected by {sender(decision)}: {reason}"
                await self.record_state(RefundState.REJECTED, why)
            case _ if cancel is not None:
                await self.record_state(RefundState.CANCELLED, f"cancelled by {sender(cancel)}")
            case None if needs_approval:
                why = f"nobody decided within {terms.approval_timeout}"
                await self.record_state(RefundState.REJECTED, why)

    async def _wait_for_approval(self, limit: timedelta) -> None:
        """Wait for a decision, until ``limit``. What is owed is not dropped then: an operator is
        asked until one decides.
        """
        await self.approval.wait(limit, self._remind)
        pause = limit
        while self.request.owed and not self.approval.is_decided:
            problem = f"nobody has decided within {limit}, and it is owed: approve or reject it"
            self.steps.operator.flag("approval", problem)
            pause = min(pause * 2, max(limit, retry_policies.LONGEST_BETWEEN_REMINDERS))
            await self.approval.wait(pause, self._remind)
        self.steps.operator.clear()

    async def _remind(self) -> None:
        self._reminders += 1
        if self.amount is not None:
            waiting = rm.RefundAwaitingApproval(self.ref, self.amount, self._reminders)
            remind = NotificationActivities.send_refund_approval_reminder
            await side_steps.send_email(self.steps, "reminding the approver", remind, waiting)

    async def issue(self) -> None:
        """Have the provider give the money back, unless it was asked before. A refund that had
        arrived is read again.
        """
        self.too_late_to_cancel = self.issuing = True
        if self.state in NOT_YET_ISSUED or self.state is RefundState.ISSUING:
            await self._call_provider(f"giving {self.amount} back", RefundActivities.issue_refund)
        elif self.state is RefundState.SUCCEEDED:
            await self._call_provider("reading the refund", RefundActivities.check_refund)

    async def restock(self) -> None:
        """Put the pieces back on the shelf, whatever the bank does with the money."""
        if self.request.restock:
            step = RefundActivities.restock_refund
            doing = "putting the pieces back on the shelf"
            self.restocked = await self.steps.run_until_done(
                doing, step, self.ref, retry_policies.RECORD
            )

    async def wait_for_arrival(self) -> None:
        """Follow the money to the customer, then email that it is there. Updates are looked at
        until the end, for a bank can send back money that had arrived.
        """
        await self._wait_for_bank()
        while self.state is RefundState.SUCCEEDED:
            if self.updated:
                await self._call_provider("reading the refund", RefundActivities.check_refund)
                await self._wait_for_bank()
            elif self.attempt != self._emailed_attempt:
                await self._email_unless_updated()
            else:
                # An update that comes before the very end of the run is looked at too.
                await workflow.wait_condition(
                    lambda: workflow.all_handlers_finished() and self.steps.is_idle_beside
                )
                if not self.updated:
                    return

    async def record_state(self, state: RefundState, why: str = "") -> None:
        """Record in the refund book what was decided, then show it."""
        move = rm.RefundStateChange(self.ref, state, why)
        step = RefundActivities.record_refund_state
        await self.steps.run_until_done(f"recording: {state}", step, move, retry_policies.RECORD)
        self.state, self.why = state, why
        self.show()

    async def add_note(self, event: str, **detail: str) -> None:
        """Add a line to the order's history."""
        detail = {"refund_id": self.ref.refund_id, **detail}
        await side_steps.add_note(self.steps, self.ref.order_id, event, detail)

    def _describe(self) -> str:
        """What the refund is, in a few words, for whom a decision about it is refused."""
        cancelled = self.steps.cancel_request is not None and self.state in NOT_YET_ISSUED
        return "being cancelled" if cancelled else str(self.state)

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
        """Bring what the Web UI shows of the run up to date."""
        workflow.set_current_details(visibility.refund_details(self.progress()))
        needed = self.steps.operator.attention is not None
        self._search_attributes.set_needs_attention(needed=needed)
        self._search_attributes.publish()

    async def _wait_for_bank(self) -> None:
        """Read the refund until it has arrived; when it fails at the bank, wait for an operator."""
        pause = retry_policies.POLL_INTERVAL_FIRST
        while True:
            match self.state:
                case RefundState.PENDING:
                    if not await self._updated_within(pause):
                        pause = min(pause * 2, retry_policies.POLL_INTERVAL_LONGEST)
                    await self._call_provider("reading the refund", RefundActivities.check_refund)
                case RefundState.FAILED:
                    await self._issue_again()
                    pause = retry_policies.POLL_INTERVAL_FIRST
                case _:
                    return

    async def _email_unless_updated(self) -> None:
        """Email the customer, but not once there is an update: the email may be true no more."""
        email = asyncio.create_task(self._email_customer())
        await workflow.wait_condition(lambda: email.done() or self.updated)
        await cancel_and_wait(email)

    async def _email_customer(self) -> None:
        step: Step[rm.RefundAttempt, m.MailAnswer] = RefundActivities.send_refund_email
        doing = "telling the customer"
        self.steps.set_doing(doing)
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        self.mailed = await side_steps.send_email(self.steps, doing, step, attempt)
        self._emailed_attempt = self.attempt

    async def _updated_within(self, pause: timedelta) -> bool:
        return await self.steps.wait("waiting for the bank", lambda: self.updated, pause)

    async def _issue_again(self) -> None:
        """The customer has nothing: an operator has it tried again, or pays another way."""
        problem = f"the bank sent {self.amount} back to us: {self.why}"
        if self.why == FAILED_BY_DISPUTE:
            problem += (
                ". A dispute of the payment takes it for the customer: give nothing back another "
                "way while it is open. Once it is won, try again; once it is lost, give back what "
                "it has not taken, and resolve"
            )
        self.steps.set_doing("waiting for a person")
        if await self.steps.operator.wait_for_decision(RefundActivities.issue_refund, problem):
            self.attempt += 1
            doing = f"giving {self.amount} back again"
            await self._call_provider(doing, RefundActivities.issue_refund)
        else:
            await self._record_settled()

    async def _call_provider(
        self, doing: str, step: Step[rm.RefundAttempt, rm.RefundAttemptResult]
    ) -> None:
        """Have one conversation with the provider, until it is done or settled by hand."""
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        self.updated = False
        seen = await self.steps.compensate(doing, step, attempt, retry_policies.COMPENSATION)
        if seen is None:
            await self._record_settled()
        else:
            self.state, self.why = seen.state, seen.problem
            self.show()

    async def _record_settled(self) -> None:
        # What had arrived and could only not be read again needs no settling.
        if self.state is not RefundState.SUCCEEDED:
            disputed = self.state is RefundState.FAILED and self.why == FAILED_BY_DISPUTE
            why = TAKEN_BY_DISPUTE if disputed else "settled by hand"
            await self.record_state(RefundState.SETTLED, why)
