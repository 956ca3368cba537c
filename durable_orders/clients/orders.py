"""Client of orders, for a shop: place, start, follow, cancel and list them.

    orders = OrderClient(await connect())
    await orders.start("1001")
    outcome = await orders.result("1001")

With the order store it also places orders and shows them: ``OrderClient(temporal, orders)``.

Requests that make no sense are refused with an ``OrderClientError``, drawn in ``errors``. The
client also raises what the store raises, ``NoSuchOrderError`` and ``NoAnswerError``
(the database is away), ``InvalidTextError`` for an id or another text that is none
(``InvalidOrderIdError``), and ``UnreachableError`` when Temporal is away.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError

from durable_orders.clients.checkout import CheckedOut, Checkout, StartedOrder
from durable_orders.clients.connection import retry_while_unavailable
from durable_orders.clients.errors import (
    NoCardsError,
    NoRunError,
    NotStartedError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    OrderEndedError,
    StoreNeededError,
    StrandedError,
    UnreachableError,
)
from durable_orders.clients.history import steps_begun
from durable_orders.clients.order_calls import OrderWorkflowCalls, outcome_of, published_status
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import CALL, NoAnswerYet
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.domain.activity_messages import (
    CancelAnswer,
    Cancelled,
    CancelRequest,
    CancelUnderWay,
    Outcome,
    Progress,
)
from durable_orders.domain.charges import CAN_BE_TRIED
from durable_orders.domain.ids import (
    PARCEL_ID,
    PAYMENT_METHOD,
    TRACKING,
    IdempotencyKey,
    IdempotencyKeyReusedError,
    checked_order_id,
)
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, checked_limit
from durable_orders.domain.order import Basket, Order
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import (
    Cards,
    ChargeState,
    OrderExistsError,
    OrderRepository,
    ProviderError,
)
from durable_orders.domain.senders import sender, sent
from durable_orders.domain.views import ListedOrder, OrderSnapshotView, OrderView, PaymentToFinish
from durable_orders.domain.workflow_messages import (
    CardAccepted,
    NewCard,
    ParcelUpdate,
    PaymentChange,
    PaymentUpdate,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Every cancellation of one order is the same Update: sent again, it gives the same answer.
_CANCEL_ID: Final = "cancel"


class OrderClient:
    """Client of orders, for a shop.

    ``temporal``: made by ``connect``, which encodes messages as the workflows do. Without
    ``orders``, the order store, it starts, cancels and follows orders by their ids; what needs the
    store raises ``StoreNeededError``. ``cards``: needed by ``payment_to_finish`` only.
    ``patience``: how long ``result`` and ``watch`` wait for a Temporal that went away meanwhile.
    ``limiter`` is shared with the other clients of this process.
    """

    def __init__(
        self,
        temporal: Client,
        orders: OrderRepository | None = None,
        *,
        cards: Cards | None = None,
        patience: timedelta = timedelta(minutes=1),
        limiter: UpdateLimiter | None = None,
    ) -> None:
        self._temporal = temporal
        self._orders = orders
        self._cards = cards
        self._patience = patience
        self._calls = OrderWorkflowCalls(temporal, orders, limiter=limiter)
        self._checkout = Checkout(temporal, orders, self._calls)

    # -- placing and starting ----------------------------------------------------------------------

    async def place(
        self, basket: Basket, *, key: IdempotencyKey | None = None, placed_by: str = ""
    ) -> Order:
        """Store the basket as an order, at the catalogue's prices. The same basket again: as
        placed. Needs the store.

        Nothing happens to the order before ``start``. Raises ``InvalidOrderError`` or
        ``OrderExistsError``, and ``IdempotencyKeyReusedError`` when another basket
        was placed with this ``key``. ``placed_by`` is who places it, authenticated, the name of an
        API key say: with four eyes (``APPROVAL_FOUR_EYES``) the same one may not approve it.
        """
        store = self._store("placing orders")
        try:
            return await store.place(basket, datetime.now(UTC), key=key, placed_by=placed_by)
        except OrderExistsError:
            if key is not None and basket.order_id == key.derived_id:
                raise IdempotencyKeyReusedError(
                    key
                ) from None  # its caller knows the key, and not the id
            raise

    async def start(self, order_id: str, *, request_id: str | None = None) -> StartedOrder:
        """Have the order carried to its end. One order, one run: twice, at once, or after the end,
        the answer is the same run. ``request_id``, of the first request, is in the run's memo.

        Raises ``NoSuchOrderError``; ``StrandedError`` when its run is over and the order is not;
        ``OrderEndedError`` when it has ended and Temporal has forgotten its run. Without the store
        an order that was not placed is started, and its run fails: see ``status``.
        """
        return await self._checkout.start(order_id, request_id=request_id)

    async def checkout(
        self, order_id: str, wait: timedelta, *, request_id: str | None = None
    ) -> CheckedOut:
        """``start``, and return what became of the payment within ``wait``, or what it waits for.

        ``PaymentPending`` when that takes longer, or no worker is there. Raises as ``start``.
        """
        return await self._checkout.checkout(order_id, wait, request_id=request_id)

    # -- following ---------------------------------------------------------------------------------

    async def status(self, order_id: str) -> Progress:
        """Return where the order stands: what its run says, or what the store knows when no worker
        answers, which may be a step behind; ``doing`` says so. Without the store: what Temporal
        knows. Raises ``NoSuchOrderError``, and without the store ``NoRunError``.
        """
        told = await self._calls.query_status(order_id)
        if isinstance(told, Progress):
            return told
        if self._orders is None:
            return await self._status_of_last_run(order_id, told)
        view = await self._orders.view(order_id)
        if view.order.status.is_final:
            told = "ended"
        return Progress(order_id, view.order.status, told, stop=_stop_in(view))

    async def _status_of_last_run(self, order_id: str, told: str) -> Progress:
        run = await self._calls.of(order_id).describe()
        if run is None:
            raise NoRunError(order_id)
        if run.status is not WorkflowExecutionStatus.RUNNING:
            outcome = outcome_of(await self._calls.end(order_id))
            if outcome is not None:
                return Progress(order_id, outcome.status, "ended", stop=outcome.stop)
            why = await self._calls.explain_missing_run(order_id)
            if not isinstance(why, StrandedError):
                raise why
        return Progress(order_id, published_status(run), told)

    async def result(self, order_id: str) -> Outcome:
        """Return how the order ended, once it has; also when it failed and was undone
        (``outcome.stop``).

        Raises ``NotStartedError``, ``NoSuchOrderError``, ``StrandedError`` when the run ended
        before the order did, or ``OrderEndedError`` when Temporal has forgotten the details.
        """
        try:
            async with self._calls.of(order_id).open_run() as run:
                return await self._retried(run.result)
        except WorkflowFailureError as error:
            if (outcome := outcome_of(error)) is not None:
                return outcome
        raise await self._calls.explain_missing_run(order_id)

    async def watch(self, order_id: str) -> AsyncIterator[Progress]:
        """Yield what ``status`` returns: now, then with each change, until the order has ended.

        Raises as ``status``, and ``NotStartedError`` or ``StrandedError``.
        """
        seen: Progress | None = None
        with contextlib.suppress(OrderEndedError):
            async with self._calls.of(order_id).open_run() as run:
                async for _ in steps_begun(self._temporal, run, self._retried):
                    now = await self._retried(lambda: self.status(order_id))
                    if now != seen:
                        seen = now
                        yield now
        last = await self.status(order_id)
        if not last.status.is_final:
            raise await self._calls.explain_missing_run(order_id)
        if last != seen:
            yield last

    async def view(self, order_id: str) -> OrderView:
        """Return everything the store knows of an order, personal data included; this needs no
        Temporal. Needs the store. Raises ``NoSuchOrderError``.
        """
        return await self._store("showing orders").view(checked_order_id(order_id))

    async def watch_view(self, order_id: str) -> AsyncIterator[OrderSnapshotView]:
        """Yield the order as the store has it, then each change as it happens, until its run ends.

        Temporal's history pushes, the store tells: this needs no worker and no polling. Needs the
        store. Raises ``NoSuchOrderError``, ``NotStartedError`` or ``StrandedError``.
        """
        store = self._store("watching what the store knows of orders")
        seen: OrderSnapshotView | None = None
        # The run may be long forgotten by Temporal; its order is not.
        with contextlib.suppress(OrderEndedError):
            async with self._calls.of(order_id).open_run() as run:
                async for doing in steps_begun(self._temporal, run, self._retried):
                    view = await self._retried(lambda: store.view(order_id))
                    if (sighting := OrderSnapshotView(view, doing)) != seen:
                        seen = sighting
                        yield sighting
        view = await store.view(order_id)
        if not view.order.status.is_final:
            raise await self._calls.explain_missing_run(order_id)
        yield OrderSnapshotView(view, "ended")

    async def page(
        self, wanted: OrderFilter, limit: int = 50, after: Cursor | None = None
    ) -> OrderPage:
        """Return orders as the store has them, newest first, started or not; this needs no
        Temporal. Needs the store. Raises ``InvalidLimitError``.
        """
        return await self._store("paging through orders").page(wanted, checked_limit(limit), after)

    def list(
        self, status: Status | None = None, *, needs_attention: bool = False, limit: int = 100
    ) -> AsyncIterator[ListedOrder]:
        """Yield started orders as Temporal lists them, newest first: all, those of one status,
        those that need attention.
        """
        return self._calls.list(status, needs_attention=needs_attention, limit=limit)

    # -- cancelling --------------------------------------------------------------------------------

    async def cancel(
        self,
        order_id: str,
        by: str = "customer",
        wait: timedelta = timedelta(seconds=10),
        *,
        actor: str = "",
    ) -> CancelAnswer | CancelUnderWay:
        """Stop the order and undo what was done; the answer is what became of it. An order that is
        placed and not started is cancelled, and never starts.

        ``CancelUnderWay`` when that takes longer than ``wait``. Raises ``TooLateError``,
        ``OrderEndedError``, ``StrandedError``, ``NoWorkerError`` or ``NoSuchOrderError``; without
        the store ``NoRunError`` for an order that was not started. ``by`` is a role or an account
        id, never a person's name; ``actor`` as in ``workflow_messages``.
        """
        request = sent(CancelRequest(by, actor))
        try:
            return await self._cancel_run(order_id, request, wait)
        except (NotStartedError, OrderEndedError) as error:
            if (cancelled := await self._cancel_unstarted(order_id, request)) is not None:
                return cancelled
            if isinstance(error, OrderEndedError):
                raise
        return await self._cancel_run(order_id, request, wait)  # a run has begun it meanwhile

    async def request_cancel(self, order_id: str, by: str = "customer", *, actor: str = "") -> None:
        """Ask the order to stop without waiting; Temporal keeps the request until a worker sees it.

        What becomes of it shows in ``status``; too late, it changes nothing. Raises as ``cancel``.
        """
        request = sent(CancelRequest(by, actor))
        try:
            return await self._signal_cancel(order_id, request)
        except (NotStartedError, OrderEndedError) as error:
            if await self._cancel_unstarted(order_id, request) is not None:
                return None
            if isinstance(error, OrderEndedError):
                raise
        return await self._signal_cancel(order_id, request)  # a run has begun it meanwhile

    async def _cancel_run(
        self, order_id: str, request: CancelRequest, wait: timedelta
    ) -> CancelAnswer | CancelUnderWay:
        answer = await self._calls.of(order_id).update(
            OrderWorkflow.cancel, request, asked="cancellation", id_=_CANCEL_ID, wait=wait
        )
        return CancelUnderWay() if isinstance(answer, NoAnswerYet) else answer

    async def _signal_cancel(self, order_id: str, request: CancelRequest) -> None:
        async with self._calls.of(order_id).open_run() as run:
            await run.signal(OrderWorkflow.cancel_order, request, rpc_timeout=CALL)

    async def _cancel_unstarted(self, order_id: str, request: CancelRequest) -> Cancelled | None:
        """Cancel an order that no run carries, and start the run that tells the customer; None when
        a run has begun it, and without the store.
        """
        if (store := self._orders) is None:
            return None
        nothing = (await store.summary(order_id)).total * 0
        stop = Stop(StopReason.CANCELLED, f"cancelled by {sender(request)}")
        if not await store.cancel_unstarted(order_id, stop, datetime.now(UTC)):
            return None
        try:
            await self._checkout.start(order_id)
        except (OrderClientError, ProviderError, RPCError, UnreachableError) as error:
            # It is cancelled all the same. The audit starts the run.
            log.warning("the customer of order %s is not told yet: %s", order_id, error)
        return Cancelled(status=Status.CANCELLED, given_back=nothing)

    # -- payment -----------------------------------------------------------------------------------

    async def submit_payment_method(self, order_id: str, payment_method: str) -> CardAccepted:
        """Charge another card after a decline, by the provider's token (``pm_…``).

        Raises ``NotWaitingError`` when the order waits for none, and as ``cancel``.
        """
        asked, card = "other card", NewCard(PAYMENT_METHOD.check(payment_method))
        answer = await self._calls.of(order_id).update(
            OrderWorkflow.submit_payment_method, card, asked=asked
        )
        if isinstance(answer, NoAnswerYet):  # accepted, and then its worker died
            raise NoWorkerError(order_id, asked, CALL)
        return answer

    async def payment_to_finish(self, order_id: str) -> PaymentToFinish:
        """Return what the customer's browser needs to confirm the payment (3-D Secure, or another
        card after a decline), read from the provider now. Needs the store.

        Raises ``NotWaitingError`` when no payment waits for the customer, ``NoCardsError``,
        ``ProviderError`` when the provider does not tell, or ``NoSuchOrderError``.
        """
        store = self._store("helping a customer to pay")
        view = await store.view(checked_order_id(order_id))
        status = view.order.status
        waiting = [
            payment
            for payment in view.payments
            if payment.state == ChargeState.NEEDS_CUSTOMER
            # The order waits for another card, by our Update or in the customer's browser.
            or (payment.state in CAN_BE_TRIED and status is Status.AWAITING_PAYMENT)
        ]
        if not waiting or status.is_final:
            raise NotWaitingError(
                f"order {order_id} has no payment for the customer to finish: it is {status}"
            )
        if self._cards is None:
            raise NoCardsError
        payment_id = waiting[-1].payment_id
        return PaymentToFinish(payment_id, await self._cards.client_secret(payment_id))

    # -- events of the card provider and the warehouse ---------------------------------------------

    async def payment_updated(self, order_id: str, change: PaymentChange | None = None) -> None:
        """Have the order read its payment again: something happened to it at the provider.

        ``change``, if that is known, spares a look at what the order knows already. Temporal keeps
        the event until a worker sees it; harmless when there is nothing to see.
        """
        async with self._calls.of(order_id).open_run() as run:
            update = PaymentUpdate(change)
            await run.signal(OrderWorkflow.payment_updated, update, rpc_timeout=CALL)

    async def parcel_updated(
        self, order_id: str, parcel_id: str, status: ParcelStatus, tracking: str = ""
    ) -> None:
        """Tell the order where a parcel is; in any order, any number of times.

        Temporal keeps the event until a worker sees it. A parcel that is not the order's changes
        nothing: the warehouse may report one before it has named it.
        """
        news = ParcelUpdate(PARCEL_ID.check(parcel_id), status, TRACKING.check(tracking))
        async with self._calls.of(order_id).open_run() as run:
            await run.signal(OrderWorkflow.parcel_updated, news, rpc_timeout=CALL)

    # ----------------------------------------------------------------------------------------------

    def _store(self, request: str) -> OrderRepository:
        if self._orders is None:
            raise StoreNeededError(request, "order store", "OrderClient(temporal, orders=…)")
        return self._orders

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        return await retry_while_unavailable(self._temporal, call, self._patience)


def _stop_in(view: OrderView) -> Stop | None:
    # Other lines have reasons too, of a refund say, or in a person's own words.
    moves = {f"order_{status}" for status in Status}
    for line in reversed(view.history):
        if line.event in moves and "reason" in line.detail:
            return Stop(StopReason(line.detail["reason"]), line.detail.get("message", ""))
    return None
