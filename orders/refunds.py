"""Refunds of paid orders: what may be given back, how much of it is left, and where one stands.

A refund sets its amount aside in our books *before* any money moves, so that two of them racing
for the last euro never both get it. Whatever may still go out, or has gone out by hand, stays set
aside; only a refund that never began gives its amount free again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal

from orders.ids import InvalidRefundIdError, checked_refund_id
from orders.lifecycle import Status
from orders.money import Money, total
from orders.order import Order
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
            *(RefundState.REJECTED, RefundState.CANCELLED),
        }
    ),
    RefundState.AWAITING_APPROVAL: frozenset(
        {RefundState.ISSUING, RefundState.REJECTED, RefundState.CANCELLED}
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
        is_next = self.state in UNDECIDED or attempt == self.attempt + 1
        if attempt <= self.attempt and not is_next and self.state not in FREED:
            return self
        begun = self.moved(RefundState.ISSUING)
        return replace(begun, attempt=attempt, card_refund_id="")

    def told(self, attempt: int, refund: CardRefund) -> RefundEntry:
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


def left_of(charge: PaidCharge, earlier: Iterable[RefundEntry]) -> Money:
    """What of the charge is neither given back nor set aside for that."""
    set_aside = (e.amount for e in earlier if e.state not in FREED | BOOKED)
    return charge.captured - charge.refunded - total(set_aside, charge.captured.currency)


def left_to_return(order: Order, earlier: Iterable[RefundEntry]) -> dict[str, int]:
    """How many pieces of each line no refund has taken back, by sku."""
    left = Counter({line.sku: line.quantity for line in order.lines})
    for entry in earlier:
        if entry.state not in FREED:
            left.subtract(dict(entry.lines))
    return dict(left)


def planned(
    request: RefundRequest,
    order: Order,
    charge: PaidCharge | None,
    earlier: Sequence[RefundEntry],
) -> RefundEntry | RefundRefused:
    """The refund that ``request`` becomes beside the order's ``earlier`` ones, or why it cannot."""
    try:
        checked_refund_id(request.refund_id)
        if order.status not in REFUNDABLE or charge is None:
            return RefundRefused(
                f"order {order.id} is {order.status}: only what is paid and handed to the "
                "warehouse can be refunded, cancel the order instead"
            )
        lines = _returned(request, left_to_return(order, earlier))
        amount = _amount(request, order, left_of(charge, earlier))
    except (_RefusalError, InvalidRefundIdError) as refusal:
        return RefundRefused(str(refusal))
    return RefundEntry(request, amount, lines, charge.attempt, charge.payment_id)


class _RefusalError(Exception):
    """The sentence of a ``RefundRefused``."""


def _returned(request: RefundRequest, left: Mapping[str, int]) -> Quantities:
    """The pieces that the refund takes back."""
    if not request.lines:
        if request.amount is None:
            return tuple(sorted((sku, quantity) for sku, quantity in left.items() if quantity))
        if request.restock:
            raise _RefusalError("only pieces can be restocked: name the lines they belong to")
        return ()
    if len(dict(request.lines)) < len(request.lines):
        raise _RefusalError("a line is there twice: add the quantities up")
    for sku, quantity in request.lines:
        if sku not in left:
            raise _RefusalError(f"order {request.order_id} has no {sku}")
        if not 1 <= quantity <= left[sku]:
            raise _RefusalError(f"{quantity} of {sku} cannot be returned: {left[sku]} are left")
    return tuple(sorted(request.lines))


def _amount(request: RefundRequest, order: Order, left: Money) -> Money:
    """What the refund gives back: more than nothing, and no more than is left."""
    prices = {line.sku: line.unit_price for line in order.lines}
    cost = total((prices[sku] * n for sku, n in request.lines), left.currency)
    wanted = request.amount
    if wanted is None:
        wanted = cost if request.lines else left
    if wanted.currency != left.currency:
        raise _RefusalError(f"order {order.id} was paid in {left.currency}, not in {wanted}")
    if wanted.amount <= 0:
        raise _RefusalError(f"there is nothing to give back: {left} of order {order.id} is left")
    if request.lines and not wanted <= cost:
        raise _RefusalError(f"{wanted} is more than these lines cost, {cost}")
    if not wanted <= left:
        raise _RefusalError(f"{wanted} cannot be given back: {left} of order {order.id} is left")
    return wanted


# -- what the shop decides -------------------------------------------------------------------------


@dataclass(frozen=True)
class RefundTerms:
    """What holds for one refund, kept in its run's history."""

    needs_approval: bool = False
    approval_timeout: timedelta = timedelta(days=3)


@dataclass(frozen=True)
class ShopRefundTerms:
    """The shop's rules. ``approval_above``: currency to minor units; refunds of more wait for a
    person, those in a currency that is not named do not.
    """

    approval_above: Mapping[str, int] = field(default_factory=dict)
    approval_timeout: timedelta = timedelta(days=3)

    def of(self, amount: Money) -> RefundTerms:
        """The terms of a refund of ``amount``."""
        limit = self.approval_above.get(amount.currency)
        return RefundTerms(limit is not None and amount.amount > limit, self.approval_timeout)
