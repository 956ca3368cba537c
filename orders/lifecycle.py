"""The states of an order, what may follow which, and how its end is derived from the facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orders.money import Money


class Status(StrEnum):
    """Where an order stands. The last four are ends."""

    PLACED = "placed"
    AWAITING_APPROVAL = "awaiting_approval"  # a person has to let it pass
    AWAITING_PAYMENT = "awaiting_payment"  # the customer or the bank has to act
    HELD = "held"  # the money is set aside on the card, not taken
    PAID = "paid"
    FULFILLED = "fulfilled"  # the warehouse has it: the point of no return
    SHIPPED = "shipped"  # every parcel has left
    COMPLETED = "completed"
    REJECTED = "rejected"  # the shop said no; nothing taken
    CANCELLED = "cancelled"  # the customer said no; nothing taken
    REFUNDED = "refunded"  # money was taken and all of it given back

    @property
    def is_end(self) -> bool:
        return not FOLLOWS[self]


#: Past the point of no return: such an order is never undone.
KEPT: Final = frozenset({Status.FULFILLED, Status.SHIPPED, Status.COMPLETED})

_CLOSED_EARLY: Final = frozenset({Status.REJECTED, Status.CANCELLED, Status.REFUNDED})

#: Which status may follow which. An unpaid order may become REFUNDED because a charge whose answer
#: was lost may have happened, and a HELD one FULFILLED because its parcel had left before it was
#: recalled: the order learns of it only while undoing.
FOLLOWS: Final[dict[Status, frozenset[Status]]] = {
    Status.PLACED: frozenset(
        {Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT, Status.HELD, Status.PAID}
        | _CLOSED_EARLY
    ),
    Status.AWAITING_APPROVAL: frozenset(
        {Status.AWAITING_PAYMENT, Status.HELD, Status.PAID} | _CLOSED_EARLY
    ),
    Status.AWAITING_PAYMENT: frozenset({Status.HELD, Status.PAID} | _CLOSED_EARLY),
    Status.HELD: frozenset({Status.PAID, Status.FULFILLED} | _CLOSED_EARLY),
    Status.PAID: frozenset({Status.FULFILLED, Status.REFUNDED}),
    Status.FULFILLED: frozenset({Status.SHIPPED, Status.COMPLETED}),
    Status.SHIPPED: frozenset({Status.COMPLETED}),
    Status.COMPLETED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
}


class CancelEffect(StrEnum):
    """What asking to cancel an order does, by the status it has then."""

    NOTHING_TAKEN = "nothing was taken, nothing will be"
    PAYMENT_CLOSED = "the open payment is cancelled; refunded if the customer paid meanwhile"
    HOLD_RELEASED = "a parcel is recalled, what the bank holds is released"
    REFUNDED = "a parcel is recalled, what was taken is refunded"
    TOO_LATE = "too late: ask for a return"
    ENDED = "nothing: the order has ended"


#: The one table of what a cancellation does. A recall can come too late: then the order goes on.
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
    NOT_APPROVED = "not_approved"  # a person rejected it
    APPROVAL_TIMED_OUT = "approval_timed_out"  # nobody let it pass in time
    PAYMENT_TIMED_OUT = "payment_timed_out"  # the customer or the bank did not act in time
    HOLD_LAPSED = "hold_lapsed"  # the money was set aside, and was gone when it was to be taken
    CANNOT_FULFILL = "cannot_fulfill"  # the warehouse refused
    CANCELLED = "cancelled"  # somebody asked for it
    CLOSED_BEFORE = "closed_before"  # its stock was released by an earlier run
    GIVEN_UP = "given_up"  # an operator gave up a step that kept failing
    NO_ANSWER = "no_answer"  # a neighbour stayed silent for longer than we wait


@dataclass(frozen=True)
class Stop:
    """Why an order does not go ahead: a code to count, and a sentence to read.

    The sentence never holds personal data: it is written into workflow history.
    """

    reason: StopReason
    message: str


@dataclass(frozen=True)
class Facts:
    """What really happened to an order: the only ground for saying how it ended."""

    taken: Money
    given_back: Money
    shipped: bool
    stop: Stop | None = None
    #: A person has settled by hand that goods went out without money.
    settled_by_hand: bool = False


class UnsettledError(RuntimeError):
    """The facts do not add up to an end: money is neither kept for goods nor given back."""


def final_status(facts: Facts) -> Status:
    """How the order ended.

    Raises ``UnsettledError`` while money is held for nothing, or goods are out for no money: such
    an order has not ended, whatever anybody would like to call it.
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
