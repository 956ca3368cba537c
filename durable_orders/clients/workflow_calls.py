"""Calls to workflows, with Temporal's errors mapped to ours; orders and refunds share them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from typing import Final, Generic, NoReturn, TypedDict, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import QueryRejectCondition, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.types import MethodSyncOrAsyncNoParam
from temporalio.workflow import UpdateMethodMultiParam

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import (
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    RefundRefusedError,
    SecondPersonNeededError,
    TooLateError,
)
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.contracts.error_types import (
    NOT_OPERABLE,
    NOT_WAITING,
    OTHER_CONTENTS,
    REFUND_REFUSED,
    SECOND_PERSON_NEEDED,
    TOO_LATE,
)
from durable_orders.domain.ids import REQUEST_ID

K = TypeVar("K")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
W = TypeVar("W")
R = TypeVar("R")

#: One call of Temporal. A worker that is alive answers in milliseconds.
CALL: Final = timedelta(seconds=10)
_QUERY: Final = timedelta(seconds=2)
#: No caller waits for longer; and the SDK's transport panics when it adds what is no time any more.
_LONGEST_WAIT: Final = timedelta(days=1)
#: How many workflows are queried at the same time.
_AT_ONCE: Final = 20

#: Why it takes long to hear whether an operator's word came in time.
TRY_IN_FLIGHT: Final = "a try of the step is in flight: the history tells whether it came in time"

#: What takes the place of a status when the run has ended.
RUN_ENDED: Final = "nothing: its run is over"
#: Temporal's answers when a workflow has no run, or one that has ended.
NO_RUN: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.ABORTED})
#: Temporal's answers to a query that no worker takes.
NO_WORKER: Final = frozenset(
    {RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION}
)

_REFUSALS: Final[dict[str | None, type[OrderClientError]]] = {
    TOO_LATE: TooLateError,
    NOT_WAITING: NotWaitingError,
    SECOND_PERSON_NEEDED: SecondPersonNeededError,
    NOT_OPERABLE: NotOperableError,
    OTHER_CONTENTS: RefundRefusedError,
    REFUND_REFUSED: RefundRefusedError,
}


class StartOptions(TypedDict):
    """The options that a workflow is started with, whichever call starts it."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    task_timeout: timedelta
    static_summary: str
    static_details: str | None
    search_attributes: TypedSearchAttributes | None
    memo: dict[str, str] | None


class NoAnswerYet:
    """The workflow has accepted an Update, and takes longer to answer than its caller waited."""


def bounded(wait: timedelta) -> timedelta:
    """A wait that a call can be given: for the SDK, none at all would be for ever."""
    return min(max(wait, timedelta(milliseconds=1)), _LONGEST_WAIT)


class WorkflowCalls(Generic[W, R]):
    """Calls to one workflow.

    ``explain_missing_run`` returns the error to raise when it has no open run; ``order_id`` is the
    order that it works for.
    """

    def __init__(
        self,
        temporal: Client,
        handle: WorkflowHandle[W, R],
        *,
        order_id: str,
        limiter: UpdateLimiter,
        explain_missing_run: Callable[[], Awaitable[OrderClientError]],
    ) -> None:
        self._temporal = temporal
        self.handle = handle
        self._order_id = order_id
        self._limiter = limiter
        self._explain_missing_run = explain_missing_run

    @contextlib.asynccontextmanager
    async def open_run(self) -> AsyncIterator[WorkflowHandle[W, R]]:
        """Hand out the handle for calls of the open run; raise why when there is none."""
        try:
            with translate_rpc_errors(self._temporal):
                yield self.handle
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            raise await self._explain_missing_run() from None

    async def describe(self) -> WorkflowExecutionDescription | None:
        """Return what Temporal knows of the latest run, None when it knows none."""
        try:
            with translate_rpc_errors(self._temporal):
                return await self.handle.describe(rpc_timeout=CALL)
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            return None

    async def query_status(
        self, status: MethodSyncOrAsyncNoParam[W, T], *, missing: str
    ) -> T | str:
        """Return what the open run answers, or the reason why it does not: ``missing`` when there
        is no run, ``RUN_ENDED`` when it has ended. Raises ``UnreachableError``.
        """
        try:
            with translate_rpc_errors(self._temporal):
                try:
                    return await self.handle.query(
                        status,
                        # A run that has ended would have to be replayed by a worker to answer.
                        reject_condition=QueryRejectCondition.NOT_OPEN,
                        rpc_timeout=_QUERY,
                    )
                except RPCError as error:
                    if error.status not in NO_WORKER:
                        raise
                    return "unknown: no worker answers"
        except WorkflowQueryFailedError:
            return "unknown: the worker could not tell, see its log"
        except WorkflowQueryRejectedError:
            return RUN_ENDED
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            return missing

    async def update(
        self,
        update: UpdateMethodMultiParam[[W, In], Out],
        argument: In,
        *,
        asked: str,
        id_: str | None = None,
        wait: timedelta = CALL,
    ) -> Out | NoAnswerYet:
        """Return the workflow's answer to an Update; ``NoAnswerYet`` when it has accepted, and
        takes longer than ``wait`` to answer. ``asked`` names the request for error messages.

        Raises why the workflow has not accepted: ``NoWorkerError``, a refusal, or why there is no
        open run.
        """
        wait = bounded(wait)
        now = asyncio.get_running_loop().time
        until = now() + wait.total_seconds()
        id_ = id_ or str(uuid.uuid4())  # the same Update, however often it has to be sent
        async with self._mapped_update_errors(asked, wait):
            started = await self._limiter.send(
                self.handle.id,
                lambda left: self.handle.start_update(
                    update,
                    argument,
                    id=id_,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    rpc_timeout=left,
                ),
                wait,
            )
            left = timedelta(seconds=max(until - now(), 0.001))
            try:
                return await started.result(rpc_timeout=left)
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                raise_if_cancelled(error)
                return NoAnswerYet()

    async def update_with_start(
        self,
        start: Callable[[], WithStartWorkflowOperation[W, R]],
        update: UpdateMethodMultiParam[[W, In], Out],
        argument: In,
        *,
        asked: str,
        wait: timedelta = CALL,
    ) -> Out:
        """Start the workflow unless it runs, and return its answer to an Update.

        Raises as ``update``, and ``NoWorkerError`` when there is no answer within ``wait``.
        """
        wait = bounded(wait)
        id_ = str(uuid.uuid4())  # the same Update, however often it has to be sent

        async def send(left: timedelta) -> Out:
            with told_once(start()) as operation:
                return await self._temporal.execute_update_with_start_workflow(
                    update,
                    argument,
                    start_workflow_operation=operation,
                    id=id_,
                    rpc_timeout=left,
                )

        async with self._mapped_update_errors(asked, wait):
            return await self._limiter.send(self.handle.id, send, wait)

    @contextlib.asynccontextmanager
    async def _mapped_update_errors(self, asked: str, wait: timedelta) -> AsyncIterator[None]:
        try:
            async with self.open_run():
                yield
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise_if_cancelled(error)
            raise NoWorkerError(self._order_id, asked, wait) from None
        except TimeoutError:  # the Updates before it got no answer
            raise NoWorkerError(self._order_id, asked, wait) from None
        except RPCError as error:
            # Temporal takes no Update for a run whose workflow task several workers have lost.
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            raise NoWorkerError(self._order_id, asked, wait) from None
        except WorkflowUpdateFailedError as error:
            await self._raise_refusal(error)

    async def _raise_refusal(self, failed: WorkflowUpdateFailedError) -> NoReturn:
        """Raise why an Update was refused, or was overtaken by the end of the run."""
        cause = failed.cause
        if isinstance(cause, ApplicationError) and (refusal := _REFUSALS.get(cause.type)):
            raise refusal(cause.message) from None
        raise await self._explain_missing_run() from failed


async def query_each(keys: Iterable[K], query: Callable[[K], Awaitable[T | None]]) -> tuple[T, ...]:
    """Query a workflow for each key, some at the same time; leave out what is None."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def limited(key: K) -> T | None:
        async with at_once:
            return await query(key)

    answers = await asyncio.gather(*map(limited, keys))
    return tuple(answer for answer in answers if answer is not None)


@contextlib.contextmanager
def told_once(
    operation: WithStartWorkflowOperation[W, R],
) -> Iterator[WithStartWorkflowOperation[W, R]]:
    """The operation for the call in the block, which raises its error; it is not logged too.

    The SDK puts most errors into the operation as well, for callers that ask it for the run: of one
    that nobody has asked for asyncio logs a traceback.
    """
    started = asyncio.ensure_future(operation.workflow_handle())
    started.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        yield operation
    finally:
        started.cancel()  # it would wait for ever for the errors that the SDK does not put there


def status_name(status: WorkflowExecutionStatus | None) -> str:
    """Return Temporal's name for the status of a run."""
    return status.name.lower() if status else "unknown"


def request_memo(request_id: str | None) -> dict[str, str] | None:
    """Return the memo that names the request which started a run, for finding it in a log.

    Raises ``InvalidTextError``.
    """
    return None if request_id is None else {"request_id": REQUEST_ID.check(request_id)}


def raise_if_cancelled(error: WorkflowUpdateRPCTimeoutOrCancelledError) -> None:
    """Raise the ``CancelledError`` of our own task, which the SDK hides in its error."""
    if isinstance(error.__cause__, asyncio.CancelledError):
        raise error.__cause__ from None
