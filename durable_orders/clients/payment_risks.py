"""Client of what is disputed of payments: have it read again, decide about it, list it.

    risks = PaymentRiskClient(await connect(), PostgresDisputeRepository(database))
    await risks.look_again("1001")
    for each in await risks.attention():
        ...

Raises ``InvalidOrderIdError`` and other ``InvalidTextError``, ``UnreachableError`` when Temporal is
away, ``NoAnswerError`` when the database is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import NoRunError, StoreNeededError, UnreachableError
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import CALL, RUN_ENDED, WorkflowCalls, query_each
from durable_orders.contracts.payment_risk import PaymentRiskWorkflow
from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.contracts.timeouts import WORKFLOW_TASK
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.disputes.listing import RISK_ID
from durable_orders.domain.disputes.messages import (
    PaymentRiskInput,
    PaymentRiskNeedingAttention,
    PaymentRiskOutcome,
    PaymentRiskProgress,
)
from durable_orders.domain.disputes.ports import DisputeRepository, RecordedConcern
from durable_orders.domain.ids import (
    ACTOR_ID,
    PAYMENT_ID,
    TASK_QUEUE,
    checked_order_id,
    payment_risk_of,
    payment_risk_workflow_id,
)
from durable_orders.domain.listing import checked_limit
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.domain.texts import REMARK

_NEED_ATTENTION: Final = (
    f"WorkflowType = 'PaymentRisk' AND {NEEDS_ATTENTION.name} = true"
    " AND ExecutionStatus = 'Running'"
)


class PaymentRiskClient:
    """Client of the runs that follow disputes, early fraud warnings and reviews.

    Without ``disputes``, the store of disputes, it has them read again and lists runs that need a
    person; what needs the store raises ``StoreNeededError``.
    """

    def __init__(self, temporal: Client, disputes: DisputeRepository | None = None) -> None:
        self._temporal = temporal
        self._disputes = disputes

    async def risks_updated(self, order_id: str) -> None:
        """Have what is disputed of the order's payment read again: start its run, or wake it."""
        with translate_rpc_errors(self._temporal):
            await self._temporal.start_workflow(
                PaymentRiskWorkflow.run,
                PaymentRiskInput(order_id),
                id=payment_risk_workflow_id(order_id),
                task_queue=TASK_QUEUE,
                # Not a run but the books say what is open: another run may follow it on.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                task_timeout=WORKFLOW_TASK,
                static_summary=f"Disputes and warnings of order {order_id}",
                start_signal="risks_updated",
                rpc_timeout=CALL,
            )

    async def find_order(self, payment_id: str) -> str | None:
        """Return the order that is paid with this payment. Needs the store."""
        store = self._store("finding the order of a payment")
        return await store.find_order(PAYMENT_ID.check(payment_id))

    async def payment_changed(self, payment_id: str) -> str:
        """As ``risks_updated``, for a webhook, which names the payment; returns the order's id.

        Needs the store. Raises ``NoSuchOrderError`` when the payment is none of ours.
        """
        order_id = await self.find_order(payment_id)
        if order_id is None:
            raise NoSuchOrderError("", f"no order is paid with {payment_id}")
        await self.risks_updated(order_id)
        return order_id

    async def look_again(self, order_id: str) -> None:
        """As ``risks_updated``, for people: needs the store, and raises ``NoSuchOrderError``."""
        await self._store("reading disputes again").risks_of(checked_order_id(order_id))
        await self.risks_updated(order_id)

    async def acknowledge(
        self, order_id: str, concern_id: str, by: str = "operator", note: str = ""
    ) -> PaymentRisks:
        """Decide that nothing more is to be done about a dispute, warning or review (its id).

        No person is asked about it any more; an order that is held for a warning or a review goes
        on. Needs the store. Raises ``NoSuchOrderError``, and ``RefusedError`` when the order has no
        such concern.
        """
        store = self._store("acknowledging a dispute")
        ACTOR_ID.check(by)
        REMARK.check(note)
        now = datetime.now(UTC)
        ids = checked_order_id(order_id), RISK_ID.check(concern_id)
        known = await store.acknowledge(*ids, by, note, now)
        await self.risks_updated(order_id)
        return known

    # -- following ---------------------------------------------------------------------------------

    async def risks_of(self, order_id: str) -> PaymentRisks | None:
        """Return what is recorded of the order's payment. Needs the store."""
        return await self._store("listing disputes").risks_of(checked_order_id(order_id))

    async def open_concerns(self, limit: int = 100) -> tuple[RecordedConcern, ...]:
        """Return what is open on all orders, by deadline. Needs the store."""
        return await self._store("listing disputes").open_concerns(checked_limit(limit))

    async def status(self, order_id: str) -> PaymentRiskProgress | str:
        """Return what the run says is open on the order's payment, or why there is no answer."""
        calls, missing = self._calls(order_id), "nothing: no run follows its payment"
        try:
            return await calls.query_status(PaymentRiskWorkflow.status, missing=missing)
        except UnreachableError:
            return "unknown: Temporal does not answer"

    async def attention(self, limit: int = 100) -> tuple[PaymentRiskNeedingAttention, ...]:
        """Return payments about which a person has to do something, newest run first.

        Each run is queried; where no worker answers, what Temporal lists has to do.
        """
        with translate_rpc_errors(self._temporal):
            runs = self._temporal.list_workflows(_NEED_ATTENTION, limit=checked_limit(limit))
            ids = [run.id async for run in runs]
        return await query_each(filter(None, map(payment_risk_of, ids)), self._needs_attention)

    async def _needs_attention(self, order_id: str) -> PaymentRiskNeedingAttention | None:
        told = await self.status(order_id)
        if told == RUN_ENDED:
            return None  # ended since: Temporal's lists lag behind a little
        if not isinstance(told, PaymentRiskProgress):
            return PaymentRiskNeedingAttention(order_id, told)
        if told.attention is None:
            return None  # answered since it was listed
        return PaymentRiskNeedingAttention(order_id, told.doing, told.attention)

    def _calls(self, order_id: str) -> WorkflowCalls[PaymentRiskWorkflow, PaymentRiskOutcome]:
        async def explain_missing_run() -> NoRunError:
            return NoRunError(order_id)

        id_ = payment_risk_workflow_id(order_id)
        return WorkflowCalls(
            self._temporal,
            self._temporal.get_workflow_handle_for(PaymentRiskWorkflow.run, id_),
            order_id=order_id,
            limiter=UpdateLimiter(),
            explain_missing_run=explain_missing_run,
        )

    def _store(self, request: str) -> DisputeRepository:
        if self._disputes is None:
            raise StoreNeededError(
                request, "store of disputes", "PaymentRiskClient(temporal, disputes=…)"
            )
        return self._disputes
