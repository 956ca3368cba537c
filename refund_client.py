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
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, NoReturn, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    QueryRejectCondition,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.workflow import UpdateMethodMultiParam

from connection import UnreachableError, answered
from orders.ids import TASK_QUEUE, refund_workflow_id
from orders.messages import CancelRequest
from orders.refund_messages import RefundAnswer, RefundProgress, RefundRef
from orders.refund_ports import RefundBook
from orders.refund_refusals import RefundEndedError, RefundRefusedError, UnknownRefundError
from orders.refunds import FREED, RefundEntry, RefundRefused, RefundRequest, RefundState
from orders.refusals import (
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    TooLateError,
)
from orders.requests import Approve, OperatorWord, Reject, Resolve, RetryNow
from runs import CALL, NO_RUN, asked_by
from workflows import policies
from workflows.failures import NOT_OPERABLE, NOT_WAITING, OTHER_CONTENTS, TOO_LATE
from workflows.refund import RefundWorkflow

In = TypeVar("In")
Out = TypeVar("Out")
Handle = WorkflowHandle[RefundWorkflow, RefundAnswer]

_QUERY: Final = timedelta(seconds=2)
_REFUSALS: Final[dict[str | None, type[OrderClientError]]] = {
    TOO_LATE: TooLateError,
    NOT_WAITING: NotWaitingError,
    NOT_OPERABLE: NotOperableError,
    OTHER_CONTENTS: RefundRefusedError,
}


class RefundClient:
    """Talks to the runs of refunds in Temporal, and to their book for what has ended."""

    def __init__(self, temporal: Client, book: RefundBook) -> None:
        self._temporal = temporal
        self._book = book

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
        start = WithStartWorkflowOperation(
            RefundWorkflow.run,
            request,
            id=run_id,
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            # Not the run but the book says what a refund is: it may be carried on by another run.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=policies.WORKFLOW_TASK,
            static_summary=_summary(order_id, refund_id),
            memo=asked_by(request_id),
        )
        try:
            with answered(self._temporal):
                answer = await self._temporal.execute_update_with_start_workflow(
                    RefundWorkflow.request,
                    request,
                    start_workflow_operation=start,
                    rpc_timeout=wait,
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            _raise_silence(error, order_id, "refund", wait)
        except WorkflowUpdateFailedError as error:
            _raise_refusal(error)
            raise
        if isinstance(answer, RefundRefused):
            raise RefundRefusedError(answer.message)
        return answer

    async def status(self, order_id: str, refund_id: str) -> RefundProgress:
        """Where the refund stands: asked of its run, or read from the book when none answers.

        Raises ``UnknownRefundError``.
        """
        try:
            with answered(self._temporal):
                return await self._run(order_id, refund_id).query(
                    RefundWorkflow.status,
                    reject_condition=QueryRejectCondition.NOT_OPEN,
                    rpc_timeout=_QUERY,
                )
        except (WorkflowQueryRejectedError, WorkflowQueryFailedError, UnreachableError):
            doing = "nothing runs, or no worker answers"
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            doing = "nothing: it has no run any more"
        entry = await self._entry(order_id, refund_id)
        ref = RefundRef(order_id, refund_id)
        return RefundProgress(ref, entry.state, doing, amount=entry.amount, why=entry.why)

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        """All refunds of an order, oldest first, from the book."""
        return await self._book.refunds_of(order_id)

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
                task_timeout=policies.WORKFLOW_TASK,
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

    # -- Temporal, in few words --------------------------------------------------------------------

    def _run(self, order_id: str, refund_id: str) -> Handle:
        return self._temporal.get_workflow_handle_for(
            RefundWorkflow.run, refund_workflow_id(order_id, refund_id)
        )

    @contextlib.asynccontextmanager
    async def _open(self, order_id: str, refund_id: str) -> AsyncIterator[Handle]:
        """The refund's run, for a call of it; raises why when none takes that call."""
        try:
            with answered(self._temporal):
                yield self._run(order_id, refund_id)
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            entry = await self._entry(order_id, refund_id)
            raise RefundEndedError(order_id, refund_id, entry.state) from None

    async def _entry(self, order_id: str, refund_id: str) -> RefundEntry:
        entry = await self._book.find(order_id, refund_id)
        if entry is None:
            raise UnknownRefundError(order_id, refund_id)
        return entry

    async def _operate(self, order_id: str, refund_id: str, word: OperatorWord) -> None:
        await self._ask(order_id, refund_id, RefundWorkflow.operate, word, "operator's word")

    async def _ask(
        self,
        order_id: str,
        refund_id: str,
        update: UpdateMethodMultiParam[[RefundWorkflow, In], Out],
        argument: In,
        asked: str,
    ) -> Out:
        try:
            async with self._open(order_id, refund_id) as run:
                return await run.execute_update(update, argument, rpc_timeout=CALL)
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            _raise_silence(error, order_id, asked, CALL)
        except WorkflowUpdateFailedError as error:
            _raise_refusal(error)
            raise


def _summary(order_id: str, refund_id: str) -> str:
    return f"Refund {refund_id} of order {order_id}"


def _raise_silence(
    error: WorkflowUpdateRPCTimeoutOrCancelledError, order_id: str, asked: str, waited: timedelta
) -> NoReturn:
    if isinstance(error.__cause__, asyncio.CancelledError):
        raise error.__cause__ from None  # the SDK hides that our own task is cancelled
    raise NoWorkerError(order_id, asked, waited) from None


def _raise_refusal(error: WorkflowUpdateFailedError) -> None:
    cause = error.cause
    if isinstance(cause, ApplicationError) and (refusal := _REFUSALS.get(cause.type)):
        raise refusal(cause.message) from None
