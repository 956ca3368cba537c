"""What people and neighbours tell a running order: decisions, cards, parcels, operators' words."""

from __future__ import annotations

from datetime import timedelta

from orders.by_hand import Stake, WrongAmountError
from orders.ids import checked_order_id
from orders.messages import Progress, Resent
from orders.money import Money
from orders.money import total as sum_of
from orders.parcels import ParcelStatus
from orders.ports import ChargeState
from orders.refusals import (
    NoCardsError,
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    UndecidedError,
)
from orders.requests import (
    Approve,
    CardAccepted,
    NewCard,
    OperatorCommand,
    ParcelUpdate,
    RefundParcel,
    Reject,
    ResendParcel,
    Resolve,
    RetryNow,
    SettleParcel,
    SkipStep,
)
from orders.views import PaymentToFinish
from runs import CALL, Runs
from workflows.order import OrderWorkflow


class Desk(Runs):
    """Requests of an order under way. Once one of them returns it is kept, whatever crashes.

    All of them raise ``NotStartedError``, ``OrderEndedError``, ``StrandedError``, ``NoWorkerError``
    or ``NoSuchOrderError``; and ``NotWaitingError`` or ``NotOperableError`` when the order does not
    wait for what is asked, as a sentence that says why. ``by`` is a role or an account id, never a
    person's name; reasons and notes hold no personal data.
    """

    # -- a person decides --------------------------------------------------------------------------

    async def approve(
        self, order_id: str, by: str, note: str = "", *, wait: timedelta = CALL
    ) -> None:
        """Let an order pass that waits for approval."""
        decision = Approve(by, note)
        await self._ask(order_id, OrderWorkflow.approve, decision, asked="approval", wait=wait)

    async def reject(
        self, order_id: str, by: str, reason: str = "", *, wait: timedelta = CALL
    ) -> None:
        """Stop an order that waits for approval; it is undone."""
        decision = Reject(by, reason)
        await self._ask(order_id, OrderWorkflow.reject, decision, asked="rejection", wait=wait)

    # -- the customer pays -------------------------------------------------------------------------

    async def submit_payment_method(self, order_id: str, payment_method: str) -> CardAccepted:
        """Offer another card after a decline, by the provider's token (``pm_…``)."""
        asked = "other card"
        card = NewCard(payment_method)
        answer = await self._ask(order_id, OrderWorkflow.submit_payment_method, card, asked=asked)
        if answer is None:  # accepted, and then its worker died
            raise NoWorkerError(order_id, asked, CALL)
        return answer

    async def payment_updated(self, order_id: str) -> None:
        """Something happened to the payment at the provider: have the order look again.

        Kept by Temporal until a worker sees it; harmless when there is nothing to see.
        """
        async with self._open(order_id) as run:
            await run.signal(OrderWorkflow.payment_updated, rpc_timeout=CALL)

    async def payment_to_finish(self, order_id: str) -> PaymentToFinish:
        """What the customer's browser needs to confirm the payment, read from the provider now.

        Raises ``NotWaitingError`` when no payment waits for the customer, ``NoCardsError``,
        ``orders.ports.ProviderError`` when the provider does not tell, or ``NoSuchOrderError``.
        """
        view = await self._book.view(checked_order_id(order_id))
        waiting = [p for p in view.payments if p.state == ChargeState.NEEDS_CUSTOMER]
        if not waiting or view.order.status.is_end:
            raise NotWaitingError(
                f"order {order_id} has no payment for the customer to finish: "
                f"it is {view.order.status}"
            )
        if self._cards is None:
            raise NoCardsError
        payment_id = waiting[-1].payment_id
        return PaymentToFinish(payment_id, await self._cards.client_secret(payment_id))

    # -- parcels on their way ----------------------------------------------------------------------

    async def parcel_updated(
        self, order_id: str, parcel_id: str, status: ParcelStatus, tracking: str = ""
    ) -> None:
        """The warehouse says where a parcel is; in any order, any number of times.

        Kept by Temporal until a worker sees it. A parcel that is not the order's changes nothing:
        the warehouse may speak of one before it has named it.
        """
        news = ParcelUpdate(parcel_id, status, tracking)
        async with self._open(order_id) as run:
            await run.signal(OrderWorkflow.parcel_updated, news, rpc_timeout=CALL)

    async def settle_parcel(
        self,
        order_id: str,
        parcel_id: str,
        outcome: str,
        by: str = "operator",
        *,
        wait: timedelta = CALL,
    ) -> None:
        """Wait no more for a parcel that is lost or late; ``outcome`` says what was agreed on."""
        # Accepted is enough: the note of it in the order's history may wait for the database.
        decision = SettleParcel(parcel_id, outcome, by)
        asked = "decision about a parcel"
        await self._ask(order_id, OrderWorkflow.settle_parcel, decision, asked=asked, wait=wait)

    async def resend_parcel(
        self, order_id: str, parcel_id: str, by: str = "operator", *, wait: timedelta = CALL
    ) -> Resent:
        """Have the contents of a parcel that is lost or late sent again; the new parcel is waited
        for instead.

        Raises ``UndecidedError`` when the warehouse is not heard within ``wait``: the order goes
        on asking it, and its history tells what came of that.
        """
        decision = ResendParcel(parcel_id, by)
        asked = "resending of a parcel"
        ask = OrderWorkflow.resend_parcel
        answer = await self._ask(order_id, ask, decision, asked=asked, wait=wait)
        if answer is None:
            raise UndecidedError(order_id, asked, wait)
        return answer

    async def refund_parcel(
        self, order_id: str, parcel_id: str, by: str = "operator", *, wait: timedelta = CALL
    ) -> None:
        """Have the contents of a parcel that is lost or late refunded, and wait no more for it."""
        # Accepted is enough: the refund has a run of its own, the note may wait for the database.
        decision = RefundParcel(parcel_id, by)
        asked = "refund of a parcel"
        await self._ask(order_id, OrderWorkflow.refund_parcel, decision, asked=asked, wait=wait)

    # -- an operator's way out of what keeps failing -----------------------------------------------

    async def retry_now(self, order_id: str, by: str = "operator") -> None:
        """Try what keeps failing again at once."""
        await self._operate(order_id, RetryNow(by))

    async def skip_step(self, order_id: str, reason: str, by: str = "operator") -> None:
        """Give up the step that keeps failing: everything done so far is undone."""
        await self._operate(order_id, SkipStep(reason, by))

    async def resolve(
        self, order_id: str, note: str, by: str = "operator", *, given_back: Money | None = None
    ) -> None:
        """Say that the undo that keeps failing was done by hand, and how.

        ``given_back``: what the customer was given back past the card provider, zero when nothing
        was taken. Asked when a charge is undone whose answer was lost
        (``Attention.asks_given_back``), and then checked against our books, which may know more
        than the order; else it is all that was taken.
        """
        said = None if given_back is None else given_back.amount
        asked = await self._asks_given_back(order_id)
        if asked or given_back is not None:
            view = await self._book.view(order_id)
            total = view.order.total
            if given_back is not None and given_back.currency != total.currency:
                message = f"order {order_id} is paid in {total.currency}, not in {given_back}"
                raise NotOperableError(message)
            taken = sum_of((payment.captured for payment in view.payments), total.currency)
            if asked and taken:
                said = _by_hand(Stake(taken, total), said)
        await self._operate(order_id, Resolve(note, by, said))

    async def _asks_given_back(self, order_id: str) -> bool:
        told = await self._told(order_id)
        return isinstance(told, Progress) and bool(
            told.attention and told.attention.asks_given_back
        )

    async def _operate(self, order_id: str, word: OperatorCommand) -> None:
        # Accepted is enough: the note of it in the order's history may wait for the database.
        await self._ask(order_id, OrderWorkflow.operate, word, asked="operator's word")


def _by_hand(stake: Stake, said: int | None) -> int:
    try:
        return stake.given_back(said).amount
    except WrongAmountError as error:
        raise NotOperableError(str(error)) from None
