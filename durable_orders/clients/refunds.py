"""Client of refunds of paid orders: request one, decide about it, follow it.

    refunds = RefundClient(await connect())
    await refunds.request(RefundRequest("1001", "r1", lines=(("MUG", 1),), restock=True))
    answer = await refunds.result("1001", "r1")

With the refund store it also lists refunds: ``RefundClient(temporal, refunds)``.

Requests that make no sense are refused with an ``OrderClientError``, drawn in ``errors``. The
client also raises ``InvalidTextError`` for an id or another text that is none
(``InvalidOrderIdError``, ``InvalidRefundIdError``), ``NoAnswerError`` (the database is away), and
``UnreachableError`` when Temporal is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.workflow import UpdateMethodMultiParam

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import (
    NoWorkerError,
    RefundBeingMadeError,
    RefundRefusedError,
    StoreNeededError,
    UndecidedError,
)
from durable_orders.clients.refund_calls import NO_RUN_ANY_MORE, RefundWorkflowCalls
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import (
    CALL,
    RUN_ENDED,
    TRY_IN_FLIGHT,
    NoAnswerYet,
    StartOptions,
    query_each,
    request_memo,
    status_name,
)
from durable_orders.contracts.refund import RefundWorkflow
from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.contracts.timeouts import WORKFLOW_TASK
from durable_orders.domain.activity_messages import Attention, CancelRequest
from durable_orders.domain.ids import (
    TASK_QUEUE,
    UNDO_REFUND_ID,
    checked_order_id,
    checked_refund_id,
    is_orders_own_refund,
    refund_of,
    refund_workflow_id,
)
from durable_orders.domain.listing import checked_limit
from durable_orders.domain.operators.commands import LOOK_AGAIN
from durable_orders.domain.refunds.calculation import OF_THE_UNDO
from durable_orders.domain.refunds.messages import (
    RefundAnswer,
    RefundNeedingAttention,
    RefundOutcome,
    RefundProgress,
    RefundRef,
)
from durable_orders.domain.refunds.ports import RefundBook
from durable_orders.domain.refunds.refund import (
    NEVER_ISSUED,
    UNFINISHED,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
    UnfinishedRefund,
)
from durable_orders.domain.senders import sent
from durable_orders.domain.texts import check_texts
from durable_orders.domain.workflow_messages import (
    Approve,
    OperatorCommand,
    Reject,
    Resolve,
    RetryNow,
)

#: Refunds that are read at once.
_PAGE: Final = 1_000
_STRANDED: Final = "finding refunds without a run"
_OPEN: Final = "WorkflowType = 'Refund' AND ExecutionStatus = 'Running'"

In = TypeVar("In")
Out = TypeVar("Out")

_NEED_ATTENTION: Final = (
    f"WorkflowType = 'Refund' AND {NEEDS_ATTENTION.name} = true AND ExecutionStatus = 'Running'"
)


class RefundClient:
    """Client of refunds.

    Without ``refunds``, the refund store, it requests, decides about and follows refunds; what
    needs the store raises ``StoreNeededError``. ``limiter`` is shared with the other clients of
    this process.
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
        self._calls = RefundWorkflowCalls(temporal, refunds, limiter=limiter)

    async def request(
        self, request: RefundRequest, wait: timedelta = CALL, *, request_id: str | None = None
    ) -> RefundProgress:
        """Request a refund. The answer says what was set aside for it; the rest follows.
        ``request_id``, of the first request, is in the memo of its run.

        The same request again is the same refund, however far it came. Raises
        ``RefundRefusedError``; ``NoWorkerError`` when there is no answer within ``wait``: the
        request is kept, and asking again with the same id is safe.
        """
        order_id, refund_id = request.order_id, request.refund_id
        if refund_id == UNDO_REFUND_ID:
            raise RefundRefusedError(OF_THE_UNDO)
        if is_orders_own_refund(refund_id):
            raise RefundRefusedError(
                f"the id {refund_id} is that of a refund which an order starts by itself: "
                "choose another"
            )
        check_texts(request)

        def start() -> WithStartWorkflowOperation[RefundWorkflow, RefundAnswer]:
            return WithStartWorkflowOperation(
                RefundWorkflow.run,
                request,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                **_start_options(order_id, refund_id, request_id),
            )

        calls = self._calls.of(order_id, refund_id)
        answer = await calls.update_with_start(
            start, RefundWorkflow.request, request, asked="refund", wait=wait
        )
        if isinstance(answer, RefundRefused):
            raise RefundRefusedError(answer.message)
        return answer

    # -- following ---------------------------------------------------------------------------------

    async def status(self, order_id: str, refund_id: str) -> RefundProgress:
        """Return where the refund stands: what its run says, or what the store knows when no run
        answers. Without the store: how its run ended, ``NoWorkerError`` when it only does not
        answer. Raises ``UnknownRefundError``.
        """
        told = await self._calls.query_status(order_id, refund_id)
        if isinstance(told, RefundProgress):
            return told
        if self._refunds is None:
            return await self._status_of_last_run(order_id, refund_id, told)
        entry = await self._calls.entry(self._refunds, order_id, refund_id)
        ref = RefundRef(order_id, refund_id)
        is_gone = told in {RUN_ENDED, NO_RUN_ANY_MORE} and entry.state in UNFINISHED
        stranded = await self.stranded_of(order_id) if is_gone else {}
        return RefundProgress(
            ref,
            entry.state,
            told,
            amount=entry.amount,
            why=entry.why,
            attention=stranded.get(refund_id),
        )

    async def _status_of_last_run(self, order_id: str, refund_id: str, told: str) -> RefundProgress:
        calls = self._calls.of(order_id, refund_id)
        run = await calls.describe()
        if run is not None and run.status is WorkflowExecutionStatus.RUNNING:
            raise NoWorkerError(order_id, "status of the refund", CALL)
        if run is not None and run.status is WorkflowExecutionStatus.COMPLETED:
            answer = await self.result(order_id, refund_id)
            if isinstance(answer, RefundOutcome):
                return RefundProgress(
                    answer.refund, answer.state, told, amount=answer.amount, why=answer.why
                )
        raise await self._calls.explain_missing_run(order_id, refund_id)

    async def result(self, order_id: str, refund_id: str) -> RefundAnswer:
        """Return how the refund ended, once it has. Raises ``UnknownRefundError`` or
        ``RefundEndedError`` when Temporal has forgotten its run.
        """
        async with self._calls.of(order_id, refund_id).open_run() as run:
            return await run.result()

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        """Return all refunds of an order, oldest first. Needs the store."""
        return await self._store("listing refunds").refunds_of(checked_order_id(order_id))

    async def waiting(self, limit: int = 100) -> tuple[RefundEntry, ...]:
        """Return refunds that wait for approval, the oldest first. Needs the store."""
        return await self._store("listing refunds").waiting(checked_limit(limit))

    async def attention(self, limit: int = 100) -> tuple[RefundNeedingAttention, ...]:
        """Return refunds that need a person, newest first: what fails, since when, what helps. With
        the store, first those whose run is gone although they are not done.

        Each run is queried; where no worker answers, what Temporal lists has to do.
        """
        checked_limit(limit)
        stranded = () if self._refunds is None else await self.stranded(limit)
        with translate_rpc_errors(self._temporal):
            runs = self._temporal.list_workflows(_NEED_ATTENTION, limit=limit)
            ids = [run.id async for run in runs]
        found = await query_each(filter(None, map(refund_of, ids)), self._needs_attention)
        return (*stranded, *found)[:limit]

    async def stranded(self, limit: int = 100) -> tuple[RefundNeedingAttention, ...]:
        """Return refunds that are not done and whose run is gone. ``look_again`` starts it again.
        Needs the store.
        """
        checked_limit(limit)
        store, found = self._store(_STRANDED), list[UnfinishedRefund]()
        now, after = datetime.now(UTC), ("", "")
        while page := await store.unfinished(now, _PAGE, after=after):
            found += page
            after = page[-1].order_id, page[-1].refund_id
        if not found:
            return ()
        with translate_rpc_errors(self._temporal):
            runs = self._temporal.list_workflows(_OPEN)
            listed = {run.id async for run in runs}
        missing = (
            one for one in found if refund_workflow_id(one.order_id, one.refund_id) not in listed
        )
        # Temporal's list lags behind: each is looked at itself.
        return (await query_each(missing, self._stranded))[:limit]

    async def stranded_of(self, order_id: str) -> Mapping[str, Attention]:
        """Return an order's refunds that are not done and whose run is gone, by their ids, and what
        is to be done about each. Needs the store.
        """
        store, now = self._store(_STRANDED), datetime.now(UTC)
        found = await store.unfinished(now, _PAGE, order_id=checked_order_id(order_id))
        stranded = await query_each(found, self._stranded)
        return {one.refund.refund_id: one.attention for one in stranded if one.attention}

    async def _stranded(self, one: UnfinishedRefund) -> RefundNeedingAttention | None:
        store, ref = self._store(_STRANDED), RefundRef(one.order_id, one.refund_id)
        run = await self._calls.of(one.order_id, one.refund_id).describe()
        if run is not None and run.status is WorkflowExecutionStatus.RUNNING:
            return None
        # Once a run has ended, what is read afterwards is final.
        entry = await store.find(one.order_id, one.refund_id)
        if entry is None or entry.state not in UNFINISHED:
            return None
        why = "it has no run" if run is None else f"its run is {status_name(run.status)}"
        problem = f"it is {entry.state}, and nothing carries it on: {why}"
        since = one.since.astimezone(UTC).isoformat("T", "seconds")
        attention = Attention("refund", since, problem, can=(LOOK_AGAIN,))
        return RefundNeedingAttention(ref, f"nothing: {why}", entry.state, entry.amount, attention)

    async def _needs_attention(self, listed: tuple[str, str]) -> RefundNeedingAttention | None:
        told, ref = await self._calls.query_status(*listed), RefundRef(*listed)
        if told == RUN_ENDED:
            return None  # ended since: Temporal's lists lag behind a little
        if not isinstance(told, RefundProgress):
            return RefundNeedingAttention(ref, told)
        if told.attention is None:
            return None  # mended since it was listed
        return RefundNeedingAttention(ref, told.doing, told.state, told.amount, told.attention)

    # -- decisions ---------------------------------------------------------------------------------

    async def approve(
        self, order_id: str, refund_id: str, by: str, note: str = "", *, actor: str = ""
    ) -> None:
        """Approve a refund that waits for it. Raises ``NotWaitingError``, and
        ``SecondPersonNeededError`` when whoever requested it may not.
        """
        decision = sent(Approve(by, note, actor))
        await self._update(order_id, refund_id, RefundWorkflow.approve, decision, "approval")

    async def reject(
        self, order_id: str, refund_id: str, by: str, reason: str = "", *, actor: str = ""
    ) -> None:
        """Stop a refund that waits for approval. Raises ``NotWaitingError``."""
        decision = sent(Reject(by, reason, actor))
        await self._update(order_id, refund_id, RefundWorkflow.reject, decision, "rejection")

    async def cancel(
        self, order_id: str, refund_id: str, by: str = "customer", *, actor: str = ""
    ) -> RefundProgress:
        """Take a request back before money moves. Raises ``TooLateError``."""
        request = sent(CancelRequest(by, actor))
        return await self._update(
            order_id, refund_id, RefundWorkflow.cancel, request, "cancellation"
        )

    async def retry_now(
        self, order_id: str, refund_id: str, by: str = "operator", *, actor: str = ""
    ) -> None:
        """Try the step that keeps failing again at once, a refund that failed at the bank too.

        Raises ``NotOperableError``, also when it came too late, or ``UndecidedError`` while a try
        is in flight.
        """
        await self._operate(order_id, refund_id, sent(RetryNow(by, actor)))

    async def resolve(
        self, order_id: str, refund_id: str, note: str, by: str = "operator", *, actor: str = ""
    ) -> None:
        """Take the refund as paid another way; ``note`` says how. Raises as ``retry_now``."""
        command = sent(Resolve(note, by, actor=actor))
        await self._operate(order_id, refund_id, command)

    async def look_again(self, order_id: str, refund_id: str) -> bool:
        """Have the refund read from the provider, also after its end; one that is not done and
        whose run is gone goes on from where it was. False when nothing of it is left to be read.
        Always safe. Needs the store.

        For webhooks; ``refund_of_key`` tells which refund one is about. Raises
        ``UnknownRefundError``, and ``RefundBeingMadeError`` while the order's own run makes it.
        """
        store = self._store("reading a refund again")
        ids = checked_order_id(order_id), checked_refund_id(refund_id)
        entry = await self._calls.entry(store, *ids)
        if entry.state in NEVER_ISSUED or entry.state is RefundState.SETTLED:
            return False
        if entry.is_undo and entry.state is RefundState.ISSUING and entry.attempt == 1:
            # Its run would mail the customer what the order's run says in its own mail.
            raise RefundBeingMadeError(*ids)
        with translate_rpc_errors(self._temporal):
            await self._temporal.start_workflow(
                RefundWorkflow.run,
                entry.request,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal="refund_updated",
                rpc_timeout=CALL,
                **_start_options(order_id, refund_id),
            )
        return True

    async def _operate(self, order_id: str, refund_id: str, word: OperatorCommand) -> None:
        asked = "operator's word"
        calls = self._calls.of(order_id, refund_id)
        answer = await calls.update(RefundWorkflow.operate, word, asked=asked)
        if isinstance(answer, NoAnswerYet):
            raise UndecidedError(order_id, asked, CALL, problem=TRY_IN_FLIGHT)

    async def _update(
        self,
        order_id: str,
        refund_id: str,
        update: UpdateMethodMultiParam[[RefundWorkflow, In], Out],
        argument: In,
        asked: str,
    ) -> Out:
        """Return the refund's answer to an Update. Raises ``NoWorkerError`` when it is not there
        in time.
        """
        calls = self._calls.of(order_id, refund_id)
        answer = await calls.update(update, argument, asked=asked)
        if isinstance(answer, NoAnswerYet):
            raise NoWorkerError(order_id, asked, CALL)
        return answer

    def _store(self, request: str) -> RefundBook:
        if self._refunds is None:
            raise StoreNeededError(request, "refund store", "RefundClient(temporal, refunds=…)")
        return self._refunds


def _start_options(order_id: str, refund_id: str, request_id: str | None = None) -> StartOptions:
    return {
        "id": refund_workflow_id(order_id, refund_id),
        "task_queue": TASK_QUEUE,
        # Not the run but the store says what a refund is: another run may carry it on.
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "task_timeout": WORKFLOW_TASK,
        "static_summary": f"Refund {refund_id} of order {order_id}",
        "static_details": None,
        "search_attributes": None,
        "memo": request_memo(request_id),
    }
