"""The contracts of the audit workflows: of all orders, which a schedule starts, and of one."""

from __future__ import annotations

from temporalio import workflow

from durable_orders.domain.audit.messages import AuditInput, AuditReport, Examination


@workflow.defn(name="Reconcile")
class ReconcileWorkflow:
    """Compares the card provider's books, ours and Temporal's runs once."""

    @workflow.run
    async def run(self, audit: AuditInput) -> AuditReport:
        """Audit from ``audit.position`` on and return the report of all of it."""
        raise NotImplementedError


@workflow.defn(name="Examine")
class ExaminationWorkflow:
    """Examines one order, which has ended; its id is
    ``durable_orders.domain.ids.examination_workflow_id(…)``.
    """

    @workflow.run
    async def run(self, examination: Examination) -> AuditReport:
        """Examine the order until nothing has changed since, and return the report."""
        raise NotImplementedError

    @workflow.signal
    def order_changed(self) -> None:
        """Something happened to the order at the card provider: look again."""
        raise NotImplementedError
