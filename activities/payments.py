"""Payment activities: charge a card once, capture, or give everything back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from activities.handover import ChargePace, Handover, timed
from activities.refunds import issue_at_provider
from activities.worker_stop import raise_if_stopping
from durable_orders.domain.activity_messages import (
    AmountRefused,
    AuthenticationRequired,
    CaptureAnswer,
    ChargeAnswer,
    ChargeRequest,
    ChargesUndone,
    ChargingClosed,
    CustomerUnknown,
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
from durable_orders.domain.disputes.concerns import concerns_of
from durable_orders.domain.disputes.decisions import open_chargeback
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.disputes.ports import DisputeRepository, PaymentRiskReader
from durable_orders.domain.ids import UNDO_REFUND_ID, capture_key, charge_key, payment_key
from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.ports import (
    AmountRefusedError,
    CardCharge,
    CardRefund,
    CardRefundState,
    Cards,
    CardTry,
    ChargeDetails,
    ChargeEntry,
    ChargeRefusedError,
    ChargeState,
    IllegalStatusError,
    NoAnswerError,
    OrderRepository,
    PaymentLedger,
    RefusedError,
    TryRefusal,
    UnknownCustomerError,
    UnusableCardError,
)
from durable_orders.domain.refunds.ports import RefundBook
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    NEVER_ISSUED,
    UNSETTLED,
    RefundEntry,
    RefundState,
)

#: Another look may be recorded between reading our ledger and recording: then it is read again.
_LOOKS: Final = 3


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PaymentActivities:
    """Conversations with the card provider, each recorded in our payment ledger.

    Without ``disputes`` an order does not hear of what is recorded there.
    """

    cards: Cards
    ledger: PaymentLedger
    orders: OrderRepository
    refunds: RefundBook
    #: What disputes have taken, in our books and at the provider; without them, nothing.
    disputes: DisputeRepository | None = None
    risks: PaymentRiskReader | None = None
    clock: Callable[[], datetime] = _utc_now
    pace: ChargePace = field(default_factory=ChargePace)
    handover: Handover[ChargeAnswer] = field(default_factory=Handover)

    @activity.defn
    async def charge_card(self, charge: ChargeRequest) -> ChargeAnswer:
        """Have a card pay the order's total, once per business try.

        An order has one charge. Each try is announced in our ledger before the charge is confirmed:
        when this stops half-way, the next worker finds the try and asks what became of it. As a
        local activity it hands itself over when it takes its time.
        """
        this_try = (charge.order_id, charge.number)
        return await self.handover.run(this_try, lambda: timed(self.pace, self._charge(charge)))

    async def _charge(self, charge: ChargeRequest) -> ChargeAnswer:
        order, known = await self.orders.get_for_charge(charge.order_id)
        announced = known.find_try(charge.number) if known and known.undone is None else None
        if known is not None and announced is not None:
            return await self._find_answer(known, announced, charge)
        if order.undone is not None:
            return OrderUndone(order.undone)
        if known is None:
            card = await self._create_or_refuse(order, hold=charge.hold)
        else:
            card = await self._look_before_next(known)
        if isinstance(card, AmountRefused | CustomerUnknown):
            return card
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
            return await self._confirm(entry, announced, charge)
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
        found, entry = await self.orders.get_for_charge(order.order_id)
        if entry is None:
            raise RefusedError(f"order {order.order_id} has no charge that holds money")
        if entry.undone is not None:
            return OrderUndone(entry.undone)
        key = capture_key(found.key_prefix, entry.order_id, entry.payment_id)
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
        will find the order closed and never confirm. What has to be given back is in the refund
        book, as ``UNDO_REFUND_ID``, before the provider is asked; what becomes of it at the bank is
        followed by a run of its own. What an operator has given back by hand is not given back
        again.
        """
        entries = await self.ledger.close(order.order_id)
        by_hand = await self.ledger.find_manual_refund(order.order_id)
        if by_hand is not None:
            return ChargesUndone(taken=by_hand, given_back=by_hand)
        summary = await self.orders.summary(order.order_id)
        taken = given_back = on_its_way = Money(0, summary.total.currency)
        for entry in entries:
            card, refund, withdrawn = await self._undo_charge(entry, summary.key_prefix)
            taken += card.captured
            given_back += card.refunded + withdrawn + _owed(card, refund, withdrawn)
            if refund is not None and refund.state in UNSETTLED:
                on_its_way += refund.amount
        return ChargesUndone(taken, given_back, on_its_way or None)

    @activity.defn
    async def record_given_back_by_hand(self, by_hand: ManualRefund) -> None:
        """Record that an operator did what ``refund_card`` could not; again is a no-op."""
        await self.ledger.record_manual_refund(by_hand)
        refund = await self.refunds.find(by_hand.order_id, UNDO_REFUND_ID)
        if refund is not None and refund.state in UNSETTLED - ACCEPTED_BY_PROVIDER:
            settled, why = RefundState.SETTLED, f"given back by hand, as {by_hand.by} says"
            now = datetime.now(UTC)
            await self.refunds.move(by_hand.order_id, UNDO_REFUND_ID, settled, now, why)

    # -- parts of a try ----------------------------------------------------------------------------

    async def _note(self, order: Order, event: str, refused: ChargeRefusedError) -> None:
        """Write down what was refused before there was a charge to record it with."""
        await self.orders.note(order.id, event, datetime.now(UTC), code=refused.code)

    async def _create(self, order: Order, *, hold: bool) -> CardCharge:
        return await self.cards.create(
            installation=order.key_prefix,
            order_id=order.id,
            amount=order.total,
            key=payment_key(order.key_prefix, order.id),
            hold=hold,
            details=ChargeDetails.of(order),
        )

    async def _create_or_refuse(
        self, order: Order, *, hold: bool
    ) -> CardCharge | AmountRefused | CustomerUnknown:
        """Create the order's charge, or write down what the provider refuses about it."""
        try:
            return await self._create(order, hold=hold)
        except AmountRefusedError as refused:
            await self._note(order, f"payment_{TryRefusal.AMOUNT}", refused)
            return AmountRefused(code=refused.code)
        except UnknownCustomerError as refused:
            await self._note(order, "payment_customer_unknown", refused)
            return CustomerUnknown(code=refused.code)

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

    async def _find_answer(
        self, entry: ChargeEntry, announced: CardTry, charge: ChargeRequest
    ) -> ChargeAnswer:
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
        return await self._confirm(entry, announced, charge)

    async def _confirm(
        self, entry: ChargeEntry, announced: CardTry, charge: ChargeRequest
    ) -> ChargeAnswer:
        """Send a try under its key, for the first time or again.

        The same each time: the card is the announced one, and ``charge`` is the try's request, the
        same for each attempt of its activity.
        """
        if not may_be_sent(announced, self.clock()):
            await self.ledger.end_try(entry.order_id, announced.number, ChargeState.CANCELLED)
            return TryExpired()
        raise_if_stopping()
        try:
            card = await self.cards.confirm(
                entry.payment_id,
                payment_method=announced.payment_method,
                key=announced.key,
                off_session=charge.off_session,
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
        return _AS_ANSWER[refusal](code=error.code)

    async def _record(
        self,
        entry: ChargeEntry,
        card: CardCharge,
        *,
        answers: int | None = None,
        looks: int = _LOOKS,
    ) -> ChargeAnswer:
        """Record what the provider says of the charge, and the order's status that follows from it.

        A late try never moves an order backwards, nor one that was compensated: the order's row
        refuses it. Where another worker has recorded something meanwhile, this may be the older
        answer, and the run may never hear of the newer one: the provider is asked again.
        """
        leads_to = None if _is_returned(card, entry) else STATUS_OF.get(card.state)
        refused: IllegalStatusError | None = None
        try:
            is_newest = await self.ledger.record(entry, card, answers=answers, leads_to=leads_to)
        except IllegalStatusError as error:
            is_newest, refused = False, error
        if not is_newest and looks > 1:
            newer = await self.ledger.find(entry.order_id)
            if newer is not None and newer.undone is None and newer.revision != entry.revision:
                again = await self.cards.read(newer.payment_id)
                return await self._record(newer, again, looks=looks - 1)
        if refused is not None:
            raise refused
        answer = _to_answer(card, entry)
        # What is kept is not held for a decision any more.
        if isinstance(answer, Paid | Held) and entry.order_status not in FULFILLED_OR_LATER:
            risks = None
            if entry.is_questioned and self.disputes is not None:
                risks = await self.disputes.risks_of(entry.order_id)
            answer = replace(answer, concerns=concerns_of(card, entry.amount, risks))
        return answer

    # -- undoing -----------------------------------------------------------------------------------

    async def _undo_charge(
        self, entry: ChargeEntry, prefix: str
    ) -> tuple[CardCharge, RefundEntry | None, Money]:
        """Cancel a charge that took nothing, refund what is left of one that did.

        Returns the charge as it is afterwards, its refund, and what disputes have taken of the
        rest: the bank has given that back, and the provider refunds nothing of it.
        """
        card = await self.cards.read(entry.payment_id)
        if not card.captured and card.state is not ChargeState.CANCELLED:
            # A declined charge too: a browser that still has its secret could try another card.
            card = await self.cards.cancel(entry.payment_id)
        if card.state not in {ChargeState.CAPTURED, ChargeState.CANCELLED}:
            raise NoAnswerError(f"{card.payment_id} is still {card.state}: it cannot be undone yet")
        # Before anything is given back: our books refuse a refund of what they have not as taken.
        await self.ledger.record(entry, card)
        withdrawn = await self._withdrawn(entry, card)
        if not card.captured:
            return card, None, withdrawn
        refund: RefundEntry | None = None
        try:
            card, refund = await self._refund_rest(entry, card, withdrawn, prefix)
        except RefusedError as refused:
            # A dispute that nobody has told us of may have taken the money.
            risks = await self._read_risks(entry)
            if card.kept - _taken_by(risks, card):
                raise _named(refused, risks) from refused
            withdrawn = card.kept
            refund = await self._none_left(entry)
        rest = card.kept - withdrawn
        if rest != _owed(card, refund, withdrawn):
            raise NoAnswerError(f"{rest} of {card.payment_id} is not given back yet")
        return card, refund, withdrawn

    async def _none_left(self, entry: ChargeEntry) -> RefundEntry | None:
        """Have our books say that there is nothing to refund after all: a bank has taken it."""
        nothing, now = Money(0, entry.amount.currency), datetime.now(UTC)
        return await self.refunds.reserve_undo(entry.order_id, entry.payment_id, nothing, now)

    async def _refund_rest(
        self, entry: ChargeEntry, card: CardCharge, withdrawn: Money, prefix: str
    ) -> tuple[CardCharge, RefundEntry | None]:
        """Give back what is left of a captured charge, or find what became of it before.

        Returns the charge as it is afterwards.
        """
        order_id, payment_id = entry.order_id, entry.payment_id
        refund = await self.refunds.find(order_id, UNDO_REFUND_ID)
        made: CardRefund | None = None
        if refund is not None and refund.state in _MAY_CHANGE:
            key = refund.key(prefix, refund.attempt)
            made = await self.cards.find_refund(payment_id, key=key)
        if made is not None:
            card = await self.cards.read(payment_id)  # it may be of after the first look
        elif refund is None or refund.state not in _TOLD:
            now, left = datetime.now(UTC), card.kept - withdrawn
            refund = await self.refunds.reserve_undo(order_id, payment_id, left, now)
            if refund is not None and refund.state is RefundState.ISSUING:
                made = await issue_at_provider(self.cards, refund, prefix)
                if made.state is not CardRefundState.FAILED:
                    card = replace(card, refunded=card.refunded + made.amount)
        if refund is not None and made is not None:
            now = datetime.now(UTC)
            refund = await self.refunds.tell(order_id, UNDO_REFUND_ID, refund.attempt, made, now)
            if refund.state in ACCEPTED_BY_PROVIDER and not card.refunded <= refund.amount:
                await self.ledger.record(entry, card)  # others have given back a part of it
        return card, refund

    async def _withdrawn(self, entry: ChargeEntry, card: CardCharge) -> Money:
        """What disputes have taken of the money that the charge still has, as our books say."""
        if not card.kept or self.disputes is None:
            return Money(0, entry.amount.currency)
        return _taken_by(await self.disputes.risks_of(entry.order_id), card)

    async def _read_risks(self, entry: ChargeEntry) -> PaymentRisks | None:
        """What is disputed of the charge, once our books have been brought up to date."""
        if self.disputes is None or self.risks is None:
            return None
        known = await self.disputes.risks_of(entry.order_id)
        report = await self.risks.risks_of(entry.payment_id)
        report = replace(report, revision=known.revision if known else None)
        return await self.disputes.record(entry.order_id, report, self.clock())


#: States of the refund that undoes an order in which the provider may know more than our books.
_MAY_CHANGE: Final = ACCEPTED_BY_PROVIDER | {RefundState.ISSUING}
#: States in which the provider has answered for it, or a person has.
_TOLD: Final = frozenset(RefundState) - NEVER_ISSUED - {RefundState.ISSUING}


def _owed(card: CardCharge, refund: RefundEntry | None, withdrawn: Money) -> Money:
    """What the charge still has although it was to be given back: the bank has sent it back to us,
    and a person has given it back another way, or has to. What disputes have ``withdrawn`` of it is
    with the customer.
    """
    rest = card.kept - withdrawn
    if refund is None or refund.state not in {RefundState.FAILED, RefundState.SETTLED}:
        return replace(rest, amount=0)
    return refund.amount if refund.amount <= rest else rest


def _taken_by(risks: PaymentRisks | None, card: CardCharge) -> Money:
    """What disputes have taken of the money that the charge still has."""
    currency = card.amount.currency
    taken = risks.withdrawn(currency) if risks else Money(0, currency)
    return taken if taken <= card.kept else card.kept


def _named(refused: RefusedError, risks: PaymentRisks | None) -> RefusedError:
    """The refusal of a refund, with the dispute that stands in its way."""
    dispute = open_chargeback(risks) if risks else None
    if dispute is None:
        return refused
    return RefusedError(
        f"while dispute {dispute.dispute_id} over {dispute.amount} is open, the rest cannot be "
        f"given back: {refused}"
    )


def _is_returned(card: CardCharge, entry: ChargeEntry) -> bool:
    """Whether all that was taken for an order that is not over was given back at the provider."""
    is_over = entry.order_status is Status.COMPLETED
    return bool(card.captured) and not card.kept and not is_over


def _to_answer(card: CardCharge, entry: ChargeEntry) -> ChargeAnswer:
    """What the state of a charge, and its amounts, mean to the order."""
    answer: ChargeAnswer
    match card.state:
        case _ if _is_returned(card, entry):
            answer = PaymentReturned(card.payment_id, card.captured, card.refunded)
        case ChargeState.CAPTURED:
            # What is given back of an order that is kept is in its refunds, not in its own sums.
            is_kept = entry.order_status in FULFILLED_OR_LATER
            back = None if is_kept else card.refunded or None
            answer = Paid(payment_id=card.payment_id, amount=card.captured, given_back=back)
        case ChargeState.OPEN | ChargeState.DECLINED:
            answer = _to_refusal(card, entry)
        case ChargeState.NEEDS_CUSTOMER:
            answer = AuthenticationRequired(payment_id=card.payment_id)
        case ChargeState.CANCELLED:
            answer = PaymentEnded(payment_id=card.payment_id)
        case ChargeState.HELD:
            answer = Held(card.payment_id, card.held, card.capture_before)
        case ChargeState.PROCESSING:
            answer = Processing(payment_id=card.payment_id)
    return answer


def _to_refusal(card: CardCharge, entry: ChargeEntry) -> Declined | UnusableCard | AmountRefused:
    """Who refused the newest try: the bank, or the provider, which asked no bank."""
    newest = entry.tries[-1] if entry.tries else None
    if newest is not None and newest.refusal is not None and not has_answered(newest, card):
        return _AS_ANSWER[newest.refusal](code=newest.decline_code)
    if card.state is ChargeState.DECLINED:
        return Declined(card.decline_code, card.payment_id)
    # A card that never reached a bank leaves the charge as it was.
    if newest is None or newest.state is not ChargeState.DECLINED:
        raise NoAnswerError(f"{card.payment_id} is still {card.state}")
    return Declined(newest.decline_code, card.payment_id)


#: The answer to a try of which the provider refuses the card, or the amount.
_AS_ANSWER: Final[dict[TryRefusal, type[UnusableCard] | type[AmountRefused]]] = {
    TryRefusal.CARD: UnusableCard,
    TryRefusal.AMOUNT: AmountRefused,
}
