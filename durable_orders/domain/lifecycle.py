"""Statuses of an order, their transitions, and the final status derived from the facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from durable_orders.domain.money import Money


class Status(StrEnum):
    """Status of an order. The last four are final."""

    PLACED = "placed"
    AWAITING_APPROVAL = "awaiting_approval"  # an operator has to approve it
    AWAITING_PAYMENT = "awaiting_payment"  # the customer or the bank has to act
    HELD = "held"  # the money is authorized on the card, not captured
    PAID = "paid"
    FULFILLED = "fulfilled"  # the warehouse has it: the point of no return
    SHIPPED = "shipped"  # every parcel has left
    COMPLETED = "completed"
    REJECTED = "rejected"  # by the shop or the bank; nothing taken
    CANCELLED = "cancelled"  # on request; nothing taken
    REFUNDED = "refunded"  # money was taken and all of it refunded

    @property
    def is_final(self) -> bool:
        return not FOLLOWS[self]


#: Past the point of no return: an order of this status is never undone.
FULFILLED_OR_LATER: Final = frozenset({Status.FULFILLED, Status.SHIPPED, Status.COMPLETED})

#: Ended before anything left.
CLOSED_EARLY: Final = frozenset({Status.REJECTED, Status.CANCELLED, Status.REFUNDED})


class Decision(StrEnum):
    """What was decided of an order, written into its row before anybody acts on it."""

    UNDO = "undo"  # it is being undone, or has ended early
    KEEP = "keep"  # its parcels have left, or it is fulfilled


def decided(status: Status, written: Decision | None) -> Decision | None:
    """What was decided of an order of this status, with this decision written in its row."""
    if status in FULFILLED_OR_LATER:
        return Decision.KEEP
    return Decision.UNDO if status in CLOSED_EARLY else written


#: Which status may follow which. An unpaid order may become REFUNDED because a charge whose answer
#: was lost may have succeeded, and a HELD one FULFILLED because its parcel left before it could be
#: recalled: the order learns of it only while compensating.
FOLLOWS: Final[dict[Status, frozenset[Status]]] = {
    Status.PLACED: frozenset(
        {Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT, Status.HELD, Status.PAID} | CLOSED_EARLY
    ),
    Status.AWAITING_APPROVAL: frozenset(
        {Status.AWAITING_PAYMENT, Status.HELD, Status.PAID} | CLOSED_EARLY
    ),
    Status.AWAITING_PAYMENT: frozenset({Status.HELD, Status.PAID} | CLOSED_EARLY),
    Status.HELD: frozenset({Status.PAID, Status.FULFILLED} | CLOSED_EARLY),
    Status.PAID: frozenset({Status.FULFILLED, Status.REFUNDED}),
    Status.FULFILLED: frozenset({Status.SHIPPED, Status.COMPLETED}),
    Status.SHIPPED: frozenset({Status.COMPLETED}),
    Status.COMPLETED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
}


class CancelEffect(StrEnum):
    """Effect of a cancellation on an order."""

    NOTHING_TAKEN = "nothing was taken, nothing will be"
    PAYMENT_CLOSED = "the open payment is cancelled; refunded if the customer paid meanwhile"
    HOLD_RELEASED = "a parcel is recalled, what the bank holds is released"
    REFUNDED = "a parcel is recalled, what was taken is refunded"
    TOO_LATE = "too late: ask for a return"
    ENDED = "nothing: the order has ended"


#: Effect of a cancellation by the order's status. If a recall comes too late, the order goes on.
ON_CANCEL: Final[dict[Status, CancelEffect]] = {
    Status.PLACED: CancelEffect.NOTHING_TAKEN,
    Status.AWAITING_APPROVAL: CancelEffect.NOTHING_TAKEN,
    Status.AWAITING_PAYMENT: CancelEffect.PAYMENT_CLOSED,
    Status.HELD: CancelEffect.HOLD_RELEASED,
    Status.PAID: CancelEffect.REFUNDED,
    Status.FULFILLED: CancelEffect.TOO_LATE,
    Status.SHIPPED: CancelEffect.TOO_LATE,
    Status.COMPLETED: CancelEffect.ENDED,
    Status.REJECTED: CancelEffect.ENDED,
    Status.CANCELLED: CancelEffect.ENDED,
    Status.REFUNDED: CancelEffect.ENDED,
}


class StopReason(StrEnum):
    """Why an order ended early."""

    OUT_OF_STOCK = "out_of_stock"
    CARD_DECLINED = "card_declined"
    TOO_MANY_CARDS = "too_many_cards"  # declined, as often as the shop lets a customer try
    CARD_UNUSABLE = "card_unusable"  # the payment method cannot be charged, no bank was asked
    CUSTOMER_UNKNOWN = "customer_unknown"  # to the card provider: no card of theirs can be charged
    AMOUNT_REFUSED = "amount_refused"  # the provider charges no card this amount
    NOT_APPROVED = "not_approved"  # an operator rejected it
    APPROVAL_TIMED_OUT = "approval_timed_out"  # nobody approved it in time
    PAYMENT_TIMED_OUT = "payment_timed_out"  # the customer or the bank did not act in time
    PAYMENT_ENDED = "payment_ended"  # cancelled at the card provider, not by us
    PAYMENT_RETURNED = "payment_returned"  # given back at the card provider, not by us
    DISPUTED = "disputed"  # a bank or the provider questions the payment, before anything was sent
    HOLD_LAPSED = "hold_lapsed"  # the authorization was gone when it was to be captured
    CANNOT_FULFILL = "cannot_fulfill"  # the warehouse refused
    CANCELLED = "cancelled"  # on request
    CLOSED_BEFORE = "closed_before"  # its stock was released by an earlier run
    GIVEN_UP = "given_up"  # an operator skipped a step that kept failing
    NO_ANSWER = "no_answer"  # a provider did not answer for longer than we wait


@dataclass(frozen=True)
class Stop:
    """Why an order stops: a code to count, and a sentence to read.

    The sentence never holds personal data: workflow history keeps it.
    """

    reason: StopReason
    message: str


@dataclass(frozen=True)
class Facts:
    """What really happened to an order; nothing else decides its final status."""

    taken: Money
    given_back: Money
    shipped: bool
    stop: Stop | None = None
    #: An operator has settled by hand that goods were shipped unpaid.
    settled_by_hand: bool = False


class UnsettledError(RuntimeError):
    """The facts allow no final status: money is neither kept for goods nor given back."""


def final_status(facts: Facts) -> Status:
    """Derive the final status of an order.

    Raises ``UnsettledError`` while money is kept for nothing or goods are out unpaid: such an order
    has not ended.
    """
    kept = facts.taken - facts.given_back
    if facts.shipped:
        if kept.amount <= 0 and not facts.settled_by_hand:
            raise UnsettledError(f"shipped, but {facts.given_back} of {facts.taken} was given back")
        return Status.COMPLETED
    if kept:
        raise UnsettledError(f"not shipped, but {kept} was kept")
    if facts.taken:
        return Status.REFUNDED
    if facts.stop is not None and facts.stop.reason is StopReason.CANCELLED:
        return Status.CANCELLED
    return Status.REJECTED
