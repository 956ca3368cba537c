"""Checking out: the one way to start the run of an order, and hearing how its payment goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypedDict

from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    QueryRejectCondition,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from connection import answered
from desk import Desk
from durable_orders.contracts import search_attributes, timeouts
from orders.ids import TASK_QUEUE, workflow_id
from orders.lifecycle import Status
from orders.messages import Carry, OrderSummary
from orders.payment_news import PaymentNews, PaymentPending, in_the_book, settled
from orders.refusals import OrderEndedError
from runs import CALL, NO_RUN, NO_WORKER, asked_by
from workflows.order import OrderWorkflow

#: Why a run does not tell: its worker is older than the question, or it is over.
_SILENT: Final = (WorkflowQueryFailedError, WorkflowQueryRejectedError, WorkflowUpdateFailedError)


@dataclass(frozen=True)
class StartedOrder:
    """The run that carries an order; ``already_started`` when an earlier call started it."""

    workflow_id: str
    run_id: str
    already_started: bool


@dataclass(frozen=True)
class CheckedOut:
    """The order is carried, by this run; ``payment`` is what was known of its payment in time."""

    workflow_id: str
    payment: PaymentNews


class _Start(TypedDict):
    """How every run of an order is started, whoever asks for it."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    task_timeout: timedelta
    static_summary: str
    static_details: str
    search_attributes: TypedSearchAttributes
    memo: dict[str, str] | None


class Till(Desk):
    """Orders are started here, once each."""

    async def start(self, order_id: str, *, request_id: str | None = None) -> StartedOrder:
        """Have the order carried to its end. One order, one run: twice, side by side, or after the
        end, the answer is the same run. ``request_id``, of whoever asked first, is in its memo.

        Raises ``NoSuchOrderError``; ``StrandedError`` when its run is over and the order is not;
        ``OrderEndedError`` when it has ended and Temporal has forgotten its run.
        """
        id_ = workflow_id(order_id)
        order = await self._book.summary(order_id)
        if order.status is not Status.PLACED:
            return await self._started_before(order_id)
        try:
            with answered(self._temporal):
                run = await self._temporal.start_workflow(
                    OrderWorkflow.run,
                    Carry(order_id),
                    # FAIL instead of USE_EXISTING only to be told which it was.
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    rpc_timeout=CALL,
                    **_start(order, request_id),
                )
        except WorkflowAlreadyStartedError:
            return await self._started_before(order_id)
        return StartedOrder(id_, run.result_run_id or "", already_started=False)

    async def _started_before(self, order_id: str) -> StartedOrder:
        """The run that carries the order, or has carried it to its end."""
        async with self._open(order_id) as run:
            known = await run.describe(rpc_timeout=CALL)
        if known.status is not WorkflowExecutionStatus.RUNNING:
            # Looked at after the run: an order that it has just brought to its end has ended.
            why = await self._why_not(order_id)
            if not isinstance(why, OrderEndedError):
                raise why
        return StartedOrder(known.id, known.run_id, already_started=True)

    async def checkout(
        self, order_id: str, wait: timedelta, *, request_id: str | None = None
    ) -> CheckedOut:
        """``start``, and hear within ``wait`` what became of the payment, or what it waits for.

        ``PaymentPending`` when that takes longer, or no worker is there. Raises as ``start``.
        """
        now = asyncio.get_running_loop().time
        until = now() + wait.total_seconds()
        order = await self._book.summary(order_id)
        news: PaymentNews | None = None
        if order.status is Status.PLACED:
            news = await self._start_and_hear(order, wait, request_id)
        if news is None:
            # A silence does not tell whether the run was started; and a run may have been before.
            await self.start(order_id, request_id=request_id)
            news = await self._hear(order_id, timedelta(seconds=max(until - now(), 0)))
        return CheckedOut(workflow_id(order_id), news)

    async def _start_and_hear(
        self, order: OrderSummary, wait: timedelta, request_id: str | None
    ) -> PaymentNews | None:
        """Start the run and wait for its first news, in one round trip; None when it has none."""
        start = WithStartWorkflowOperation(
            OrderWorkflow.run,
            Carry(order.order_id),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **_start(order, request_id),
        )
        try:
            with answered(self._temporal):
                return await self._temporal.execute_update_with_start_workflow(
                    OrderWorkflow.payment_outcome,
                    start_workflow_operation=start,
                    id=_outcome_id(0),
                    rpc_timeout=wait,
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            _raise_if_cancelled(error)
            return None
        except (WorkflowAlreadyStartedError, WorkflowUpdateFailedError):
            return None  # the run is over
        except RPCError as error:
            if error.status not in NO_RUN:
                raise
            return None  # it ended while it was asked

    async def _hear(self, order_id: str, wait: timedelta) -> PaymentNews:
        """What is known of the payment, once something is, or after ``wait``."""
        order = (await self._book.view(order_id)).order
        if settled(order.status, order.total, None) is None and wait:
            told = await self._asked(order_id, wait)
            if not isinstance(told, PaymentPending):
                return told
        return in_the_book(await self._book.view(order_id))

    async def _asked(self, order_id: str, wait: timedelta) -> PaymentNews:
        """What the run says, pending when it says nothing in time."""
        now = asyncio.get_running_loop().time
        until = now() + wait.total_seconds()
        run = self._run(order_id)
        news: PaymentNews = PaymentPending()
        with answered(self._temporal):
            try:
                news = await run.query(
                    OrderWorkflow.payment_news,
                    reject_condition=QueryRejectCondition.NOT_OPEN,
                    rpc_timeout=wait,
                )
                if isinstance(news, PaymentPending) and (left := until - now()) > 0:
                    return await run.execute_update(
                        OrderWorkflow.payment_outcome,
                        id=_outcome_id(news.turn),
                        rpc_timeout=timedelta(seconds=left),
                    )
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                _raise_if_cancelled(error)
            except _SILENT:
                pass
            except RPCError as error:
                if error.status not in NO_RUN | NO_WORKER:
                    raise
        return news


def _start(order: OrderSummary, request_id: str | None) -> _Start:
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.ORDER_STATUS, str(Status.PLACED)),
        SearchAttributePair(search_attributes.CUSTOMER_ID, order.customer_id),
        SearchAttributePair(search_attributes.ORDER_TOTAL, order.total.amount),
    ]
    return {
        "id": workflow_id(order.order_id),
        "task_queue": TASK_QUEUE,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        # No run timeout: an order waits for as long as it takes.
        "task_timeout": timeouts.WORKFLOW_TASK,
        "static_summary": f"Order {order.order_id}",
        "static_details": f"{order.total}, customer {order.customer_id}",
        "search_attributes": TypedSearchAttributes(attributes),
        "memo": asked_by(request_id),
    }


def _outcome_id(turn: int) -> str:
    """Everybody who waits for the same news shares one Update: a run takes ten at a time, and
    those of a decision or a cancellation must find room.
    """
    return f"payment-{turn}"


def _raise_if_cancelled(error: WorkflowUpdateRPCTimeoutOrCancelledError) -> None:
    if isinstance(error.__cause__, asyncio.CancelledError):
        raise error.__cause__ from None  # the SDK hides that our own task is cancelled
