"""Calls to the workflows of refunds."""

from __future__ import annotations

from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import (
    OrderClientError,
    RefundEndedError,
    RefundRefusedError,
    UnknownRefundError,
    UnreachableError,
)
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import CALL, WorkflowCalls, status_name
from durable_orders.contracts.refund import RefundWorkflow
from durable_orders.domain.ids import refund_workflow_id
from durable_orders.domain.refunds.messages import RefundAnswer, RefundProgress
from durable_orders.domain.refunds.ports import RefundBook
from durable_orders.domain.refunds.refund import UNFINISHED, RefundEntry, RefundRefused

#: What takes the place of a status when Temporal knows no run of the refund.
NO_RUN_ANY_MORE: Final = "nothing: it has no run any more"


class RefundWorkflowCalls:
    """Calls to the workflows of refunds, by order id and refund id.

    Where Temporal knows of no open run, the refund store says why, if there is one.
    """

    def __init__(
        self,
        temporal: Client,
        refunds: RefundBook | None = None,
        *,
        limiter: UpdateLimiter | None = None,
    ) -> None:
        self._temporal = temporal
        self._refunds = refunds
        self._limiter = limiter or UpdateLimiter()

    def of(self, order_id: str, refund_id: str) -> WorkflowCalls[RefundWorkflow, RefundAnswer]:
        """Calls to the workflow of this refund."""
        id_ = refund_workflow_id(order_id, refund_id)
        return WorkflowCalls(
            self._temporal,
            self._temporal.get_workflow_handle_for(RefundWorkflow.run, id_),
            order_id=order_id,
            limiter=self._limiter,
            explain_missing_run=lambda: self.explain_missing_run(order_id, refund_id),
        )

    async def query_status(self, order_id: str, refund_id: str) -> RefundProgress | str:
        """Return what the refund's run says of its status, or the reason why it does not."""
        calls = self.of(order_id, refund_id)
        try:
            return await calls.query_status(RefundWorkflow.status, missing=NO_RUN_ANY_MORE)
        except UnreachableError:
            return "unknown: Temporal does not answer"

    async def explain_missing_run(self, order_id: str, refund_id: str) -> OrderClientError:
        """Return why no open run carries this refund. Raises ``UnknownRefundError``."""
        if self._refunds is not None:
            entry = await self.entry(self._refunds, order_id, refund_id)
            is_stranded = entry.state in UNFINISHED
            return RefundEndedError(order_id, refund_id, entry.state, is_stranded=is_stranded)
        calls = self.of(order_id, refund_id)
        run = await calls.describe()
        if run is None:
            return UnknownRefundError(order_id, refund_id)
        if run.status is not WorkflowExecutionStatus.COMPLETED:
            return RefundEndedError(order_id, refund_id, f"not known, {status_name(run.status)}")
        with translate_rpc_errors(self._temporal):
            answer = await calls.handle.result(rpc_timeout=CALL)
        if isinstance(answer, RefundRefused):
            return RefundRefusedError(answer.message)
        return RefundEndedError(order_id, refund_id, answer.state)

    async def entry(self, refunds: RefundBook, order_id: str, refund_id: str) -> RefundEntry:
        """Return the refund as the store has it. Raises ``UnknownRefundError``."""
        entry = await refunds.find(order_id, refund_id)
        if entry is None:
            raise UnknownRefundError(order_id, refund_id)
        return entry
