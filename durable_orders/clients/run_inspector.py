"""Adapters: the audit's ports ``OrderRuns`` and ``PaymentRiskRuns`` over the Temporal client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.workflow_calls import CALL, status_name
from durable_orders.domain.audit.model import RunState, RunStatus
from durable_orders.domain.audit.ports import CursorPage, OpenRun
from durable_orders.domain.ids import order_id_of, payment_risk_workflow_id, workflow_id
from durable_orders.domain.ports import NoAnswerError, OrderRepository

_OPEN_RUNS: Final = "WorkflowType = 'Order' AND ExecutionStatus = 'Running'"


class TemporalOrderRuns:
    """``OrderRuns`` in Temporal."""

    def __init__(self, temporal: Client, orders: OrderRepository) -> None:
        self._temporal = temporal
        self._orders = OrderClient(temporal, orders)

    async def look(self, order_id: str) -> RunStatus:
        # Read from the run itself: Temporal's list lags behind.
        run = self._temporal.get_workflow_handle(workflow_id(order_id))
        try:
            with _no_answer_errors(self._temporal):
                known = await run.describe(rpc_timeout=CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return RunStatus(RunState.NONE)
        if known.status is WorkflowExecutionStatus.RUNNING:
            return RunStatus(RunState.OPEN)
        return RunStatus(RunState.CLOSED, known.close_time, status_name(known.status))

    async def start(self, order_id: str) -> bool:
        try:
            with _no_answer_errors(self._temporal):
                await self._orders.start(order_id)
        except OrderClientError:
            return False
        return True

    async def open_runs(self, cursor: str | None, limit: int) -> CursorPage[OpenRun]:
        token = base64.b64decode(cursor) if cursor else None
        with _no_answer_errors(self._temporal):
            runs = self._temporal.list_workflows(
                _OPEN_RUNS, page_size=limit, next_page_token=token, rpc_timeout=CALL
            )
            await runs.fetch_next_page()
        found = tuple(
            OpenRun(order_id, run.start_time)
            for run in runs.current_page or ()
            if (order_id := order_id_of(run.id)) is not None
        )
        after = runs.next_page_token
        return CursorPage(found, base64.b64encode(after).decode() if after else None)


class TemporalPaymentRiskRuns:
    """``PaymentRiskRuns`` in Temporal."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal
        self._risks = PaymentRiskClient(temporal)

    async def is_open(self, order_id: str) -> bool:
        # Read from the run itself: Temporal's list lags behind.
        run = self._temporal.get_workflow_handle(payment_risk_workflow_id(order_id))
        try:
            with _no_answer_errors(self._temporal):
                known = await run.describe(rpc_timeout=CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return known.status is WorkflowExecutionStatus.RUNNING

    async def follow(self, order_id: str) -> None:
        with _no_answer_errors(self._temporal):
            await self._risks.risks_updated(order_id)


@contextmanager
def _no_answer_errors(client: Client) -> Iterator[None]:
    """Raise ``NoAnswerError`` when Temporal gives no answer."""
    try:
        with translate_rpc_errors(client):
            yield
    except UnreachableError as error:
        raise NoAnswerError(str(error)) from None
