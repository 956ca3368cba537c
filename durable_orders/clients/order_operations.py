"""Client of orders, for the shop's operators: approve, reject, decide about parcels, help orders
whose steps keep failing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from temporalio.client import Client

from durable_orders.clients.errors import NotOperableError, StoreNeededError, UndecidedError
from durable_orders.clients.order_calls import OrderWorkflowCalls
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.clients.workflow_calls import (
    CALL,
    RUN_ENDED,
    TRY_IN_FLIGHT,
    NoAnswerYet,
    query_each,
)
from durable_orders.contracts.order import OrderWorkflow
from durable_orders.domain.activity_messages import Progress, ResendUnanswered, Resent
from durable_orders.domain.manual_settlement import ManualSettlement, WrongAmountError
from durable_orders.domain.money import Money
from durable_orders.domain.money import total as sum_of
from durable_orders.domain.ports import OrderRepository
from durable_orders.domain.refunds.messages import ParcelRefunded
from durable_orders.domain.senders import sent
from durable_orders.domain.views import ListedOrder, OrderNeedingAttention
from durable_orders.domain.workflow_messages import (
    Approve,
    OperatorCommand,
    RefundParcel,
    Reject,
    ResendParcel,
    Resolve,
    RetryNow,
    SettleParcel,
    SkipStep,
)


class OrderOperations:
    """Client of orders, for operators. Once a request returns it is kept, whatever crashes.

    Each request raises ``NotStartedError``, ``OrderEndedError``, ``StrandedError``,
    ``NoWorkerError`` or ``NoSuchOrderError``; and ``NotWaitingError`` or ``NotOperableError`` when
    the order does not wait for what is asked, or waits for it no more, as a sentence that says why;
    and ``InvalidTextError`` for an id or another text that is none. ``by`` is a role or an
    account id, never a person's name; reasons and notes hold no personal data. Without ``orders``,
    the order store, only ``resolve`` may raise ``StoreNeededError``.
    """

    def __init__(
        self,
        temporal: Client,
        orders: OrderRepository | None = None,
        *,
        limiter: UpdateLimiter | None = None,
    ) -> None:
        self._orders = orders
        self._calls = OrderWorkflowCalls(temporal, orders, limiter=limiter)

    # -- approval ----------------------------------------------------------------------------------

    async def approve(
        self, order_id: str, by: str, note: str = "", *, actor: str = "", wait: timedelta = CALL
    ) -> None:
        """Approve an order that waits for approval, or is held because its payment is uncertain."""
        decision = sent(Approve(by, note, actor))
        await self._calls.of(order_id).update(
            OrderWorkflow.approve, decision, asked="approval", wait=wait
        )

    async def reject(
        self, order_id: str, by: str, reason: str = "", *, actor: str = "", wait: timedelta = CALL
    ) -> None:
        """Stop an order that waits for approval, or is held because its payment is uncertain; it is
        undone.
        """
        decision = sent(Reject(by, reason, actor))
        await self._calls.of(order_id).update(
            OrderWorkflow.reject, decision, asked="rejection", wait=wait
        )

    # -- parcels that are lost or late -------------------------------------------------------------

    async def settle_parcel(
        self,
        order_id: str,
        parcel_id: str,
        outcome: str,
        by: str = "operator",
        *,
        actor: str = "",
        wait: timedelta = CALL,
    ) -> None:
        """Stop waiting for a parcel; ``outcome`` says what was agreed on."""
        # Accepted is enough: the note of it in the order's history may wait for the database.
        await self._calls.of(order_id).update(
            OrderWorkflow.settle_parcel,
            sent(SettleParcel(parcel_id, outcome, by, actor)),
            asked="decision about a parcel",
            wait=wait,
        )

    async def resend_parcel(
        self,
        order_id: str,
        parcel_id: str,
        by: str = "operator",
        *,
        actor: str = "",
        wait: timedelta = CALL,
    ) -> Resent:
        """Have a parcel's contents sent again; the order waits for the new parcel instead.

        Safe to repeat. Raises ``UndecidedError`` when the warehouse gives no answer, within
        ``wait`` or at all: the order goes on asking it, and its history tells what came of that.
        """
        asked = "resending of a parcel"
        decision = sent(ResendParcel(parcel_id, by, actor))
        answer = await self._calls.of(order_id).update(
            OrderWorkflow.resend_parcel, decision, asked=asked, wait=wait
        )
        if isinstance(answer, NoAnswerYet):
            raise UndecidedError(order_id, asked, wait)
        if isinstance(answer, ResendUnanswered):
            raise UndecidedError(order_id, asked, problem=answer.problem)
        return answer

    async def refund_parcel(
        self,
        order_id: str,
        parcel_id: str,
        by: str = "operator",
        *,
        actor: str = "",
        wait: timedelta = CALL,
    ) -> ParcelRefunded:
        """Have a parcel's contents refunded, and stop waiting for it once the amount is set aside:
        all that they cost, or what of it was not refunded before.

        Raises ``RefundRefusedError`` when nothing can be set aside, and the parcel is still waited
        for; ``UndecidedError`` when that is not known within ``wait``: the order goes on trying,
        and its history tells what came of it.
        """
        asked = "refund of a parcel"
        decision = sent(RefundParcel(parcel_id, by, actor))
        answer = await self._calls.of(order_id).update(
            OrderWorkflow.refund_parcel, decision, asked=asked, wait=wait
        )
        if isinstance(answer, NoAnswerYet):
            raise UndecidedError(order_id, asked, wait)
        return answer

    # -- steps that keep failing -------------------------------------------------------------------

    async def attention(self, limit: int = 100) -> tuple[OrderNeedingAttention, ...]:
        """Return running orders that need a person, newest first: what fails, since when, and what
        helps.

        Each run is queried; where no worker answers, what Temporal lists has to do.
        """
        rows = [row async for row in self._calls.list(needs_attention=True, limit=limit)]
        return await query_each(rows, self._needs_attention)

    async def _needs_attention(self, row: ListedOrder) -> OrderNeedingAttention | None:
        told = await self._calls.query_status(row.order_id)
        if told == RUN_ENDED:
            return None  # ended since: Temporal's lists lag behind a little
        if not isinstance(told, Progress):
            return OrderNeedingAttention(row.order_id, row.status, told, None)
        if told.attention is None:
            return None  # mended since it was listed
        return OrderNeedingAttention(row.order_id, told.status, told.doing, told.attention)

    async def retry_now(self, order_id: str, by: str = "operator", *, actor: str = "") -> None:
        """Try the step that keeps failing again at once.

        This and the next two raise ``NotOperableError`` also when the word came too late, and
        ``UndecidedError`` while a try is in flight that may make it so.
        """
        await self._operate(order_id, sent(RetryNow(by, actor)))

    async def skip_step(
        self, order_id: str, reason: str, by: str = "operator", *, actor: str = ""
    ) -> None:
        """Give up the step that keeps failing: everything done so far is undone."""
        await self._operate(order_id, sent(SkipStep(reason, by, actor)))

    async def resolve(
        self,
        order_id: str,
        note: str,
        by: str = "operator",
        *,
        given_back: Money | None = None,
        actor: str = "",
    ) -> None:
        """Take the undo that keeps failing as done by hand; ``note`` says how.

        ``given_back``: what the customer was given back past the card provider, zero when nothing
        was taken. Needed when a charge is undone whose answer was lost
        (``Attention.asks_given_back``), and then compared with the store, which may know more than
        the order; else it is all that was taken.
        """
        command = sent(Resolve(note, by, actor=actor))
        said = None if given_back is None else given_back.amount
        asked = await self._asks_given_back(order_id)
        if asked or given_back is not None:
            view = await self._store("resolving what was given back by hand").view(order_id)
            total = view.order.total
            if given_back is not None and given_back.currency != total.currency:
                message = f"order {order_id} is paid in {total.currency}, not in {given_back}"
                raise NotOperableError(message)
            taken = sum_of((payment.captured for payment in view.payments), total.currency)
            if asked and taken:
                said = _by_hand(ManualSettlement(taken, total), said)
        await self._operate(order_id, replace(command, given_back=said))

    async def _asks_given_back(self, order_id: str) -> bool:
        told = await self._calls.query_status(order_id)
        return isinstance(told, Progress) and bool(
            told.attention and told.attention.asks_given_back
        )

    async def _operate(self, order_id: str, word: OperatorCommand) -> None:
        asked = "operator's word"
        answer = await self._calls.of(order_id).update(OrderWorkflow.operate, word, asked=asked)
        if isinstance(answer, NoAnswerYet):
            raise UndecidedError(order_id, asked, CALL, problem=TRY_IN_FLIGHT)

    def _store(self, request: str) -> OrderRepository:
        if self._orders is None:
            raise StoreNeededError(request, "order store", "OrderOperations(temporal, orders=…)")
        return self._orders


def _by_hand(stake: ManualSettlement, said: int | None) -> int:
    try:
        return stake.given_back(said).amount
    except WrongAmountError as error:
        raise NotOperableError(str(error)) from None
