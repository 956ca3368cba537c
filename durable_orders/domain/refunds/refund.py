"""Refunds of paid orders: requests, states and their transitions.

A refund reserves its amount in our database *before* any money moves, so that two of them racing
for the last euro never both get it. What may still be paid, or was paid by hand, stays reserved;
only a refund that never began releases its amount.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from durable_orders.domain.ids import UNDO_REFUND_ID, refund_key, undo_refund_key
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.message_texts import Actor, OrderId, RefundId, Remark, Sku
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardRefund, IllegalStatusError

Quantities = tuple[tuple[str, int], ...]


class RefundState(StrEnum):
    """State of a refund."""

    REQUESTED = "requested"  # its amount is reserved
    AWAITING_APPROVAL = "awaiting_approval"  # an operator has to approve it
    ISSUING = "issuing"  # the card provider may have been called: only it knows
    PENDING = "pending"  # the provider has accepted it, the bank has not
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the bank returned the money to us: it is still owed
    SETTLED = "settled"  # an operator paid it back another way
    REJECTED = "rejected"  # by the shop; no money moved
    CANCELLED = "cancelled"  # by its requester; no money moved


#: Which state may follow which. A refund that succeeded can still fail, weeks later.
FOLLOWS: Final[dict[RefundState, frozenset[RefundState]]] = {
    RefundState.REQUESTED: frozenset(
        {
            RefundState.AWAITING_APPROVAL,
            RefundState.ISSUING,
            RefundState.REJECTED,
            RefundState.CANCELLED,
            RefundState.SETTLED,
        }
    ),
    RefundState.AWAITING_APPROVAL: frozenset(
        {
            RefundState.ISSUING,
            RefundState.SETTLED,
            RefundState.REJECTED,
            RefundState.CANCELLED,
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

#: The card provider was not called yet: the refund can still be stopped.
NOT_YET_ISSUED: Final = frozenset({RefundState.REQUESTED, RefundState.AWAITING_APPROVAL})
#: Nothing was refunded and nothing will be: the amount is free for other refunds.
NEVER_ISSUED: Final = frozenset({RefundState.REJECTED, RefundState.CANCELLED})
#: The provider has accepted it, so it counts in the charge's ``refunded``.
ACCEPTED_BY_PROVIDER: Final = frozenset({RefundState.PENDING, RefundState.SUCCEEDED})

#: Money is on its way, or owed: the card provider, the bank or a person has to do something still.
UNSETTLED: Final = frozenset({RefundState.ISSUING, RefundState.PENDING, RefundState.FAILED})

#: Somebody still has to act, or to decide before. A refund in one of these without an open run is
#: stranded.
UNFINISHED: Final = NOT_YET_ISSUED | UNSETTLED

#: Why a pending refund fails when its payment is charged back, as the provider says it:
#: https://docs.stripe.com/refunds#failed-refunds
FAILED_BY_DISPUTE: Final = "charge_for_pending_refund_disputed"
#: Why such a refund is settled: nobody has given anything back in its place.
TAKEN_BY_DISPUTE: Final = "a dispute has taken it for the customer"

#: The line of an order's history about a refund of its own that cannot be set aside.
REFUSED_EVENT: Final = "refund_refused"

#: Statuses of orders that are paid and will not be undone.
REFUNDABLE: Final = frozenset({Status.FULFILLED, Status.SHIPPED, Status.COMPLETED})


class RefundReason(StrEnum):
    """Reason of a refund, for statistics."""

    RETURNED = "returned"
    DAMAGED = "damaged"
    MISSING = "missing"
    NOT_AS_DESCRIBED = "not_as_described"
    GOODWILL = "goodwill"
    OTHER = "other"


@dataclass(frozen=True)
class RefundRequest:
    """Request to refund a paid order: for ``lines``, or ``amount``, or with neither all of it.

    With both, ``amount`` instead of what the lines cost, and not more. ``refund_id`` is the shop's
    own: the same one twice is one refund. ``restock``: the lines' pieces return to stock.
    ``message`` holds no personal data: it is kept in workflow history.

    ``owed``: the order itself requests it for ``lines`` that the customer did not get. Then it is
    of what is left of them, if some was refunded before, and it is not dropped for want of a
    decision.

    ``requested_by``: who has requested it, as the ``actor`` of ``workflow_messages``; empty for the
    order itself, and for a program of the shop's own that does not say.
    """

    order_id: OrderId
    refund_id: RefundId
    lines: tuple[tuple[Sku, int], ...] = ()
    amount: Money | None = None
    restock: bool = False
    reason: RefundReason = RefundReason.OTHER
    message: Remark = ""
    owed: bool = False
    requested_by: Actor = ""

    def same_as(self, other: RefundRequest) -> bool:
        """Whether both requests are the same, whatever the order of their lines and whoever sent
        them.
        """
        mine, theirs = (replace(one, lines=(), requested_by="") for one in (self, other))
        return mine == theirs and sorted(self.lines) == sorted(other.lines)


def undo_request(order_id: str) -> RefundRequest:
    """The request of the refund that undoes an order."""
    return RefundRequest(order_id, UNDO_REFUND_ID, message="the order was undone")


@dataclass(frozen=True)
class RefundRefused:
    """The refund is refused, nothing was reserved. ``message`` is a sentence that says why.

    ``owes_nothing``: of what the order itself requested, the customer has everything.
    """

    message: str
    owes_nothing: bool = False
    kind: Literal["refund_refused"] = "refund_refused"


@dataclass(frozen=True)
class PaidCharge:
    """The charge that took the order's money, as our database has it.

    ``withdrawn`` is what the ``disputes`` have taken of it and not put back, ``by_hand`` what an
    operator gave back outside the provider. ``charged_back_by`` is the dispute because of which the
    provider refunds nothing of it now; one that was ``won`` has put its money back.
    """

    attempt: int
    payment_id: str
    captured: Money
    refunded: Money
    withdrawn: Money | None = None
    by_hand: Money | None = None
    disputes: tuple[str, ...] = ()
    charged_back_by: str = ""
    won: bool = False


@dataclass(frozen=True)
class RefundEntry:
    """A refund in our database. ``lines`` are the pieces it takes back, ``attempt`` counts its
    attempts at the bank: a refund that failed there can be tried again.
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

    @property
    def is_undo(self) -> bool:
        """Whether it undoes its order: the order's run issues it first."""
        return self.request.refund_id == UNDO_REFUND_ID

    def key(self, prefix: str, attempt: int) -> str:
        """Idempotency key of an attempt."""
        order_id, refund_id = self.request.order_id, self.request.refund_id
        if self.is_undo:
            return undo_refund_key(prefix, order_id, self.payment_id, attempt)
        return refund_key(prefix, order_id, refund_id, attempt)

    def begun(self, attempt: int) -> RefundEntry:
        """The refund when ``attempt`` is about to call the provider; unchanged when it was before.

        Raises ``IllegalStatusError`` when it must not.
        """
        is_next = attempt == self.attempt + (self.state is RefundState.FAILED)
        if is_next and RefundState.ISSUING in FOLLOWS[self.state]:
            begun = self.moved(RefundState.ISSUING)
            return replace(begun, attempt=attempt, card_refund_id="")
        if attempt <= self.attempt and self.state not in NOT_YET_ISSUED | NEVER_ISSUED:
            return self
        request = self.request
        raise IllegalStatusError(
            f"refund {request.refund_id} of order {request.order_id} is {self.state}: "
            f"attempt {attempt} cannot begin"
        )

    def merge(self, attempt: int, refund: CardRefund) -> RefundEntry:
        """The refund updated from the provider's; unchanged by an old report or attempt."""
        state = RefundState(refund.state)
        if attempt != self.attempt or state not in FOLLOWS[self.state]:
            return self
        return replace(self, state=state, card_refund_id=refund.refund_id, why=refund.problem)

    def moved(self, state: RefundState, why: str = "") -> RefundEntry:
        """The refund in ``state``; unchanged when it is in it. Raises ``IllegalStatusError``."""
        if state is self.state:
            return self
        if state not in FOLLOWS[self.state]:
            request = self.request
            raise IllegalStatusError(
                f"refund {request.refund_id} of order {request.order_id} is {self.state}: "
                f"it cannot become {state}"
            )
        return replace(self, state=state, why=why)

    def with_restock(self) -> RefundEntry:
        """The refund once its pieces are restocked; unchanged when there is nothing to restock.

        Raises ``IllegalStatusError`` unless the refund has begun: until then it may be stopped.
        """
        if self.restocked or not (self.request.restock and self.lines):
            return self
        if self.state in NOT_YET_ISSUED | NEVER_ISSUED:
            raise IllegalStatusError(
                f"refund {self.request.refund_id} is {self.state}: nothing comes back for it"
            )
        return replace(self, restocked=True)

    @property
    def event(self) -> str:
        """Name of the event in the order's history for the refund's state."""
        return f"refund_{self.state}"

    def history_detail(self) -> dict[str, str]:
        """Details of that event."""
        detail = {
            "refund_id": self.request.refund_id,
            "amount": str(self.amount),
            "attempt": str(self.attempt),
            "card_refund_id": self.card_refund_id,
            "reason": str(self.request.reason),
            "why": self.why,
            "actor": self.request.requested_by if self.state is RefundState.REQUESTED else "",
        }
        return {name: text for name, text in detail.items() if text}


@dataclass(frozen=True)
class UnfinishedRefund:
    """A refund in one of the states ``UNFINISHED``, unchanged ``since``."""

    order_id: str
    refund_id: str
    amount: Money
    state: RefundState
    since: datetime

    def __str__(self) -> str:
        return f"refund {self.refund_id} of {self.amount} is {self.state}"
