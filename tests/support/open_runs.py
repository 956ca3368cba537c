"""What tests leave behind that nobody carried to its end: the next worker of theirs would try."""

from __future__ import annotations

import contextlib
from typing import Final

from sqlalchemy import select
from temporalio.client import Client
from temporalio.service import RPCError

from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.store.database import Database
from durable_orders.store.tables import orders

_ENDS: Final = sorted(status for status in Status if status.is_final)


async def abandon(temporal: Client, database: Database) -> None:
    """Terminate the runs that Temporal lists as open and, since its list lags behind, those of the
    orders in ``database`` that have not ended.
    """
    async with database.statement() as connection:
        found = await connection.scalars(select(orders.c.id).where(orders.c.status.not_in(_ENDS)))
        known = {workflow_id(order_id) for order_id in found}
    listed = {run.id async for run in temporal.list_workflows("ExecutionStatus = 'Running'")}
    for run_id in known | listed:
        with contextlib.suppress(RPCError):  # it has ended, or was never started
            await temporal.get_workflow_handle(run_id).terminate()
