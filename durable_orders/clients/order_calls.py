"""Calls to the workflows of orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from pydantic import TypeAdapter
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import (
    AlreadyCarriedError,
    NoRunError,
    NotStartedError,
    OrderClientError,
    OrderEndedError,
    StrandedError,
)
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import CALL, WorkflowCalls, status_name
from durable_orders.contracts.error_types import ALREADY_CARRIED, NO_SUCH_ORDER, ORDER_FAILED
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.contracts.search_attributes import CUSTOMER_ID, NEEDS_ATTENTION, ORDER_STATUS
from durable_orders.domain.activity_messages import Outcome, Progress
from durable_orders.domain.ids import order_id_of, workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import checked_limit
from durable_orders.domain.ports import NoSuchOrderError, OrderRepository
from durable_orders.domain.views import ListedOrder

_OUTCOME: Final = TypeAdapter(Outcome)


class OrderWorkflowCalls:
    """Calls to the workflows of orders, by order id.

    Where Temporal knows of no open run, the order store says why, if there is one.
    """

    def __init__(
        self,
        temporal: Client,
        orders: OrderRepository | None = None,
        *,
        limiter: UpdateLimiter | None = None,
    ) -> None:
        self._temporal = temporal
        self._orders = orders
        self._limiter = limiter or UpdateLimiter()

    def of(self, order_id: str) -> WorkflowCalls[OrderWorkflow, Outcome]:
        """Calls to the workflow of this order."""
        return WorkflowCalls(
            self._temporal,
            self._temporal.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id)),
            order_id=order_id,
            limiter=self._limiter,
            explain_missing_run=lambda: self.explain_missing_run(order_id),
        )

    async def query_status(self, order_id: str) -> Progress | str:
        """Return what the order's run says of its status, or the reason why it does not."""
        calls = self.of(order_id)
        return await calls.query_status(OrderWorkflow.status, missing="not started yet")

    async def end(self, order_id: str) -> Outcome | WorkflowFailureError:
        """Return how the order's run ended, which has closed."""
        try:
            with translate_rpc_errors(self._temporal):
                return await self.of(order_id).handle.result(rpc_timeout=CALL)
        except WorkflowFailureError as error:
            return error

    async def explain_missing_run(self, order_id: str) -> OrderClientError:
        """Return why no open run carries this order. Raises ``NoSuchOrderError``."""
        if self._orders is None:
            return await self._explain_by_last_run(order_id)
        status = (await self._orders.summary(order_id)).status
        if status.is_final:
            return OrderEndedError(order_id, status)
        run = await self.of(order_id).describe()
        if run is None and status is not Status.PLACED:
            return StrandedError(order_id, status, None)
        if run is None or await self._began_too_early(run, order_id):
            return NotStartedError(order_id)
        return StrandedError(order_id, status, status_name(run.status))

    async def _explain_by_last_run(self, order_id: str) -> OrderClientError:
        run = await self.of(order_id).describe()
        if run is None:
            return NoRunError(order_id)
        if run.status is not WorkflowExecutionStatus.RUNNING:
            end = await self.end(order_id)
            if (outcome := outcome_of(end)) is not None:
                return OrderEndedError(order_id, outcome.status)
            if failure_type(end) == NO_SUCH_ORDER:
                raise NoSuchOrderError(order_id)
            if failure_type(end) == ALREADY_CARRIED:
                return AlreadyCarriedError(order_id)
        return StrandedError(order_id, published_status(run), status_name(run.status))

    async def _began_too_early(self, run: WorkflowExecutionDescription, order_id: str) -> bool:
        """Whether the run failed because the order was not placed yet."""
        return (
            run.status is WorkflowExecutionStatus.FAILED
            and failure_type(await self.end(order_id)) == NO_SUCH_ORDER
        )

    async def list(
        self, status: Status | None = None, *, needs_attention: bool = False, limit: int = 100
    ) -> AsyncIterator[ListedOrder]:
        """Yield started orders, newest first: all, those of a status, those that need attention."""
        # A run that continues as another one has nothing more to tell.
        filters = ["WorkflowType = 'Order'", "ExecutionStatus != 'ContinuedAsNew'"]
        if status is not None:
            filters.append(f"{ORDER_STATUS.name} = '{Status(status).value}'")
        if needs_attention:
            filters += [f"{NEEDS_ATTENTION.name} = true", "ExecutionStatus = 'Running'"]
        with translate_rpc_errors(self._temporal):
            runs = self._temporal.list_workflows(" AND ".join(filters), limit=checked_limit(limit))
            async for run in runs:
                known = run.typed_search_attributes
                yield ListedOrder(
                    order_id=order_id_of(run.id) or run.id,
                    status=Status(known.get(ORDER_STATUS, Status.PLACED)),
                    customer_id=known.get(CUSTOMER_ID),
                    needs_attention=known.get(NEEDS_ATTENTION, False),
                    run=status_name(run.status),
                    started_at=run.start_time,
                    ended_at=run.close_time,
                )


def outcome_of(end: Outcome | WorkflowFailureError) -> Outcome | None:
    """Return how the order ended; None when its run ended before the order did."""
    if isinstance(end, Outcome):
        return end
    cause = end.cause
    if isinstance(cause, ApplicationError) and cause.type == ORDER_FAILED:
        return _OUTCOME.validate_python(cause.details[0])
    return None


def failure_type(end: Outcome | WorkflowFailureError) -> str | None:
    """Return the ``ApplicationError.type`` that the run failed with, if it did."""
    cause = None if isinstance(end, Outcome) else end.cause
    return cause.type if isinstance(cause, ApplicationError) else None


def published_status(run: WorkflowExecutionDescription) -> Status:
    """Return the order's status as its run has published it."""
    return Status(run.typed_search_attributes.get(ORDER_STATUS, Status.PLACED))
