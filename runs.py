"""How every request reaches the run that carries an order, or learns why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeVar

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import QueryRejectCondition
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.types import MethodSyncOrAsyncNoParam
from temporalio.workflow import UpdateMethodMultiParam

from connection import answered, steadily
from durable_orders.contracts.error_types import NOT_OPERABLE, NOT_WAITING, TOO_LATE
from orders.ids import workflow_id
from orders.lifecycle import Status
from orders.messages import Outcome, Progress
from orders.ports import Cards, OrderBook
from orders.refusals import (
    NotOperableError,
    NotStartedError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    OrderEndedError,
    StrandedError,
    TooLateError,
)
from turns import Turns
from workflows.order import OrderWorkflow

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
W = TypeVar("W")

#: One call of Temporal. A worker that is alive answers in milliseconds.
CALL: Final = timedelta(seconds=10)
_QUERY: Final = timedelta(seconds=2)
#: What is told of a run that has ended.
OVER: Final = "nothing: its run is over"
#: Temporal's answers when the order has no run, or one that has ended.
NO_RUN: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.ABORTED})
#: Temporal's answers to a query that no worker takes.
NO_WORKER: Final = frozenset(
    {RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION}
)

_REFUSALS: Final[dict[str | None, type[OrderClientError]]] = {
    TOO_LATE: TooLateError,
    NOT_WAITING: NotWaitingError,
    NOT_OPERABLE: NotOperableError,
}


async def told_by(
    temporal: Client,
    run: WorkflowHandle[W, Any],
    status: MethodSyncOrAsyncNoParam[W, T],
    *,
    without: str,
) -> T | str:
    """What the run answers, or why it does not: ``without`` when there is none, ``OVER`` when it
    has ended. Raises ``UnreachableError`` when Temporal itself gives no answer.
    """
    try:
        with answered(temporal):
            try:
                return await run.query(
                    status,
                    # Who has ended is told by the book: no worker need replay it for that.
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
        return OVER
    except RPCError as error:
        if error.status not in NO_RUN:
            raise
        return without


class Runs:
    """The runs in Temporal, and the book for what Temporal does not (or no more) know."""

    def __init__(
        self,
        temporal: Client,
        book: OrderBook,
        *,
        cards: Cards | None = None,
        patience: timedelta = timedelta(minutes=1),
    ) -> None:
        self._temporal = temporal
        self._book = book
        self._cards = cards
        self._patience = patience
        self._turns = Turns()

    def _run(self, order_id: str) -> WorkflowHandle[OrderWorkflow, Outcome]:
        return self._temporal.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))

    @contextlib.asynccontextmanager
    async def _open(self, order_id: str) -> AsyncIterator[WorkflowHandle[OrderWorkflow, Outcome]]:
        """The order's run, for a call of it; raises why when there is none to take that call."""
        try:
            with answered(self._temporal):
                yield self._run(order_id)
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            raise await self._why_not(order_id) from None

    async def _told(self, order_id: str) -> Progress | str:
        """Where the order stands in its run's own words, or why it does not tell."""
        run = self._run(order_id)
        return await told_by(self._temporal, run, OrderWorkflow.status, without="not started yet")

    async def _ask(
        self,
        order_id: str,
        update: UpdateMethodMultiParam[[OrderWorkflow, In], Out],
        argument: In,
        *,
        asked: str,
        id_: str | None = None,
        wait: timedelta = CALL,
    ) -> Out | None:
        """The order's answer to an Update; None when it has accepted, and takes longer than
        ``wait`` to answer. Raises why when it has not accepted. ``asked`` is what was asked for.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        accepted = False
        id_ = id_ or str(uuid.uuid4())  # the same Update, however often it has to be sent
        try:
            async with self._open(order_id) as run:
                started = await self._turns.take(
                    run.id,
                    lambda left: run.start_update(
                        update,
                        argument,
                        id=id_,
                        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                        rpc_timeout=left,
                    ),
                    wait,
                )
                accepted = True
                left = max(until - loop.time(), 0.001)
                return await started.result(rpc_timeout=timedelta(seconds=left))
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            if isinstance(error.__cause__, asyncio.CancelledError):
                raise error.__cause__ from None  # the SDK hides that our own task is cancelled
            if accepted:
                return None
            raise NoWorkerError(order_id, asked, wait) from None
        except TimeoutError:
            raise NoWorkerError(order_id, asked, wait) from None  # those before it got no answer
        except WorkflowUpdateFailedError as error:
            await self._refuse(order_id, error)

    async def _refuse(self, order_id: str, failed: WorkflowUpdateFailedError) -> NoReturn:
        """Raise why an Update was refused, or was overtaken by the end of the run."""
        cause = failed.cause
        if isinstance(cause, ApplicationError) and (refusal := _REFUSALS.get(cause.type)):
            raise refusal(cause.message) from None
        raise await self._why_not(order_id) from None

    async def _why_not(self, order_id: str) -> OrderClientError:
        """Why no open run carries this order. Raises ``NoSuchOrderError``."""
        status = (await self._book.summary(order_id)).status
        if status.is_end:
            return OrderEndedError(order_id, status)
        try:
            with answered(self._temporal):
                run = await self._run(order_id).describe(rpc_timeout=CALL)
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            if status is Status.PLACED:
                return NotStartedError(order_id)
            return StrandedError(order_id, status, None)
        return StrandedError(order_id, status, word(run.status))

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await steadily(self._temporal, ask, self._patience)


def word(status: WorkflowExecutionStatus | None) -> str:
    return status.name.lower() if status else "unknown"


def asked_by(request_id: str | None) -> dict[str, str] | None:
    """The memo of a run: which request started it, to be found again in that process's log."""
    return None if request_id is None else {"request_id": request_id}
