"""Client of the audit: schedule it, run it once now.

    audits = AuditClient(temporal)
    await audits.schedule(timedelta(hours=1))
    report = await audits.run_now()

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
from temporalio.common import WorkflowIDConflictPolicy

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.contracts.audit import ReconcileWorkflow
from durable_orders.domain.audit.messages import AUDIT_ID, AuditInput, AuditReport
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.ids import TASK_QUEUE

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
