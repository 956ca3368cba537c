"""Payment activities: charge a card once, capture, or give everything back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime

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
    Paid,
    Processing,
    UnusableCard,
)
from durable_orders.domain.charges import STATUS_OF
from durable_orders.domain.ids import capture_key, charge_key, undo_refund_key
from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    AmountRefusedError,
    CardCharge,
    CardDeclinedError,
    Cards,
    ChargeEntry,
    ChargeRefusedError,
    ChargeState,
    NoAnswerError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
)


@dataclass(frozen=True)
class PaymentActivities:
    """Conversations with the card provider, each recorded in our payment ledger."""

    cards: Cards
    ledger: PaymentLedger
    orders: OrderRepository

    @activity.defn
    async def charge_card(self, charge: ChargeRequest) -> ChargeAnswer:
        """Take the order's total from the card, once per business attempt.

        Create the charge, store its id, then confirm by id: when this stops half-way, the next try
        finds the id and reads the charge back instead of charging again.
        """
        try:
            return await self._charge(charge)
        except ChargeRefusedError as refusal:
            return await self._record_refusal(charge, refusal)

    async def _charge(self, charge: ChargeRequest) -> ChargeAnswer:
        key = charge_key(charge.order_id, charge.attempt)
        entry = await self.ledger.find(charge.order_id, charge.attempt)
        if entry is None:
            if (before := await self._cancel_earlier_attempts(charge)) is not None:
                return before
            card = await self._create(charge, key)
            if card is None:
                return ChargingClosed()
        else:
            card = await self.cards.read(entry.payment_id)
        if card.state is ChargeState.OPEN:
            raise_if_stopping()
            card = await self.cards.confirm(card.payment_id, key=key)
        await self._record(charge.order_id, charge.attempt, card)
        return _to_answer(card)

    async def _record_refusal(
        self, charge: ChargeRequest, refusal: ChargeRefusedError
    ) -> ChargeAnswer:
        """The answer to a charge that did not begin, with a line in the order's history."""
        answer = _to_refusal(refusal)
        detail = {"attempt": str(charge.attempt), "code": refusal.code}
        event = f"payment_{answer.kind}"
        await self.orders.note(charge.order_id, event, datetime.now(UTC), **detail)
        return answer

    @activity.defn
    async def check_payment(self, charge: ChargeRequest) -> ChargeAnswer:
        """Read what became of a charge that waited for the customer or the bank."""
        entry = await self.ledger.find(charge.order_id, charge.attempt)
        if entry is None:
            return ChargingClosed()
        card = await self.cards.read(entry.payment_id)
        await self._record(charge.order_id, charge.attempt, card)
        return _to_answer(card)

    @activity.defn
    async def capture_payment(self, charge: ChargeRequest) -> CaptureAnswer:
        """Capture what a charge holds, once."""
        entry = await self._find_hold(charge)
        raise_if_stopping()
        key = capture_key(entry.order_id, entry.attempt)
        card = await self.cards.capture(entry.payment_id, key=key)
        await self._record(entry.order_id, entry.attempt, card)
        match card.state:
            case ChargeState.CAPTURED:
                return Paid(payment_id=card.payment_id, amount=card.captured)
            case ChargeState.CANCELLED | ChargeState.DECLINED:
                return HoldLapsed(payment_id=card.payment_id)
            case state:
                raise NoAnswerError(f"{card.payment_id} is still {state}")

    @activity.defn
    async def refund_card(self, order: OrderRef) -> ChargesUndone:
        """Undo every charge of the order, whatever became of it, and let no other begin.

        Closing comes first and takes the lock that opening takes: a ``charge_card`` that lost its
        worker and still runs somewhere either stored its id before, and is undone here, or will
        find the order closed and never confirm.
        """
        entries = await self.ledger.close(order.order_id)
        summary = await self.orders.summary(order.order_id)
        taken = given_back = Money(0, summary.total.currency)
        for entry in entries:
            card = await self._undo_charge(entry)
            taken += card.captured
            given_back += card.refunded
        return ChargesUndone(taken=taken, given_back=given_back)

    @activity.defn
    async def record_given_back_by_hand(self, by_hand: ManualRefund) -> None:
        """Record that an operator did what ``refund_card`` could not; again is a no-op."""
        await self.ledger.record_manual_refund(by_hand)

    async def _record(self, order_id: str, attempt: int, card: CardCharge) -> None:
        """Record what the provider says of the charge, and the order's status that follows from it.

        A late try never moves an order backwards, nor one that was compensated: the order's row
        refuses it.
        """
        await self.ledger.record(order_id, attempt, card)
        if status := STATUS_OF.get(card.state):
            await self.orders.move(order_id, status, None, datetime.now(UTC))

    async def _find_hold(self, charge: ChargeRequest) -> ChargeEntry:
        """The newest attempt, up to this one, that holds money or has taken it."""
        for attempt in range(charge.attempt, 0, -1):
            entry = await self.ledger.find(charge.order_id, attempt)
            if entry is not None and entry.state in {ChargeState.HELD, ChargeState.CAPTURED}:
                return entry
        raise RefusedError(f"order {charge.order_id} has no charge that holds money")

    async def _cancel_earlier_attempts(self, charge: ChargeRequest) -> ChargeAnswer | None:
        """Cancel the earlier attempts, so that none of them can take money beside this one.

        A declined charge stays open at the provider: a browser that has its secret could still pay
        it. If one was paid meanwhile, that is the answer.
        """
        for attempt in range(1, charge.attempt):
            entry = await self.ledger.find(charge.order_id, attempt)
            if entry is None:
                continue
            card = await self.cards.cancel(entry.payment_id)
            await self._record(charge.order_id, attempt, card)
            if card.state is not ChargeState.CANCELLED:
                return _to_answer(card)
        return None

    async def _create(self, charge: ChargeRequest, key: str) -> CardCharge | None:
        """Create the charge and store its id; None when the order takes no more charges."""
        order = await self.orders.get(charge.order_id)
        card = await self.cards.create(
            order_id=order.id,
            attempt=charge.attempt,
            amount=order.total,
            payment_method=charge.payment_method or order.payment_method,
            key=key,
            hold=charge.hold,
        )
        if await self.ledger.open(order.id, charge.attempt, card.payment_id, card.amount):
            return card
        # No money moves without a confirmation; this only keeps the provider's list tidy.
        await self.cards.cancel(card.payment_id)
        return None

    async def _undo_charge(self, entry: ChargeEntry) -> CardCharge:
        """Cancel a charge that took nothing, refund one that did."""
        card = await self.cards.read(entry.payment_id)
        if card.state is not ChargeState.CAPTURED and card.state is not ChargeState.CANCELLED:
            # A declined charge too: a browser that still has its secret could try another card.
            card = await self.cards.cancel(entry.payment_id)
        if card.state is ChargeState.CAPTURED:
            card = await self._refund_rest(entry, card)
        if card.state not in {ChargeState.CAPTURED, ChargeState.CANCELLED}:
            raise NoAnswerError(f"{card.payment_id} is still {card.state}: it cannot be undone yet")
        await self.ledger.record(entry.order_id, entry.attempt, card)
        return card

    async def _refund_rest(self, entry: ChargeEntry, card: CardCharge) -> CardCharge:
        """Give back what is left of a captured charge; nothing when all of it went back before."""
        rest = card.captured - card.refunded
        if not rest:
            return card
        raise_if_stopping()
        refund = await self.cards.refund(
            card.payment_id,
            rest,
            order_id=entry.order_id,
            key=undo_refund_key(entry.order_id, entry.attempt),
        )
        refunded = dataclasses.replace(card, refunded=card.refunded + refund.amount)
        await self.ledger.record(entry.order_id, entry.attempt, refunded)
        await self.ledger.record_refund(entry.order_id, entry.attempt, refund)
        return refunded


def _to_refusal(refusal: ChargeRefusedError) -> Declined | UnusableCard | AmountRefused:
    """What a refusal of the provider means to the order."""
    match refusal:
        case CardDeclinedError():
            return Declined(code=refusal.code, message=refusal.message)
        case AmountRefusedError():
            return AmountRefused(code=refusal.code, message=refusal.message)
        case _:
            return UnusableCard(code=refusal.code, message=refusal.message)


def _to_answer(card: CardCharge) -> ChargeAnswer:
    """What the state of a charge means to the order."""
    match card.state:
        case ChargeState.CAPTURED:
            return Paid(payment_id=card.payment_id, amount=card.captured)
        case ChargeState.DECLINED:
            return Declined(code=card.decline_code, message=card.message)
        case ChargeState.NEEDS_CUSTOMER:
            return AuthenticationRequired(payment_id=card.payment_id)
        case ChargeState.CANCELLED:
            return ChargingClosed()
        case ChargeState.HELD:
            return Held(card.payment_id, card.amount, card.capture_before)
        case ChargeState.PROCESSING:
            return Processing(payment_id=card.payment_id)
        case ChargeState.OPEN:
            raise NoAnswerError(f"{card.payment_id} is still {card.state}")
