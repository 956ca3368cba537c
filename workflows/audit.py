"""The audit workflows: compare what the card provider, our books and Temporal say, of all orders
or of one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from activities.audit import ReconciliationActivities
    from durable_orders.domain.audit.messages import (
        AuditInput,
        AuditPage,
        AuditPosition,
        AuditReport,
        DiscrepancySettlement,
        Examination,
        OrderExamination,
        PageReview,
    )
    from durable_orders.domain.audit.model import AuditTerms, Discrepancy, without_grace
    from durable_orders.domain.ids import examination_workflow_id
    from workflows.own_id import raise_unless_continued, raise_unless_own_id
    from workflows.retry_policies import AUDIT, EXAMINATION_PAUSE, EXAMINED_WITHIN


@workflow.defn(name="Reconcile")
class ReconcileWorkflow:
    """Page through everything once; repair what is safe, flag the rest. Started by a schedule.

    Two audits at once do no harm. One that fails (a neighbour is away for long) leaves nothing
    half-done: the next one begins anew.
    """

    @workflow.run
    async def run(self, audit: AuditInput) -> AuditReport:
        """Audit from ``audit.position`` on, page by page, and return the report of all of it."""
        raise_unless_continued(goes_on=replace(audit, position=None, report=AuditReport()) != audit)
        position = audit.position or AuditPosition(workflow.now())
        report = audit.report
        for _ in range(audit.pages_per_run):
            workflow.set_current_details(f"**{position.scan}** — {report}")
            page = await self._review(AuditPage(position, audit.terms))
            report = report.reviewed(page.examined)
            for found in page.discrepancies:
                report = await settle(found, position.as_of, audit.terms, report)
            if (following := position.next(page.cursor)) is None:
                return report
            position = following
            if workflow.info().is_continue_as_new_suggested():
                break
        return workflow.continue_as_new(replace(audit, position=position, report=report))

    async def _review(self, page: AuditPage) -> PageReview:
        options: ActivityConfig = {**AUDIT, "summary": f"comparing {page.position.scan}"}
        return await workflow.execute_activity_method(
            ReconciliationActivities.review_page, page, **options
        )


@workflow.defn(name="Examine")
class ExaminationWorkflow:
    """Look at one order at once, because something happened to its payment after its end.

    It is looked at again after each signal.
    """

    @workflow.init
    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._changed = True

    @workflow.run
    async def run(self, examination: Examination) -> AuditReport:  # noqa: ARG002 - by __init__
        """Examine the order until nothing has changed since, and return the report of all of it."""
        raise_unless_own_id(lambda: examination_workflow_id(self._examination.order_id))
        report = AuditReport()
        while self._changed:
            self._changed = False
            report = await self._examine(report)
            await workflow.wait_condition(workflow.all_handlers_finished)
        return report

    @workflow.signal
    def order_changed(self) -> None:
        """Something happened to the order at the card provider: look again."""
        self._changed = True

    async def _examine(self, report: AuditReport) -> AuditReport:
        """Look once, and settle what is found; a refund that is being made is waited for."""
        order_id, terms = self._examination.order_id, without_grace(self._examination.terms)
        until = workflow.now() + EXAMINED_WITHIN
        step = ReconciliationActivities.examine_order
        options: ActivityConfig = {**AUDIT, "summary": f"examining order {order_id}"}
        while True:
            as_of = workflow.now()
            look = OrderExamination(order_id, as_of, terms)
            seen = await workflow.execute_activity_method(step, look, **options)
            if not seen.is_moving or as_of >= until:
                break
            await workflow.sleep(EXAMINATION_PAUSE)
        report = report.reviewed(1)
        for found in seen.discrepancies:
            report = await settle(found, as_of, terms, report)
        return report


async def settle(
    found: Discrepancy, as_of: datetime, terms: AuditTerms, report: AuditReport
) -> AuditReport:
    """Settle one discrepancy; a failure to do so must not stop the others."""
    step = ReconciliationActivities.settle_discrepancy
    settlement = DiscrepancySettlement(found, as_of, terms)
    doing = f"{found.remedy}: {found.kind} of order {found.order_id}"
    options: ActivityConfig = {**AUDIT, "summary": doing}
    try:
        settled = await workflow.execute_activity_method(step, settlement, **options)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.warning("%s failed: %s", doing, error.cause)
        return report.settled(found.kind, "failed")
    for revealed in settled.revealed:
        report = report.settled(revealed.kind, revealed.outcome)
    return report.settled(found.kind, settled.outcome)
