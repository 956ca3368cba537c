"""The typed door to running orders: place, start, follow, cancel and list them.

    client = OrderClient(await connection.connect(profile), book)
    await client.place(basket)
    await client.start("1001")
    outcome = await client.result("1001")

Requests that make no sense are refused with an ``OrderClientError``, drawn in ``orders.refusals``.
Beside those it raises what the book raises, ``orders.ports.NoSuchOrderError`` and ``NoAnswerError``
(the database is away), ``orders.ids.InvalidOrderIdError``, and ``connection.UnreachableError`` when
Temporal is away.

Run as a program, this is the command line: ``python client.py --help``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from pydantic import TypeAdapter
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from connection import answered
from durable_orders.contracts import search_attributes
from durable_orders.contracts.error_types import ORDER_FAILED
from orders.ids import checked_order_id, order_id_of
from orders.lifecycle import Reason, Status, Stop
from orders.messages import (
    CancelAnswer,
    CancelRequest,
    CancelUnderWay,
    Outcome,
    Progress,
)
from orders.order import Basket, Order
from orders.pages import Bookmark, OrderPage, Wanted
from orders.placing import KeyReusedError, RequestKey
from orders.ports import OrderExistsError
from orders.refusals import OrderEndedError
from orders.views import ListedOrder, OrderView, Sighting, TroubledOrder
from runs import CALL, OVER, word
from till import Till
from workflows.history import steps_begun
from workflows.order import OrderWorkflow

T = TypeVar("T")

#: How many runs are asked side by side.
_AT_ONCE: Final = 20
#: Every cancellation of one order is the same one: asked again, it gives the same answer.
_CANCEL_ID: Final = "cancel"
_OUTCOME: Final = TypeAdapter(Outcome)


class OrderClient(Till):
    """Orders from their placing to their end. Starting them is in ``till.Till``, what else people
    and neighbours tell a running order in ``desk.Desk``; both are asked of this client too.

    ``cards``: only ``payment_to_finish`` needs them. ``patience``: how long ``result`` and
    ``watch`` wait for a Temporal that went away meanwhile.
    """

    async def place(self, basket: Basket, *, key: RequestKey | None = None) -> Order:
        """Keep the basket as an order, at the catalogue's prices. The same basket again: as placed.

        Nothing happens to the order before ``start``. Raises ``orders.order.InvalidOrderError`` or
        ``orders.ports.OrderExistsError``, and ``orders.placing.KeyReusedError`` when another basket
        was placed with this ``key``.
        """
        try:
            return await self._book.place(basket, datetime.now(UTC), key=key)
        except OrderExistsError:
            if key is not None and basket.order_id == key.made_id:
                raise KeyReusedError(key) from None  # its caller knows the key, and not the id
            raise

    async def status(self, order_id: str) -> Progress:
        """Where the order stands: asked of its run, or read from the book when no worker answers,
        which may be a step behind; ``doing`` says so. Raises ``NoSuchOrderError``.
        """
        told = await self._told(order_id)
        if isinstance(told, Progress):
            return told
        view = await self._book.view(order_id)
        if view.order.status.is_end:
            told = "ended"
        return Progress(order_id, view.order.status, told, stop=_stop_in(view))

    async def view(self, order_id: str) -> OrderView:
        """Everything the book knows of an order, personal data included; this needs no Temporal.

        Raises ``NoSuchOrderError``.
        """
        return await self._book.view(checked_order_id(order_id))

    async def cancel(
        self, order_id: str, by: str = "customer", wait: timedelta = timedelta(seconds=10)
    ) -> CancelAnswer | CancelUnderWay:
        """Stop the order and undo what was done; the answer is what really became of it.

        ``CancelUnderWay`` when that takes longer than ``wait``. Raises ``NotStartedError``,
        ``TooLateError``, ``OrderEndedError``, ``StrandedError``, ``NoWorkerError`` or
        ``NoSuchOrderError``. ``by`` is a role or an account id, never a person's name.
        """
        answer = await self._ask(
            order_id,
            OrderWorkflow.cancel,
            CancelRequest(by),
            asked="cancellation",
            id_=_CANCEL_ID,
            wait=wait,
        )
        return answer or CancelUnderWay()

    async def request_cancel(self, order_id: str, by: str = "customer") -> None:
        """Leave word that the order should stop, kept by Temporal until a worker sees it.

        What becomes of it shows in ``status``; too late, it changes nothing. Raises as ``cancel``.
        """
        async with self._open(order_id) as run:
            await run.signal(OrderWorkflow.cancel_order, CancelRequest(by), rpc_timeout=CALL)

    async def result(self, order_id: str) -> Outcome:
        """How the order ended, once it has; also when it failed and was undone (``outcome.stop``).

        Raises ``NotStartedError``, ``NoSuchOrderError``, ``StrandedError`` when the run ended
        before the order did, or ``OrderEndedError`` when Temporal has forgotten the details.
        """
        try:
            async with self._open(order_id) as run:
                return await self._persist(run.result)
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == ORDER_FAILED:
                return _OUTCOME.validate_python(cause.details[0])
        raise await self._why_not(order_id)

    async def page(
        self, wanted: Wanted, limit: int = 50, after: Bookmark | None = None
    ) -> OrderPage:
        """Orders as the book has them, newest first, started or not; this needs no Temporal."""
        return await self._book.page(wanted, limit, after)

    async def list(
        self, status: Status | None = None, *, needs_attention: bool = False, limit: int = 100
    ) -> AsyncIterator[ListedOrder]:
        """Started orders, newest first: all, those of one status, those that need a person."""
        # A run that has handed on to another one has nothing more to tell.
        filters = ["WorkflowType = 'Order'", "ExecutionStatus != 'ContinuedAsNew'"]
        if status is not None:
            filters.append(f"{search_attributes.ORDER_STATUS.name} = '{Status(status).value}'")
        if needs_attention:
            filters += [
                f"{search_attributes.NEEDS_ATTENTION.name} = true",
                "ExecutionStatus = 'Running'",
            ]
        with answered(self._temporal):
            runs = self._temporal.list_workflows(" AND ".join(filters), limit=limit)
            async for run in runs:
                known = run.typed_search_attributes
                yield ListedOrder(
                    order_id=order_id_of(run.id) or run.id,
                    status=Status(known.get(search_attributes.ORDER_STATUS, Status.PLACED)),
                    customer_id=known.get(search_attributes.CUSTOMER_ID),
                    needs_attention=known.get(search_attributes.NEEDS_ATTENTION, False),
                    run=word(run.status),
                    started_at=run.start_time,
                    ended_at=run.close_time,
                )

    async def attention(self, limit: int = 100) -> tuple[TroubledOrder, ...]:
        """Running orders that need a person, newest first: what fails, since when, what can help.

        Each run is asked; where no worker answers, what Temporal lists has to do.
        """
        rows = [row async for row in self.list(needs_attention=True, limit=limit)]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def asked(row: ListedOrder) -> TroubledOrder | None:
            async with at_once:
                told = await self._told(row.order_id)
            if told == OVER:
                return None  # ended since: Temporal's lists lag behind a little
            if not isinstance(told, Progress):
                return TroubledOrder(row.order_id, row.status, told, None)
            if told.attention is None:
                return None  # mended since it was listed
            return TroubledOrder(row.order_id, told.status, told.doing, told.attention)

        return tuple(filter(None, await asyncio.gather(*map(asked, rows))))

    async def watch(self, order_id: str) -> AsyncIterator[Sighting]:
        """The order as it is, then each change as it happens, until its run ends.

        Temporal's history pushes, the book tells: this needs no worker and no polling. Raises
        ``NoSuchOrderError``, ``NotStartedError`` or ``StrandedError``.
        """
        seen: Sighting | None = None
        # The run may be long forgotten by Temporal; its order is not.
        with contextlib.suppress(OrderEndedError):
            async with self._open(order_id) as run:
                async for doing in steps_begun(self._temporal, run, self._persist):
                    view = await self._persist(lambda: self._book.view(order_id))
                    if (sighting := Sighting(view, doing)) != seen:
                        seen = sighting
                        yield sighting
        view = await self._book.view(order_id)
        if not view.order.status.is_end:
            raise await self._why_not(order_id)
        yield Sighting(view, "ended")


def _stop_in(view: OrderView) -> Stop | None:
    # Other lines have reasons too, of a refund say, or in a person's own words.
    moves = {f"order_{status}" for status in Status}
    for line in reversed(view.history):
        if line.event in moves and "reason" in line.detail:
            return Stop(Reason(line.detail["reason"]), line.detail.get("message", ""))
    return None


if __name__ == "__main__":
    # The command line is a process of its own: it reads the settings and knows the database, which
    # the client must not.
    from cli import main

    main()
