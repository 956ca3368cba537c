"""Payment activities: charge a card once, capture, or give everything back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from activities.worker_stop import raise_if_stopping
from durable_orders.domain.activity_messages import (
    AmountRefused,
    AuthenticationRequired,
    CaptureAnswer,
    ChargeAnswer,
    ChargeRequest,
    ChargesUndone,
    ChargingClosed,
    Declined,
    Held,
    HoldLapsed,
    ManualRefund,
    OrderRef,
    OrderUndone,
    Paid,
    PaymentEnded,
    PaymentReturned,
    Processing,
    TryExpired,
    UnusableCard,
)
from durable_orders.domain.charges import (
    CAN_BE_TRIED,
    LIVE_TRY,
    STATUS_OF,
    has_answered,
    may_be_sent,
)
from durable_orders.domain.ids import capture_key, charge_key, payment_key, undo_refund_key
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import (
    AmountRefusedError,
    CardCharge,
    Cards,
    CardTry,
    ChargeEntry,
    ChargeRefusedError,
    ChargeState,
    NoAnswerError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
    TryRefusal,
    UnusableCardError,
)

#: Another look may be recorded between reading our ledger and recording: then it is read again.
_LOOKS: Final = 3


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PaymentActivities:
    """Conversations with the card provider, each recorded in our payment ledger."""

    cards: Cards
    ledger: PaymentLedger
    orders: OrderRepository
    clock: Callable[[], datetime] = _utc_now

    @activity.defn
    async def charge_card(self, charge: ChargeRequest) -> ChargeAnswer:
        """Have a card pay the order's total, once per business try.

        An order has one charge. Each try is announced in our ledger before the charge is confirmed:
        when this stops half-way, the next worker finds the try and asks what became of it.
        """
        known = await self.ledger.find(charge.order_id)
        announced = known.find_try(charge.number) if known and known.undone is None else None
        if known is not None and announced is not None:
            return await self._find_answer(known, announced)
        order = await self.orders.get(charge.order_id)
        if order.undone is not None:
            return OrderUndone(order.undone)
        if known is None:
            try:
                card = await self._create(order, hold=charge.hold)
            except AmountRefusedError as refused:
                event, now = f"payment_{TryRefusal.AMOUNT}", datetime.now(UTC)
                await self.orders.note(order.id, event, now, code=refused.code)
                return AmountRefused(code=refused.code, message=refused.message)
        else:
            card = await self._look_before_next(known)
        wanted = CardTry(
            number=charge.number,
            payment_method=charge.payment_method or order.payment_method,
            charge_before=card.latest_charge,
            key=charge_key(order.key_prefix, order.id, charge.number),
            announced_at=self.clock(),
        )
        if card.state not in CAN_BE_TRIED:
            # The customer or the bank is busy with it, or it is over. The try is announced as one
            # that is not made, so that no worker that was cut off makes it later.
            wanted = replace(wanted, state=ChargeState.CANCELLED)
        entry = await self.ledger.announce(order.id, card.payment_id, card.amount, wanted)
        if entry is None:
            if known is None:
                # No money moves without a confirmation: this keeps the provider's list tidy.
                await self.cards.cancel(card.payment_id)
            return ChargingClosed()
        announced = entry.find_try(charge.number) or wanted
        if announced.state is ChargeState.OPEN:
            return await self._confirm(entry, announced)
        return await self._record(entry, await self.cards.read(entry.payment_id))

    @activity.defn
    async def check_payment(self, order: OrderRef) -> ChargeAnswer:
        """Read what became of the order's charge since it was confirmed."""
        entry = await self.ledger.find(order.order_id)
        if entry is None:
            return ChargingClosed()
        if entry.undone is not None:
            return OrderUndone(entry.undone)
        return await self._record(entry, await self.cards.read(entry.payment_id))

    @activity.defn
    async def capture_payment(self, order: OrderRef) -> CaptureAnswer:
        """Capture what the order's charge holds, once; nothing of one that is being undone."""
        entry = await self.ledger.find(order.order_id)
        if entry is None:
            raise RefusedError(f"order {order.order_id} has no charge that holds money")
        if entry.undone is not None:
            return OrderUndone(entry.undone)
        prefix = (await self.orders.summary(order.order_id)).key_prefix
        key = capture_key(prefix, entry.order_id, entry.payment_id)
        raise_if_stopping()
        card = await self.cards.capture(entry.payment_id, key=key)
        match await self._record(entry, card):
            case Paid() | PaymentReturned() as answer:
                return answer
            case PaymentEnded() | Declined():
                return HoldLapsed(payment_id=card.payment_id)
            case _:
                raise NoAnswerError(f"{card.payment_id} is still {card.state}")

    @activity.defn
    async def refund_card(self, order: OrderRef) -> ChargesUndone:
        """Undo the order's charge, whatever became of it, and let no other try begin.

        Closing comes first and takes the lock that announcing takes: a ``charge_card`` that lost
        its worker and still runs somewhere either announced its try before, and is undone here, or
        will find the order closed and never confirm. What an operator has given back by hand is not
        given back again.
        """
        entries = await self.ledger.close(order.order_id)
        by_hand = await self.ledger.find_manual_refund(order.order_id)
        if by_hand is not None:
            return ChargesUndone(taken=by_hand, given_back=by_hand)
        summary = await self.orders.summary(order.order_id)
        taken = given_back = Money(0, summary.total.currency)
        for entry in entries:
            card = await self._undo_charge(entry, summary.key_prefix)
            taken += card.captured
            given_back += card.refunded
        return ChargesUndone(taken=taken, given_back=given_back)

    @activity.defn
    async def record_given_back_by_hand(self, by_hand: ManualRefund) -> None:
        """Record that an operator did what ``refund_card`` could not; again is a no-op."""
        await self.ledger.record_manual_refund(by_hand)

    # -- parts of a try ----------------------------------------------------------------------------

    async def _create(self, order: Order, *, hold: bool) -> CardCharge:
        return await self.cards.create(
            installation=order.key_prefix,
            order_id=order.id,
            amount=order.total,
            key=payment_key(order.key_prefix, order.id),
            hold=hold,
        )

    async def _look_before_next(self, known: ChargeEntry) -> CardCharge:
        """Read the charge before another try is announced. Where our ledger has the last try as
        still under way, that was an older look, recorded meanwhile: this one is recorded over it.
        """
        card = await self.cards.read(known.payment_id)
        for _ in range(_LOOKS):
            if not known.tries or known.tries[-1].state not in LIVE_TRY:
                break
            await self.ledger.record(known, card)
            again = await self.ledger.find(known.order_id)
            if again is None or again.revision == known.revision:
                break  # nothing newer is known of it
            known, card = again, await self.cards.read(known.payment_id)
        return card

    async def _find_answer(self, entry: ChargeEntry, announced: CardTry) -> ChargeAnswer:
        """What became of a try that was announced before: by this worker or by another.

        Only a charge newer than the one it was announced with is its answer. Without one the same
        request is sent again, under the same key, as long as the provider is sure to know the key.
        """
        card = await self.cards.read(entry.payment_id)
        if announced.state is ChargeState.CANCELLED and card.state is ChargeState.OPEN:
            return TryExpired()  # as before: the answer that said so was lost
        if announced.state is not ChargeState.OPEN:
            return await self._record(entry, card)
        if has_answered(announced, card):
            return await self._record(entry, card, answers=announced.number)
        return await self._confirm(entry, announced)

    async def _confirm(self, entry: ChargeEntry, announced: CardTry) -> ChargeAnswer:
        """Send a try under its key, for the first time or again."""
        if not may_be_sent(announced, self.clock()):
            await self.ledger.end_try(entry.order_id, announced.number, ChargeState.CANCELLED)
            return TryExpired()
        raise_if_stopping()
        try:
            card = await self.cards.confirm(
                entry.payment_id, payment_method=announced.payment_method, key=announced.key
            )
        except UnusableCardError as refused:
            return await self._end_refused(entry, announced, TryRefusal.CARD, refused)
        except AmountRefusedError as refused:
            return await self._end_refused(entry, announced, TryRefusal.AMOUNT, refused)
        return await self._record(entry, card, answers=announced.number)

    async def _end_refused(
        self,
        entry: ChargeEntry,
        announced: CardTry,
        refusal: TryRefusal,
        error: ChargeRefusedError,
    ) -> ChargeAnswer:
        """End a try of which no bank was asked, so that it is never sent again.

        Only after a look: a request of this try that got no answer, or the customer in a browser,
        may have brought the charge further meanwhile.
        """
        card = await self.cards.read(entry.payment_id)
        if has_answered(announced, card):
            return await self._record(entry, card, answers=announced.number)
        await self.ledger.end_try(
            entry.order_id, announced.number, ChargeState.DECLINED, error.code, refusal
        )
        return _AS_ANSWER[refusal](code=error.code, message=error.message)

    async def _record(
        self, entry: ChargeEntry, card: CardCharge, *, answers: int | None = None
    ) -> ChargeAnswer:
        """Record what the provider says of the charge, and the order's status that follows from it.

        A late try never moves an order backwards, nor one that was compensated: the order's row
        refuses it.
        """
        await self.ledger.record(entry, card, answers=answers)
        answer = _to_answer(card, entry)
        status = STATUS_OF.get(card.state)
        if status is not None and not isinstance(answer, PaymentReturned):
            await self.orders.move(entry.order_id, status, None, datetime.now(UTC))
        return answer

    # -- undoing -----------------------------------------------------------------------------------

    async def _undo_charge(self, entry: ChargeEntry, prefix: str) -> CardCharge:
        """Cancel a charge that took nothing, refund what is left of one that did."""
        card = await self.cards.read(entry.payment_id)
        if not card.captured and card.state is not ChargeState.CANCELLED:
            # A declined charge too: a browser that still has its secret could try another card.
            card = await self.cards.cancel(entry.payment_id)
        if card.kept:
            card = await self._refund_rest(entry, card, prefix)
        if card.kept or card.state not in {ChargeState.CAPTURED, ChargeState.CANCELLED}:
            raise NoAnswerError(f"{card.payment_id} is still {card.state}: it cannot be undone yet")
        await self.ledger.record(entry, card)
        return card

    async def _refund_rest(self, entry: ChargeEntry, card: CardCharge, prefix: str) -> CardCharge:
        """Give back what is left of a captured charge."""
        raise_if_stopping()
        refund = await self.cards.refund(
            card.payment_id,
            card.kept,
            installation=prefix,
            order_id=entry.order_id,
            key=undo_refund_key(prefix, entry.order_id, entry.payment_id),
        )
        refunded = replace(card, refunded=card.refunded + refund.amount)
        await self.ledger.record(entry, refunded)
        await self.ledger.record_refund(entry.order_id, entry.payment_id, refund)
        return refunded


def _to_answer(card: CardCharge, entry: ChargeEntry) -> ChargeAnswer:
    """What the state of a charge, and its amounts, mean to the order."""
    answer: ChargeAnswer
    match card.state:
        case _ if card.captured and not card.kept and entry.order_status is not Status.COMPLETED:
            answer = PaymentReturned(card.payment_id, card.captured, card.refunded)
        case ChargeState.CAPTURED:
            answer = Paid(payment_id=card.payment_id, amount=card.captured)
        case ChargeState.OPEN | ChargeState.DECLINED:
            answer = _to_refusal(card, entry)
        case ChargeState.NEEDS_CUSTOMER:
            answer = AuthenticationRequired(payment_id=card.payment_id)
        case ChargeState.CANCELLED:
            answer = PaymentEnded(payment_id=card.payment_id)
        case ChargeState.HELD:
            answer = Held(card.payment_id, card.amount, card.capture_before)
        case ChargeState.PROCESSING:
            answer = Processing(payment_id=card.payment_id)
    return answer


def _to_refusal(card: CardCharge, entry: ChargeEntry) -> Declined | UnusableCard | AmountRefused:
    """Who refused the newest try: the bank, or the provider, which asked no bank."""
    newest = entry.tries[-1] if entry.tries else None
    if newest is not None and newest.refusal is not None and not has_answered(newest, card):
        return _AS_ANSWER[newest.refusal](code=newest.decline_code, message="")
    if card.state is ChargeState.DECLINED:
        return Declined(code=card.decline_code, message=card.message)
    # A card that never reached a bank leaves the charge as it was.
    if newest is None or newest.state is not ChargeState.DECLINED:
        raise NoAnswerError(f"{card.payment_id} is still {card.state}")
    return Declined(code=newest.decline_code, message="")


#: The answer to a try of which the provider refuses the card, or the amount.
_AS_ANSWER: Final[dict[TryRefusal, type[UnusableCard] | type[AmountRefused]]] = {
    TryRefusal.CARD: UnusableCard,
    TryRefusal.AMOUNT: AmountRefused,
}
