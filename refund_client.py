"""The typed door to refunds of paid orders: ask for one, decide about it, follow it.

    refunds = RefundClient(temporal, book)
    await refunds.request(RefundRequest("1001", "r1", lines=(("MUG", 1),), restock=True))
    answer = await refunds.result("1001", "r1")

What makes no sense is refused with an ``OrderClientError`` (``orders.refusals`` and
``orders.refund_refusals``). Beside those: ``orders.ids.InvalidOrderIdError`` and
``InvalidRefundIdError``, ``NoAnswerError`` (the database is away), ``connection.UnreachableError``.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Final

from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from connection import answered
from durable_orders.contracts import search_attributes, timeouts
from orders.ids import TASK_QUEUE, refund_of, refund_workflow_id
from orders.messages import CancelRequest
from orders.refund_messages import (
    RefundAnswer,
    RefundProgress,
    RefundRef,
    RequestAnswer,
    TroubledRefund,
)
from orders.refund_refusals import RefundRefusedError
from orders.refunds import FREED, RefundEntry, RefundRefused, RefundRequest, RefundState
from orders.refusals import NoWorkerError
from orders.requests import Approve, OperatorWord, Reject, Resolve, RetryNow
from refund_runs import RefundRuns, raise_refusal, raise_silence
from runs import CALL, OVER, asked_by
from workflows.refund import RefundWorkflow

#: How many runs are asked side by side.
_AT_ONCE: Final = 20
_TROUBLED: Final = (
    f"WorkflowType = 'Refund' AND {search_attributes.NEEDS_ATTENTION.name} = true "
    "AND ExecutionStatus = 'Running'"
)


class RefundClient(RefundRuns):
    """Talks to the runs of refunds in Temporal, and to their book for what has ended."""

    async def request(
        self, request: RefundRequest, wait: timedelta = CALL, *, request_id: str | None = None
    ) -> RefundProgress:
        """Have money given back. The answer says what was set aside for it; the rest follows.
        ``request_id``, of whoever asked first, is in the memo of its run.

        The same request again is the same refund, however far it came. Raises
        ``RefundRefusedError``; ``NoWorkerError`` when nobody answers within ``wait``: the request
        is kept, and asking again with the same id is safe.
        """
        order_id, refund_id = request.order_id, request.refund_id
        run_id = refund_workflow_id(order_id, refund_id)
        update_id = str(uuid.uuid4())  # the same Update, however often it has to be sent

        async def ask(left: timedelta) -> RequestAnswer:
            start = WithStartWorkflowOperation(
                RefundWorkflow.run,
                request,
                id=run_id,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                # Not the run but the book says what a refund is: another may carry it on.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                task_timeout=timeouts.WORKFLOW_TASK,
                static_summary=_summary(order_id, refund_id),
                memo=asked_by(request_id),
            )
            return await self._temporal.execute_update_with_start_workflow(
                RefundWorkflow.request,
                request,
                start_workflow_operation=start,
                id=update_id,
                rpc_timeout=left,
            )

        try:
            with answered(self._temporal):
                answer = await self._turns.take(run_id, ask, wait)
        except TimeoutError:
            raise NoWorkerError(order_id, "refund", wait) from None  # those before it got no answer
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise_silence(error, order_id, "refund", wait)
        except WorkflowUpdateFailedError as error:
            raise_refusal(error)
            raise
        if isinstance(answer, RefundRefused):
            raise RefundRefusedError(answer.message)
        return answer

    async def status(self, order_id: str, refund_id: str) -> RefundProgress:
        """Where the refund stands: asked of its run, or read from the book when none answers.

        Raises ``UnknownRefundError``.
        """
        told = await self._told(order_id, refund_id)
        if isinstance(told, RefundProgress):
            return told
        entry = await self._entry(order_id, refund_id)
        ref = RefundRef(order_id, refund_id)
        return RefundProgress(ref, entry.state, told, amount=entry.amount, why=entry.why)

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        """All refunds of an order, oldest first, from the book."""
        return await self._book.refunds_of(order_id)

    async def waiting(self, limit: int = 100) -> tuple[RefundEntry, ...]:
        """Refunds that wait for a person to let them pass, the oldest first, from the book."""
        return await self._book.waiting(limit)

    async def attention(self, limit: int = 100) -> tuple[TroubledRefund, ...]:
        """Refunds that need a person, newest first: what fails, since when, and what can help.

        Each run is asked; where no worker answers, what Temporal lists has to do.
        """
        with answered(self._temporal):
            runs = self._temporal.list_workflows(_TROUBLED, limit=limit)
            ids = [run.id async for run in runs]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def asked(order_id: str, refund_id: str) -> TroubledRefund | None:
            async with at_once:
                told = await self._told(order_id, refund_id)
            if told == OVER:
                return None  # ended since: Temporal's lists lag behind a little
            ref = RefundRef(order_id, refund_id)
            if not isinstance(told, RefundProgress):
                return TroubledRefund(ref, told)
            if told.attention is None:
                return None  # mended since it was listed
            return TroubledRefund(ref, told.doing, told.state, told.amount, told.attention)

        listed = filter(None, map(refund_of, ids))
        return tuple(filter(None, await asyncio.gather(*(asked(*one) for one in listed))))

    async def approve(self, order_id: str, refund_id: str, by: str, note: str = "") -> None:
        """Let a refund pass that waits for a person. Raises ``NotWaitingError``."""
        await self._ask(order_id, refund_id, RefundWorkflow.approve, Approve(by, note), "approval")

    async def reject(self, order_id: str, refund_id: str, by: str, reason: str = "") -> None:
        """Stop a refund that waits for a person. Raises ``NotWaitingError``."""
        decision = Reject(by, reason)
        await self._ask(order_id, refund_id, RefundWorkflow.reject, decision, "rejection")

    async def cancel(self, order_id: str, refund_id: str, by: str = "customer") -> RefundProgress:
        """Take a request back before money moves. Raises ``TooLateError``."""
        request = CancelRequest(by)
        return await self._ask(order_id, refund_id, RefundWorkflow.cancel, request, "cancellation")

    async def retry_now(self, order_id: str, refund_id: str, by: str = "operator") -> None:
        """Try what keeps failing again at once, a refund that failed at the bank too.

        Raises ``NotOperableError``.
        """
        await self._operate(order_id, refund_id, RetryNow(by))

    async def resolve(self, order_id: str, refund_id: str, note: str, by: str = "operator") -> None:
        """Say that the customer was paid back another way. Raises ``NotOperableError``."""
        await self._operate(order_id, refund_id, Resolve(note, by))

    async def look_again(self, order_id: str, refund_id: str) -> None:
        """Something happened to the refund at the provider: have it read, also after its end.

        For webhooks; ``orders.ids.refund_of_key`` tells which refund one is about. Raises
        ``UnknownRefundError``.
        """
        entry = await self._entry(order_id, refund_id)
        if entry.state in FREED or entry.state is RefundState.SETTLED:
            return
        with answered(self._temporal):
            await self._temporal.start_workflow(
                RefundWorkflow.run,
                entry.request,
                id=refund_workflow_id(order_id, refund_id),
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                task_timeout=timeouts.WORKFLOW_TASK,
                static_summary=_summary(order_id, refund_id),
                start_signal="refund_updated",
                rpc_timeout=CALL,
            )

    async def result(self, order_id: str, refund_id: str) -> RefundAnswer:
        """How the refund ended, once it has. Raises ``UnknownRefundError`` or
        ``RefundEndedError`` when Temporal has forgotten its run.
        """
        async with self._open(order_id, refund_id) as run:
            return await run.result()

    async def _operate(self, order_id: str, refund_id: str, word: OperatorWord) -> None:
        await self._ask(order_id, refund_id, RefundWorkflow.operate, word, "operator's word")


def _summary(order_id: str, refund_id: str) -> str:
    return f"Refund {refund_id} of order {order_id}"
