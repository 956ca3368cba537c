"""How every request reaches the run that carries a refund, or learns why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, NoReturn, TypeVar

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.workflow import UpdateMethodMultiParam

from connection import UnreachableError, answered
from durable_orders.contracts.error_types import NOT_OPERABLE, NOT_WAITING, OTHER_CONTENTS, TOO_LATE
from orders.ids import refund_workflow_id
from orders.refund_messages import RefundAnswer, RefundProgress
from orders.refund_ports import RefundBook
from orders.refund_refusals import RefundEndedError, RefundRefusedError, UnknownRefundError
from orders.refunds import RefundEntry
from orders.refusals import (
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    TooLateError,
)
from runs import CALL, NO_RUN, told_by
from turns import Turns
from workflows.refund import RefundWorkflow

In = TypeVar("In")
Out = TypeVar("Out")
Handle = WorkflowHandle[RefundWorkflow, RefundAnswer]

_REFUSALS: Final[dict[str | None, type[OrderClientError]]] = {
    TOO_LATE: TooLateError,
    NOT_WAITING: NotWaitingError,
    NOT_OPERABLE: NotOperableError,
    OTHER_CONTENTS: RefundRefusedError,
}


class RefundRuns:
    """The runs in Temporal, and the book for what Temporal does not (or no more) know."""

    def __init__(self, temporal: Client, book: RefundBook) -> None:
        self._temporal = temporal
        self._book = book
        self._turns = Turns()

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

    async def _told(self, order_id: str, refund_id: str) -> RefundProgress | str:
        """Where the refund stands in its run's own words, or why it does not tell."""
        run, gone = self._run(order_id, refund_id), "nothing: it has no run any more"
        try:
            return await told_by(self._temporal, run, RefundWorkflow.status, without=gone)
        except UnreachableError:
            return "unknown: Temporal does not answer"

    async def _ask(
        self,
        order_id: str,
        refund_id: str,
        update: UpdateMethodMultiParam[[RefundWorkflow, In], Out],
        argument: In,
        asked: str,
    ) -> Out:
        id_ = str(uuid.uuid4())  # the same Update, however often it has to be sent
        try:
            async with self._open(order_id, refund_id) as run:
                return await self._turns.take(
                    run.id,
                    lambda left: run.execute_update(update, argument, id=id_, rpc_timeout=left),
                    CALL,
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise_silence(error, order_id, asked, CALL)
        except TimeoutError:
            raise NoWorkerError(order_id, asked, CALL) from None  # those before it got no answer
        except WorkflowUpdateFailedError as error:
            raise_refusal(error)
            raise


def raise_silence(
    error: WorkflowUpdateRPCTimeoutOrCancelledError, order_id: str, asked: str, waited: timedelta
) -> NoReturn:
    """Raise why an Update was not answered in time."""
    if isinstance(error.__cause__, asyncio.CancelledError):
        raise error.__cause__ from None  # the SDK hides that our own task is cancelled
    raise NoWorkerError(order_id, asked, waited) from None


def raise_refusal(error: WorkflowUpdateFailedError) -> None:
    """Raise why an Update was refused, if it was."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and (refusal := _REFUSALS.get(cause.type)):
        raise refusal(cause.message) from None
