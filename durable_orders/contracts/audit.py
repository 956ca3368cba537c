"""The contract of the audit workflow, which a schedule starts."""

from __future__ import annotations

from temporalio import workflow

from durable_orders.domain.audit.messages import AuditInput, AuditReport


@workflow.defn(name="Reconcile")
class ReconcileWorkflow:
    """Compares the card provider's books, ours and Temporal's runs once."""

    @workflow.run
    async def run(self, audit: AuditInput) -> AuditReport:
        """Audit from ``audit.position`` on and return the report of all of it."""
        raise NotImplementedError
