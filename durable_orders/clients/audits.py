"""Client of the audit: schedule it, run it once now, have it look at one order.

    audits = AuditClient(temporal)
    await audits.schedule(timedelta(hours=1))
    report = await audits.run_now()
    await audits.examine("1001")

Its findings are in the store: ``Findings``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.contracts.audit import ExaminationWorkflow, ReconcileWorkflow
from durable_orders.contracts.timeouts import WORKFLOW_TASK
from durable_orders.domain.audit.messages import AUDIT_ID, AuditInput, AuditReport, Examination
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.ids import TASK_QUEUE, examination_workflow_id

_CALL: Final = timedelta(seconds=10)
#: The next audit looks back far enough: one that was missed need not be made up for.
_CATCH_UP: Final = timedelta(minutes=10)
_SUMMARY: Final = "Audit: the card provider, our books and the runs"


class AuditClient:
    """Client of the audit workflow and its schedule."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def schedule(self, every: timedelta, terms: AuditTerms | None = None) -> bool:
        """Schedule an audit ``every`` so often; return whether the schedule is new.

        An existing one is changed to this, and stays paused when it was paused.
        """
        wanted = _scheduled(every, terms or AuditTerms())
        with translate_rpc_errors(self._temporal):
            try:
                await self._temporal.create_schedule(AUDIT_ID, wanted, rpc_timeout=_CALL)
            except ScheduleAlreadyRunningError:
                pass
            else:
                return True

            def changed(known: ScheduleUpdateInput) -> ScheduleUpdate:
                wanted.state = known.description.schedule.state
                return ScheduleUpdate(wanted)

            await self._temporal.get_schedule_handle(AUDIT_ID).update(changed, rpc_timeout=_CALL)
        return False

    async def run_now(self, terms: AuditTerms | None = None) -> AuditReport:
        """Audit once and return the report. An audit begun by an earlier call is joined."""
        with translate_rpc_errors(self._temporal):
            run = await self._temporal.start_workflow(
                ReconcileWorkflow.run,
                AuditInput(terms or AuditTerms()),
                id=AUDIT_ID,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=_SUMMARY,
                rpc_timeout=_CALL,
            )
            return await run.result()

    async def examine(self, order_id: str) -> None:
        """Have one order looked at by the audit's rules at once, because something happened to its
        payment after its end. What is found is a finding.

        Returns once Temporal has the request. An examination that is under way looks again.
        """
        with translate_rpc_errors(self._temporal):
            await self._temporal.start_workflow(
                ExaminationWorkflow.run,
                Examination(order_id),
                id=examination_workflow_id(order_id),
                task_queue=TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal="order_changed",
                task_timeout=WORKFLOW_TASK,
                static_summary=f"Examination of order {order_id}",
                rpc_timeout=_CALL,
            )


def _scheduled(every: timedelta, terms: AuditTerms) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ReconcileWorkflow.run,
            AuditInput(terms),
            id=AUDIT_ID,
            task_queue=TASK_QUEUE,
            static_summary=_SUMMARY,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
    )
