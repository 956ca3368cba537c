"""The runs that carry orders, as the audit's activities ask for them.

Here and not in ``providers``, because it is no outside neighbour: it is this project's own client,
turned round. ``worker.py`` hands it to the activities, which know only the port.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from client import OrderClient
from connection import UnreachableError, answered
from orders.discrepancies import RunSighting, RunState
from orders.ids import order_id_of, workflow_id
from orders.ports import NoAnswerError, OrderBook
from orders.reconciliation_ports import Listed, OpenRun
from orders.refusals import OrderClientError

_CALL: Final = timedelta(seconds=10)
_OPEN_RUNS: Final = "WorkflowType = 'Order' AND ExecutionStatus = 'Running'"


class TemporalRuns:
    """``orders.reconciliation_ports.Runs`` in Temporal."""

    def __init__(self, temporal: Client, book: OrderBook) -> None:
        self._temporal = temporal
        self._orders = OrderClient(temporal, book)

    async def look(self, order_id: str) -> RunSighting:
        """The order's run, read from Temporal itself, not from its list, which lags behind."""
        run = self._temporal.get_workflow_handle(workflow_id(order_id))
        try:
            with _answering(self._temporal):
                known = await run.describe(rpc_timeout=_CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return RunSighting(RunState.NONE)
        if known.status is WorkflowExecutionStatus.RUNNING:
            return RunSighting(RunState.OPEN)
        word = known.status.name.lower() if known.status else ""
        return RunSighting(RunState.CLOSED, known.close_time, word)

    async def start(self, order_id: str) -> bool:
        """Have the order carried; again is a no-op. False when it cannot be started any more."""
        try:
            with _answering(self._temporal):
                await self._orders.start(order_id)
        except OrderClientError:
            return False
        return True

    async def open_runs(self, cursor: str | None, limit: int) -> Listed[OpenRun]:
        """Runs that are open. Temporal's list lags behind: ask again with ``look``."""
        token = base64.b64decode(cursor) if cursor else None
        with _answering(self._temporal):
            runs = self._temporal.list_workflows(
                _OPEN_RUNS, page_size=limit, next_page_token=token, rpc_timeout=_CALL
            )
            await runs.fetch_next_page()
        found = tuple(
            OpenRun(order_id, run.start_time)
            for run in runs.current_page or ()
            if (order_id := order_id_of(run.id)) is not None
        )
        after = runs.next_page_token
        return Listed(found, base64.b64encode(after).decode() if after else None)


@contextmanager
def _answering(client: Client) -> Iterator[None]:
    """Raises ``NoAnswerError`` when Temporal gives none."""
    try:
        with answered(client):
            yield
    except UnreachableError as error:
        raise NoAnswerError(str(error)) from None
