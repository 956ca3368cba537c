"""Refunds of paid orders: what is asked for, where one stands, and what may follow.

A refund sets its amount aside in our books *before* any money moves, so that two of them racing
for the last euro never both get it. Whatever may still go out, or has gone out by hand, stays set
aside; only a refund that never began gives its amount free again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from orders.lifecycle import Status
from orders.money import Money
from orders.ports import CardRefund, IllegalStatusError

Quantities = tuple[tuple[str, int], ...]


class RefundState(StrEnum):
    """Where a refund stands."""

    REQUESTED = "requested"  # its amount is set aside
    AWAITING_APPROVAL = "awaiting_approval"  # a person has to let it pass
    ISSUING = "issuing"  # the card provider may have been asked: only it knows
    PENDING = "pending"  # the provider has accepted it, the bank has not
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the bank sent the money back to us: it is still owed
    SETTLED = "settled"  # a person paid it back another way
    REJECTED = "rejected"  # the shop said no; nothing moved
    CANCELLED = "cancelled"  # whoever asked for it thought better; nothing moved


#: Which state may follow which. A refund that had arrived can still fail, weeks later.
FOLLOWS: Final[dict[RefundState, frozenset[RefundState]]] = {
    RefundState.REQUESTED: frozenset(
        {
            *(RefundState.AWAITING_APPROVAL, RefundState.ISSUING),
            *(RefundState.REJECTED, RefundState.CANCELLED, RefundState.SETTLED),
        }
    ),
    RefundState.AWAITING_APPROVAL: frozenset(
        {
            *(RefundState.ISSUING, RefundState.SETTLED),
            *(RefundState.REJECTED, RefundState.CANCELLED),
        }
    ),
    RefundState.ISSUING: frozenset(
        {RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.SETTLED}
    ),
    RefundState.PENDING: frozenset(
        {RefundState.SUCCEEDED, RefundState.FAILED, RefundState.SETTLED}
    ),
    RefundState.SUCCEEDED: frozenset({RefundState.FAILED}),
    RefundState.FAILED: frozenset({RefundState.ISSUING, RefundState.SETTLED}),
    RefundState.SETTLED: frozenset(),
    RefundState.REJECTED: frozenset(),
    RefundState.CANCELLED: frozenset(),
}

#: Nobody has asked the card provider yet: the refund can still be stopped.
UNDECIDED: Final = frozenset({RefundState.REQUESTED, RefundState.AWAITING_APPROVAL})
#: Nothing was given back and nothing will be: the amount is free for others.
FREED: Final = frozenset({RefundState.REJECTED, RefundState.CANCELLED})
#: The provider has accepted it, so it counts in the charge's own ``refunded``.
BOOKED: Final = frozenset({RefundState.PENDING, RefundState.SUCCEEDED})

#: Orders that are paid and will not be undone.
REFUNDABLE: Final = frozenset({Status.FULFILLED, Status.SHIPPED, Status.COMPLETED})


class RefundReason(StrEnum):
    """Why money goes back, to count."""

    RETURNED = "returned"
    DAMAGED = "damaged"
    MISSING = "missing"
    NOT_AS_DESCRIBED = "not_as_described"
    GOODWILL = "goodwill"
    OTHER = "other"


@dataclass(frozen=True)
class RefundRequest:
    """Give money of a paid order back: for ``lines``, or ``amount``, or with neither all of it.

    With both, ``amount`` instead of what the lines cost, and not more. ``refund_id`` is the shop's
    own: the same one twice is one refund. ``restock``: the lines' pieces go back on the shelf.
    ``message`` holds no personal data: it is kept in workflow history.
    """

    order_id: str
    refund_id: str
    lines: Quantities = ()
    amount: Money | None = None
    restock: bool = False
    reason: RefundReason = RefundReason.OTHER
    message: str = ""

    def same_as(self, other: RefundRequest) -> bool:
        """Whether both ask for the same, in whatever order they name the lines."""
        return replace(self, lines=()) == replace(other, lines=()) and (
            sorted(self.lines) == sorted(other.lines)
        )


@dataclass(frozen=True)
class RefundRefused:
    """This refund cannot be: nothing was set aside. ``message`` is a sentence that says why."""

    message: str
    kind: Literal["refund_refused"] = "refund_refused"


@dataclass(frozen=True)
class PaidCharge:
    """The charge that took the order's money, as our books have it."""

    attempt: int
    payment_id: str
    captured: Money
    refunded: Money


@dataclass(frozen=True)
class RefundEntry:
    """A refund in our books. ``lines`` are the pieces it takes back, ``attempt`` how often the
    bank was tried: a refund that failed there can be asked for again.
    """

    request: RefundRequest
    amount: Money
    lines: Quantities
    charge_attempt: int
    payment_id: str
    state: RefundState = RefundState.REQUESTED
    attempt: int = 1
    card_refund_id: str = ""
    why: str = ""
    restocked: bool = False

    def begun(self, attempt: int) -> RefundEntry:
        """The refund when attempt ``attempt`` asks the provider; unchanged when it has before.

        Raises ``IllegalStatusError`` when it must not be asked.
        """
        is_next = attempt == self.attempt + (self.state is RefundState.FAILED)
        if is_next and RefundState.ISSUING in FOLLOWS[self.state]:
            begun = self.moved(RefundState.ISSUING)
            return replace(begun, attempt=attempt, card_refund_id="")
        if attempt <= self.attempt and self.state not in UNDECIDED | FREED:
            return self
        request = self.request
        raise IllegalStatusError(
            f"refund {request.refund_id} of order {request.order_id} is {self.state}: "
            f"attempt {attempt} cannot begin"
        )

    def merge(self, attempt: int, refund: CardRefund) -> RefundEntry:
        """The refund after the provider's word on ``attempt``; unchanged when it is old news."""
        state = RefundState(refund.state)
        if attempt != self.attempt or state not in FOLLOWS[self.state]:
            return self
        return replace(self, state=state, card_refund_id=refund.refund_id, why=refund.problem)

    def moved(self, state: RefundState, why: str = "") -> RefundEntry:
        """The refund in ``state``; unchanged when it is there. Raises ``IllegalStatusError``."""
        if state is self.state:
            return self
        if state not in FOLLOWS[self.state]:
            request = self.request
            raise IllegalStatusError(
                f"refund {request.refund_id} of order {request.order_id} is {self.state}: "
                f"it cannot become {state}"
            )
        return replace(self, state=state, why=why)

    def back_on_shelf(self) -> RefundEntry:
        """The refund once its pieces are restocked; unchanged when there is nothing to restock.

        Raises ``IllegalStatusError`` unless the refund has begun: until then it may not come.
        """
        if self.restocked or not (self.request.restock and self.lines):
            return self
        if self.state in UNDECIDED | FREED:
            raise IllegalStatusError(
                f"refund {self.request.refund_id} is {self.state}: nothing comes back for it"
            )
        return replace(self, restocked=True)

    @property
    def event(self) -> str:
        """What the order's history calls the refund's state."""
        return f"refund_{self.state}"

    def history_detail(self) -> dict[str, str]:
        """What the order's history says beside it."""
        detail = {
            "refund_id": self.request.refund_id,
            "amount": str(self.amount),
            "attempt": str(self.attempt),
            "card_refund_id": self.card_refund_id,
            "reason": str(self.request.reason),
            "why": self.why,
        }
        return {name: text for name, text in detail.items() if text}
