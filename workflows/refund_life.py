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
    from durable_orders.contracts import search_attributes
    from orders import messages as m
    from orders import refund_messages as rm
    from orders.money import Money
    from orders.refunds import UNDECIDED, RefundRefused, RefundRequest, RefundState
    from orders.requests import Approve, Reject
    from workflows import policies, visibility
    from workflows.attention import problem_of
    from workflows.ending import dropped
    from workflows.steps import Step, Steps


class RefundLife:
    """One refund under way. Its stages change it; ``RefundWorkflow`` shows it."""

    def __init__(self, request: RefundRequest) -> None:
        self.request = request
        self.ref = rm.RefundRef(request.order_id, request.refund_id)
        self.steps = Steps(self.show)
        self.state = RefundState.REQUESTED
        self.why = ""
        self.attempt = 1
        self.amount: Money | None = None
        self.refused: RefundRefused | None = None
        self.decision: Approve | Reject | None = None
        self.awaits_decision = False
        #: Whether it is decided if money moves: from then on nothing can be cancelled.
        self.past_return = False
        self.paying = False
        #: Something has happened at the provider since it was asked last.
        self.news = False
        #: The last attempt of which the customer has been told.
        self.told: int | None = None
        self.restocked = False
        self.mailed = False
        self._flagged = False

    async def reserve(self) -> rm.ReserveRefundAnswer:
        """Set the amount aside, or find how far an earlier run came."""
        step: Step[RefundRequest, rm.ReserveRefundAnswer] = RefundActivities.reserve_refund
        doing = "setting the amount aside"
        # Not given up: an attempt whose answer was lost may have set it aside.
        found = await self.steps.finish(doing, step, self.request, policies.RECORD)
        if isinstance(found, RefundRefused):
            self.refused = found
            self.steps.now(f"refused: {found.message}")
            return found
        self.state, self.attempt, self.amount = found.state, found.attempt, found.amount
        if found.state is RefundState.SUCCEEDED:
            self.told = found.attempt
        workflow.upsert_search_attributes(
            [search_attributes.CUSTOMER_ID.value_set(found.customer_id)]
        )
        self.show()
        return found

    async def pass_or_free(self, terms: rm.RefundTerms) -> None:
        """Let the refund pass, or give its amount free."""
        if terms.needs_approval and self.steps.cancel is None:
            await self.move_to(RefundState.AWAITING_APPROVAL)
            self.awaits_decision = True
            self.steps.now("waiting for approval")
            await self._decided(terms.approval_timeout)
            self.awaits_decision = False
        # What was said until here counts, what comes later is refused: no await in between.
        self.past_return = True
        if self.steps.cancel is not None:
            await self.move_to(RefundState.CANCELLED, f"cancelled by {self.steps.cancel.by}")
            return
        match self.decision:
            case Reject(by=by, reason=reason):
                await self.move_to(RefundState.REJECTED, f"rejected by {by}: {reason}")
            case Approve(by=by, note=note):
                await self.note("refund_approved", by=by, note=note)
            case None if terms.needs_approval:
                why = f"nobody decided within {terms.approval_timeout}"
                await self.move_to(RefundState.REJECTED, why)

    async def _decided(self, limit: timedelta) -> None:
        """Wait for a decision, or for somebody who thinks better of it; half-way the approver is
        reminded.
        """
        half = limit / 2
        if await self._told_within(half):
            return
        reminder = asyncio.create_task(self._remind())
        await self._told_within(half)
        await dropped(reminder)

    async def _told_within(self, pause: timedelta) -> bool:
        def told() -> bool:
            return self.decision is not None or self.steps.cancel is not None

        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(told, timeout=pause)
        return told()

    async def _remind(self) -> None:
        if self.amount is None:
            return
        waiting = rm.RefundWaiting(self.ref, self.amount)
        remind = NotificationActivities.send_refund_approval_reminder
        with contextlib.suppress(FailureError):  # no mail ever delays or fails a refund
            await self.steps.aside("reminding the approver", remind, waiting, policies.MAIL)

    async def pay_back(self) -> None:
        """Have the provider asked, unless it was before; what had arrived is read again."""
        self.past_return = self.paying = True
        if self.state in UNDECIDED or self.state is RefundState.ISSUING:
            await self._ask(f"giving {self.amount} back", RefundActivities.issue_refund)
        elif self.state is RefundState.SUCCEEDED:
            await self._ask("reading the refund", RefundActivities.check_refund)

    async def restock(self) -> None:
        """Put the pieces back on the shelf, whatever the bank does with the money."""
        if self.request.restock:
            step = RefundActivities.restock_refund
            doing = "putting the pieces back on the shelf"
            self.restocked = await self.steps.finish(doing, step, self.ref, policies.RECORD)

    async def see_it_arrive(self) -> None:
        """Follow the money to the customer and say that it is there; whatever is heard meanwhile is
        looked at, for a bank can send back what had arrived.
        """
        await self._until_it_arrives()
        while self.state is RefundState.SUCCEEDED:
            if self.news:
                await self._ask("reading the refund", RefundActivities.check_refund)
                await self._until_it_arrives()
            elif self.attempt != self.told:
                await self._tell_unless_news_come()
            else:
                # What is said to the run until its very end is heard.
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self.news:
                    return

    async def move_to(self, state: RefundState, why: str = "") -> None:
        """Write what was decided into the book, then show it."""
        move = rm.RefundMove(self.ref, state, why)
        step = RefundActivities.record_refund_state
        await self.steps.finish(f"recording: {state}", step, move, policies.RECORD)
        self.state, self.why = state, why
        self.show()

    async def note(self, event: str, **detail: str) -> None:
        """Add a line to the order's history."""
        note = m.Note(self.ref.order_id, event, {"refund_id": self.ref.refund_id, **detail})
        step = OrderBookActivities.record_note
        await self.steps.aside("writing it down", step, note, policies.RECORD)

    def progress(self) -> rm.RefundProgress:
        return rm.RefundProgress(
            refund=self.ref,
            state=self.state,
            doing=self.steps.doing,
            amount=self.amount,
            why=self.why,
            attention=self.steps.attention,
        )

    def show(self) -> None:
        """Bring what the Web UI shows up to date."""
        workflow.set_current_details(visibility.refund_details(self.progress()))
        needs_attention = self.steps.attention is not None
        if needs_attention != self._flagged:
            self._flagged = needs_attention
            flag = search_attributes.NEEDS_ATTENTION.value_set(needs_attention)
            workflow.upsert_search_attributes([flag])

    async def _until_it_arrives(self) -> None:
        """A refund that fails at the bank waits for a person."""
        pause = policies.LOOK_AGAIN_FIRST
        while True:
            match self.state:
                case RefundState.PENDING:
                    if not await self._hears_within(pause):
                        pause = min(pause * 2, policies.LOOK_AGAIN_LONGEST)
                    await self._ask("reading the refund", RefundActivities.check_refund)
                case RefundState.FAILED:
                    await self._pay_back_again()
                    pause = policies.LOOK_AGAIN_FIRST
                case _:
                    return

    async def _tell_unless_news_come(self) -> None:
        """What would be told may be true no more then."""
        mail = asyncio.create_task(self._mail())
        await workflow.wait_condition(lambda: mail.done() or self.news)
        await dropped(mail)

    async def _mail(self) -> None:
        """Tell the customer. No mail ever delays or fails a refund."""
        step: Step[rm.RefundAttempt, m.MailAnswer] = RefundActivities.send_refund_email
        doing = "telling the customer"
        self.steps.now(doing)
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        try:
            answer = await self.steps.aside(doing, step, attempt, policies.MAIL)
        except FailureError as error:
            if was_cancelled(error):
                return
            workflow.logger.warning("no mail was sent: %s", problem_of(error))
            self.mailed = False
        else:
            self.mailed = isinstance(answer, m.MailSent)
        self.told = self.attempt

    async def _hears_within(self, pause: timedelta) -> bool:
        self.steps.now("waiting for the bank")
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self.news, timeout=pause)
        return self.news

    async def _pay_back_again(self) -> None:
        """The customer has nothing: a person has it tried again, or pays another way."""
        problem = f"the bank sent {self.amount} back to us: {self.why}"
        self.steps.now("waiting for a person")
        if await self.steps.decided(RefundActivities.issue_refund, problem):
            self.attempt += 1
            await self._ask(f"giving {self.amount} back again", RefundActivities.issue_refund)
        else:
            await self._settled_by_hand()

    async def _ask(self, doing: str, step: Step[rm.RefundAttempt, rm.RefundSeen]) -> None:
        """One conversation with the provider, whatever it takes."""
        attempt = rm.RefundAttempt(self.ref, self.attempt)
        self.news = False
        seen = await self.steps.undo(doing, step, attempt, policies.UNDO)
        if seen is None:
            await self._settled_by_hand()
        else:
            self.state, self.why = seen.state, seen.problem
            self.show()

    async def _settled_by_hand(self) -> None:
        # What had arrived and could only not be read again needs no settling.
        if self.state is not RefundState.SUCCEEDED:
            await self.move_to(RefundState.SETTLED, "settled by hand")
