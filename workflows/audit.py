"""The audit workflow: compare what the card provider, our books and Temporal say."""

from __future__ import annotations

from dataclasses import replace

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
        PageReview,
    )
    from durable_orders.domain.audit.model import Discrepancy
    from workflows.retry_policies import AUDIT


@workflow.defn(name="Reconcile")
class ReconcileWorkflow:
    """Page through everything once; repair what is safe, flag the rest. Started by a schedule.

    Two audits at once do no harm. One that fails (a neighbour is away for long) leaves nothing
    half-done: the next one begins anew.
    """

    @workflow.run
    async def run(self, audit: AuditInput) -> AuditReport:
        """Audit from ``audit.position`` on, page by page, and return the report of all of it."""
        position = audit.position or AuditPosition(workflow.now())
        report = audit.report
        for _ in range(audit.pages_per_run):
            workflow.set_current_details(f"**{position.scan}** — {report}")
            page = await self._review(AuditPage(position, audit.terms))
            report = report.reviewed(page.examined)
            for found in page.discrepancies:
                report = await self._settle(found, position, audit, report)
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

    async def _settle(
        self, found: Discrepancy, at: AuditPosition, audit: AuditInput, report: AuditReport
    ) -> AuditReport:
        """Settle one discrepancy; a failure to do so must not stop the others."""
        step = ReconciliationActivities.settle_discrepancy
        settlement = DiscrepancySettlement(found, at.as_of, audit.terms)
        doing = f"{found.remedy}: {found.kind} of order {found.order_id}"
        options: ActivityConfig = {**AUDIT, "summary": doing}
        try:
            settled = await workflow.execute_activity_method(step, settlement, **options)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("%s failed: %s", doing, error.cause)
            return report.settled(found.kind, "failed")
        return report.settled(found.kind, settled.outcome)
