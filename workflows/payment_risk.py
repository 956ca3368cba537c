"""The workflow that follows disputes, early fraud warnings and reviews of an order's payment."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.exceptions import is_cancelled_exception as was_cancelled

with workflow.unsafe.imports_passed_through():
    from activities.disputes import DisputeActivities
    from activities.notifications import NotificationActivities
    from durable_orders.contracts import search_attributes
    from durable_orders.contracts.order import OrderWorkflow
    from durable_orders.domain.activity_messages import Attention
    from durable_orders.domain.disputes import messages as dm
    from durable_orders.domain.ids import (
        payment_risk_workflow_id,
        refund_workflow_id,
        workflow_id,
    )
    from durable_orders.domain.refunds.refund import RefundRequest
    from workflows import retry_policies, side_steps, visibility
    from workflows.own_id import raise_unless_own_id
    from workflows.refund import RefundWorkflow
    from workflows.shielding import shield_from_cancellation
    from workflows.step_runner import Step, StepRunner


@workflow.defn(name="PaymentRisk")
class PaymentRiskWorkflow:
    """Read the payment's disputes, warnings and reviews, record them, tell the order's own run, and
    wait for the next change, until nothing is open any more.

    It can be run again at any time: the books say what is open and what was done about it. A
    cancellation of the run only ends the following; the audit starts it again.
    """

    @workflow.init
    def __init__(self, risk: dm.PaymentRiskInput) -> None:
        so_far = risk.so_far or dm.PaymentRiskSnapshot()
        self._order_id = risk.order_id
        self._goes_on = risk.so_far is not None
        self._updated = True
        self._cancelled = False
        self._told = so_far.told
        self._reminded, self._refunds = so_far.reminded, so_far.refunds
        #: When this run has started a refund: its own run needs a moment to set it aside.
        self._started: dict[str, datetime] = {}
        self._attention = so_far.attention
        self._reviewed: dm.RisksReviewed | None = None
        self._search_attributes = visibility.SearchAttributes()
        if risk.so_far is not None:
            self._search_attributes.restore_attention()
        self._steps = StepRunner(self._show)

    @workflow.run
    async def run(self, risk: dm.PaymentRiskInput) -> dm.PaymentRiskOutcome:  # noqa: ARG002 - by __init__
        """Follow the payment until nothing is open on it any more."""
        return await shield_from_cancellation(
            self._follow(), on_cancel=self._on_cancel, on_end=lambda: None
        )

    async def _follow(self) -> dm.PaymentRiskOutcome:
        raise_unless_own_id(lambda: payment_risk_workflow_id(self._order_id), goes_on=self._goes_on)
        while True:
            self._updated = False
            reviewed = await self._review()
            if isinstance(reviewed, dm.NothingToFollow):
                self._steps.set_doing(f"nothing: {reviewed.message}")
                return dm.PaymentRiskOutcome(self._order_id)
            await self._tell_order(reviewed.revision)
            begun = await self._start_refund(reviewed.refund)
            await self._remind(reviewed)
            self._ask(reviewed.needs)
            if not (reviewed.concerns or reviewed.needs or begun):
                self._steps.set_doing("nothing more to do")
                # A signal that comes before the very end of the run is looked at too.
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self._updated:
                    return self._outcome(reviewed)
            else:
                await self._wait(reviewed, begun=begun)
            if self._cancelled:
                return self._outcome(reviewed)
            if workflow.info().get_current_history_length() > retry_policies.LONG_RISK_HISTORY:
                self._continue_as_new()

    # -- what changes and what is open ---------------------------------------------------------

    @workflow.signal
    def risks_updated(self) -> None:
        """A dispute, warning or review has changed at the provider: read them again."""
        self._updated = True

    @workflow.query
    def status(self) -> dm.PaymentRiskProgress:
        """What is open on the payment and what is being done about it."""
        reviewed = self._reviewed
        return dm.PaymentRiskProgress(
            order_id=self._order_id,
            doing=self._steps.doing,
            payment_id=reviewed.payment_id if reviewed else "",
            concerns=reviewed.concerns if reviewed else (),
            attention=self._steps.operator.attention or self._attention,
        )

    def _on_cancel(self) -> None:
        self._cancelled = True

    # -- the steps -----------------------------------------------------------------------------

    async def _review(self) -> dm.ReviewRisksAnswer:
        step: Step[dm.PaymentRiskRef, dm.ReviewRisksAnswer]
        step = DisputeActivities.review_payment_risks
        lately = workflow.now() - retry_policies.RISK_REFUND_POLL
        never = lately - timedelta(seconds=1)
        refunds = tuple(id_ for id_ in self._refunds if self._started.get(id_, never) <= lately)
        ref = dm.PaymentRiskRef(self._order_id, refunds)
        answer = await self._steps.run_until_done(
            "reading disputes, warnings and reviews", step, ref, retry_policies.READ_RISKS
        )
        if isinstance(answer, dm.RisksReviewed):
            if self._reviewed is None:
                customer = search_attributes.CUSTOMER_ID.value_set(answer.customer_id)
                self._search_attributes.set(customer)
            self._reviewed = answer
        return answer

    async def _tell_order(self, revision: int) -> None:
        """Have the order's own run, if one is open, look at its payment: the books have changed.

        It is told of each revision once; and once when this run starts, because the run before may
        have ended between recording and telling.
        """
        if revision == self._told:
            return
        run = workflow.get_external_workflow_handle_for(
            OrderWorkflow.run, workflow_id(self._order_id)
        )
        try:
            await run.signal(OrderWorkflow.payment_updated, None)
        except FailureError as error:
            if was_cancelled(error):
                raise
            workflow.logger.info("the order has no open run: %s", error)
        self._told = revision

    async def _start_refund(self, request: RefundRequest | None) -> bool:
        """Start the refund's run, a workflow of its own, abandoned; whether there is one to start.

        The refund book has each refund id once, however often its run is started.
        """
        if request is None:
            return False
        if request.refund_id in self._started:
            return True
        self._started[request.refund_id] = workflow.now()
        self._steps.set_doing(f"starting refund {request.refund_id}")
        self._refunds = (*self._refunds, request.refund_id)
        try:
            await workflow.start_child_workflow(
                RefundWorkflow.run,
                request,
                id=refund_workflow_id(self._order_id, request.refund_id),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"Refund {request.refund_id} of order {self._order_id}",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("refund %s is under way already", request.refund_id)
        return True

    async def _remind(self, reviewed: dm.RisksReviewed) -> None:
        """Remind the approver of disputes that are due soon, of each one once."""
        soon = workflow.now() + retry_policies.REMIND_BEFORE_DUE
        for dispute_id, due_by in reviewed.deadlines:
            if dispute_id in (*self._reminded, *reviewed.reminded):
                continue
            if workflow.now() < due_by <= soon:
                self._reminded = (*self._reminded, dispute_id)
                due = dm.DisputeDue(self._order_id, dispute_id, due_by)
                remind = NotificationActivities.send_dispute_reminder
                await side_steps.send_email(self._steps, "reminding the approver", remind, due)

    def _ask(self, needs: tuple[str, ...]) -> None:
        """Ask a person for what is needed; no longer when nothing is."""
        if not needs:
            self._attention = None
        else:
            problem = "; ".join(needs)
            if self._attention is None or self._attention.problem != problem:
                since = workflow.now().isoformat("T", "seconds")
                self._attention = Attention("payment_risk", since, problem)
        self._show()

    async def _wait(self, reviewed: dm.RisksReviewed, *, begun: bool) -> None:
        """Wait for a signal; without one, look again by itself now and then."""
        doing = "waiting for a person" if reviewed.needs else "waiting for the bank"
        await self._steps.wait(
            doing,
            lambda: self._updated or self._cancelled,
            self._pause(reviewed, begun=begun),
        )

    def _pause(self, reviewed: dm.RisksReviewed, *, begun: bool) -> timedelta:
        """How long to wait at most: until the approver is reminded, or evidence is due."""
        now = workflow.now()
        pauses = [
            retry_policies.RISK_REFUND_POLL if begun else retry_policies.POLL_INTERVAL_LONGEST
        ]
        for _, due_by in reviewed.deadlines:
            reminded_at = due_by - retry_policies.REMIND_BEFORE_DUE
            pauses += [at - now for at in (reminded_at, due_by) if at > now]
            if reminded_at <= now < due_by:
                pauses.append(retry_policies.RISK_POLL_WHEN_DUE)
        return max(min(pauses), timedelta(seconds=1))

    # -- the run -------------------------------------------------------------------------------

    def _outcome(self, reviewed: dm.RisksReviewed) -> dm.PaymentRiskOutcome:
        return dm.PaymentRiskOutcome(self._order_id, reviewed.payment_id, reviewed.withdrawn)

    def _continue_as_new(self) -> None:
        """Go on in a new run, which begins with a look: no signal is lost in between."""
        self._search_attributes.discard_unpublished()
        so_far = dm.PaymentRiskSnapshot(
            told=self._told,
            reminded=self._reminded,
            refunds=self._refunds,
            attention=self._attention,
        )
        workflow.continue_as_new(dm.PaymentRiskInput(self._order_id, so_far))

    def _show(self) -> None:
        """Bring what the Web UI shows of the run up to date."""
        progress = self.status()
        workflow.set_current_details(visibility.payment_risk_details(progress))
        self._search_attributes.set_needs_attention(needed=progress.attention is not None)
        self._search_attributes.publish()
