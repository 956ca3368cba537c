"""Start orders, and hear how their payment goes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.client import (
    Client,
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

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import NotStartedError, OrderEndedError
from durable_orders.clients.order_calls import OrderWorkflowCalls, outcome_of
from durable_orders.clients.workflow_calls import (
    CALL,
    NO_RUN,
    NO_WORKER,
    StartOptions,
    bounded,
    raise_if_cancelled,
    request_memo,
    told_once,
)
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.contracts.search_attributes import CUSTOMER_ID, ORDER_STATUS, ORDER_TOTAL
from durable_orders.contracts.timeouts import WORKFLOW_TASK
from durable_orders.domain.activity_messages import OrderInput, OrderSummary, Outcome
from durable_orders.domain.ids import TASK_QUEUE, checked_order_id, workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.payment_status import (
    PaymentPending,
    PaymentProgress,
    payment_from_status,
    payment_from_view,
)
from durable_orders.domain.ports import NoSuchOrderError, OrderRepository

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
    """The order is carried; ``payment`` is what was known of its payment in time."""

    workflow_id: str
    payment: PaymentProgress


class Checkout:
    """Starts orders, once each: the part of ``OrderClient`` that does."""

    def __init__(
        self, temporal: Client, orders: OrderRepository | None, calls: OrderWorkflowCalls
    ) -> None:
        self._temporal = temporal
        self._orders = orders
        self._calls = calls

    async def start(self, order_id: str, *, request_id: str | None = None) -> StartedOrder:
        """Start the order's run, or return the one it has; see ``OrderClient.start``."""
        order = await self._summary(order_id)
        if order is not None and order.cancelled_unstarted:
            await self._start_closing(order, request_id)
        if order is not None and order.status is not Status.PLACED:
            return await self._started_before(order_id)
        try:
            return await self._start_run(order_id, order, request_id)
        except WorkflowAlreadyStartedError:
            pass
        try:
            return await self._started_before(order_id)
        except (NotStartedError, NoSuchOrderError):
            # Its run failed because the order was not placed yet: the one failure that another run
            # may follow. Should the server know a later failure, the new run finds the order
            # carried, and fails as well.
            again = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        with contextlib.suppress(WorkflowAlreadyStartedError):
            return await self._start_run(order_id, order, request_id, reuse=again)
        return await self._started_before(order_id)

    async def _start_closing(self, order: OrderSummary, request_id: str | None) -> None:
        """Start the run of an order that was cancelled before any had begun it: it only tells the
        customer. One that failed has not.
        """
        again = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await self._start_run(order.order_id, order, request_id, reuse=again)

    async def _start_run(
        self,
        order_id: str,
        order: OrderSummary | None,
        request_id: str | None,
        *,
        reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE,
    ) -> StartedOrder:
        options = _start_options(order_id, order, request_id)
        options["id_reuse_policy"] = reuse
        with translate_rpc_errors(self._temporal):
            run = await self._temporal.start_workflow(
                OrderWorkflow.run,
                OrderInput(order_id),
                # FAIL instead of USE_EXISTING only to be told which it was.
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                rpc_timeout=CALL,
                **options,
            )
        return StartedOrder(run.id, run.result_run_id or "", already_started=False)

    async def _started_before(self, order_id: str) -> StartedOrder:
        """Return the run that carries the order, or has carried it to its end."""
        async with self._calls.of(order_id).open_run() as run:
            known = await run.describe(rpc_timeout=CALL)
        if known.status is not WorkflowExecutionStatus.RUNNING:
            # Asked after the run: an order that the run has just brought to its end has ended.
            why = await self._calls.explain_missing_run(order_id)
            if not isinstance(why, OrderEndedError):
                raise why
        return StartedOrder(known.id, known.run_id, already_started=True)

    async def checkout(
        self, order_id: str, wait: timedelta, *, request_id: str | None = None
    ) -> CheckedOut:
        """Start the order and hear of its payment; see ``OrderClient.checkout``."""
        wait = bounded(wait)
        now = asyncio.get_running_loop().time
        until = now() + wait.total_seconds()
        order = await self._summary(order_id)
        news: PaymentProgress | None = None
        if order is None or order.status is Status.PLACED:
            news = await self._start_and_hear(order_id, order, wait, request_id)
        if news is None:
            # A silence does not tell whether the run was started; and a run may have been before.
            await self.start(order_id, request_id=request_id)
            news = await self._hear(order_id, timedelta(seconds=max(until - now(), 0)))
        return CheckedOut(workflow_id(order_id), news)

    async def _start_and_hear(
        self, order_id: str, order: OrderSummary | None, wait: timedelta, request_id: str | None
    ) -> PaymentProgress | None:
        """Start the run and wait for its first news, in one round trip; None when it has none."""
        start: WithStartWorkflowOperation[OrderWorkflow, Outcome] = WithStartWorkflowOperation(
            OrderWorkflow.run,
            OrderInput(order_id),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **_start_options(order_id, order, request_id),
        )
        try:
            with translate_rpc_errors(self._temporal), told_once(start) as operation:
                return await self._temporal.execute_update_with_start_workflow(
                    OrderWorkflow.payment_outcome,
                    start_workflow_operation=operation,
                    id=_outcome_id(0),
                    rpc_timeout=wait,
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise_if_cancelled(error)
            return None
        except (WorkflowAlreadyStartedError, WorkflowUpdateFailedError):
            return None  # the run is over
        except RPCError as error:
            if error.status not in NO_RUN | NO_WORKER:
                raise
            return None  # it ended while it was asked, or no worker has come to it for a while

    async def _hear(self, order_id: str, wait: timedelta) -> PaymentProgress:
        """Return what is known of the payment, once something is, or after ``wait``."""
        if self._orders is not None:
            order = (await self._orders.view(order_id)).order
            if payment_from_status(order.status, order.total, None) is not None:
                wait = timedelta(0)
        if wait:
            told = await self._news_from_run(order_id, wait)
            if not isinstance(told, PaymentPending):
                return told
        if self._orders is not None:
            return payment_from_view(await self._orders.view(order_id))
        return await self._news_after_end(order_id)

    async def _news_from_run(self, order_id: str, wait: timedelta) -> PaymentProgress:
        """Return what the run says, pending when it says nothing in time."""
        now = asyncio.get_running_loop().time
        until = now() + wait.total_seconds()
        run = self._calls.of(order_id).handle
        news: PaymentProgress = PaymentPending()
        with translate_rpc_errors(self._temporal):
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
                raise_if_cancelled(error)
            except _SILENT:
                pass
            except RPCError as error:
                if error.status not in NO_RUN | NO_WORKER:
                    raise
        return news

    async def _news_after_end(self, order_id: str) -> PaymentProgress:
        """Return what an order that has ended has made of its payment, pending when it has not."""
        run = await self._calls.of(order_id).describe()
        if run is None or run.status is WorkflowExecutionStatus.RUNNING:
            return PaymentPending()
        outcome = outcome_of(await self._calls.end(order_id))
        if outcome is None:
            raise await self._calls.explain_missing_run(order_id)
        reason = outcome.stop.reason if outcome.stop else None
        return payment_from_status(outcome.status, outcome.taken, reason) or PaymentPending()

    async def _summary(self, order_id: str) -> OrderSummary | None:
        """Return what the store knows of the order, None without a store."""
        checked_order_id(order_id)
        return None if self._orders is None else await self._orders.summary(order_id)


def _start_options(
    order_id: str, order: OrderSummary | None, request_id: str | None
) -> StartOptions:
    """The options of an order's run. What only the store knows, the run publishes by itself."""
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, str(Status.PLACED))
    ]
    details = None
    if order is not None:
        attributes += [
            SearchAttributePair(CUSTOMER_ID, order.customer_id),
            SearchAttributePair(ORDER_TOTAL, order.total.amount),
        ]
        details = f"{order.total}, customer {_in_markdown(order.customer_id)}"
    return {
        "id": workflow_id(order_id),
        "task_queue": TASK_QUEUE,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        # No run timeout: an order waits for as long as it takes.
        "task_timeout": WORKFLOW_TASK,
        "static_summary": f"Order {order_id}",
        "static_details": details,
        "search_attributes": TypedSearchAttributes(attributes),
        "memo": request_memo(request_id),
    }


def _outcome_id(turn: int) -> str:
    """The Update that all callers share who wait for the same news: a run takes ten at a time, and
    those of a decision or a cancellation must find room.
    """
    return f"payment-{turn}"


def _in_markdown(text: str) -> str:
    """``text`` in Markdown: as code, unless it is plain, because Temporal's Web UI makes a link of
    what looks like one.
    """
    if re.fullmatch("[A-Za-z0-9_-]+", text):
        return text
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"
