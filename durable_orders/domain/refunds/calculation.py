"""Calculation of a refund: its amount, its lines, and what is left to give back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from durable_orders.domain.charge_limits import step_problem
from durable_orders.domain.ids import (
    UNDO_REFUND_ID,
    InvalidRefundIdError,
    checked_refund_id,
    is_orders_own_refund,
)
from durable_orders.domain.lifecycle import CLOSED_EARLY
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Order
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    NEVER_ISSUED,
    NOT_YET_ISSUED,
    REFUNDABLE,
    PaidCharge,
    Quantities,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
    undo_request,
)

#: Why a shop cannot request ``UNDO_REFUND_ID``.
OF_THE_UNDO: Final = (
    f"{UNDO_REFUND_ID} is the id of the refund that undoes an order, which an order makes by "
    "itself: take another id"
)
_GIVEN_BACK_BY_OTHERS: Final = "all of it was given back at the card provider, and not by us"


def refundable_amount(charge: PaidCharge, earlier: Iterable[RefundEntry]) -> Money:
    """What of the charge is neither given back, taken by disputes, nor reserved for a refund."""
    reserved = (e.amount for e in earlier if e.state not in NEVER_ISSUED | ACCEPTED_BY_PROVIDER)
    gone = [amount for amount in (charge.withdrawn, charge.by_hand) if amount is not None]
    gone += [charge.refunded, *reserved]
    return charge.captured - total(gone, charge.captured.currency)


def returnable_quantities(order: Order, earlier: Iterable[RefundEntry]) -> dict[str, int]:
    """Pieces of each line that no refund has taken back, by sku."""
    left = Counter({line.sku: line.quantity for line in order.lines})
    for entry in earlier:
        if entry.state not in NEVER_ISSUED:
            left.subtract(dict(entry.lines))
    return dict(left)


def plan_refund(
    request: RefundRequest,
    order: Order,
    charge: PaidCharge | None,
    earlier: Sequence[RefundEntry],
) -> RefundEntry | RefundRefused:
    """Calculate the refund for ``request`` beside the order's ``earlier`` ones, or refuse it."""
    try:
        paid = _refundable_charge(request, order, charge, earlier)
        if request.owed:
            return _plan_owed(request, order, paid, earlier)
        lines = _returned(request, _returnable(order, earlier))
        amount = _amount(request, order, paid, refundable_amount(paid, earlier))
    except (_RefusalError, InvalidRefundIdError) as refusal:
        return RefundRefused(str(refusal))
    return RefundEntry(request, amount, lines, paid.attempt, paid.payment_id)


def _refundable_charge(
    request: RefundRequest,
    order: Order,
    charge: PaidCharge | None,
    earlier: Sequence[RefundEntry],
) -> PaidCharge:
    """The charge, unless this request cannot be about it whatever its amount."""
    if checked_refund_id(request.refund_id) == UNDO_REFUND_ID:
        raise _RefusalError(OF_THE_UNDO)
    if is_orders_own_refund(request.refund_id) and not request.owed:
        raise _RefusalError(
            f"the id {request.refund_id} is that of a refund which an order starts by itself: "
            "choose another"
        )
    if charge is None or not _can_be_refunded(order, charge, earlier):
        raise _RefusalError(
            f"order {order.id} is {order.status}: only what is paid and handed to the "
            "warehouse can be refunded, cancel the order instead"
        )
    if charge.charged_back_by:
        raise _RefusalError(
            f"order {order.id} is charged back by dispute {charge.charged_back_by}: while that "
            "is open the card provider gives nothing of it back, and the bank has taken "
            f"{charge.withdrawn or charge.captured * 0} already"
        )
    return charge


def plan_undo(
    order_id: str, charge: PaidCharge, left: Money, known: RefundEntry | None
) -> RefundEntry | None:
    """The refund that undoes an order, about to be issued; None when there is nothing to give back.

    ``left`` is what the provider still has of the charge. Of a refund that is ``known`` and being
    issued, the provider must know nothing: then it is of what is left now, under a new attempt's
    key. That is less when others have given back or taken a part meanwhile, more when such a part
    has come back. The provider gives back no more than the charge has taken, so that the key before
    cannot give it back twice.
    """
    if known is None:
        entry = RefundEntry(undo_request(order_id), left, (), charge.attempt, charge.payment_id)
        return replace(entry, state=RefundState.ISSUING) if left else None
    if known.state not in {RefundState.ISSUING, RefundState.CANCELLED}:
        return known
    if not left:
        return replace(known, state=RefundState.CANCELLED, why=_GIVEN_BACK_BY_OTHERS)
    if known.state is RefundState.ISSUING and known.amount == left:
        return known
    return replace(known, state=RefundState.ISSUING, amount=left, attempt=known.attempt + 1, why="")


def _can_be_refunded(order: Order, charge: PaidCharge, earlier: Sequence[RefundEntry]) -> bool:
    """Whether the order was handed over; or was undone, and a dispute that was won has put money
    back which is its customer's.
    """
    is_owed = charge.won and refundable_amount(charge, earlier).amount > 0
    return order.status in REFUNDABLE or (order.status in CLOSED_EARLY and is_owed)


def _returnable(order: Order, earlier: Sequence[RefundEntry]) -> Mapping[str, int]:
    """Nothing comes back of an order that was undone."""
    return {} if order.status in CLOSED_EARLY else returnable_quantities(order, earlier)


class _RefusalError(Exception):
    """The sentence of a ``RefundRefused``."""


def _plan_owed(
    request: RefundRequest, order: Order, charge: PaidCharge, earlier: Sequence[RefundEntry]
) -> RefundEntry | RefundRefused:
    """What of the owed lines is left to give back, with a ``why`` when that is not all of it.

    Another refund that may still be stopped is decided first: its amount may become free again.
    """
    prices = {line.sku: line.unit_price for line in order.lines}
    owed: Counter[str] = Counter()
    for sku, quantity in request.lines:
        if sku not in prices:
            raise _RefusalError(f"order {request.order_id} has no {sku}")
        owed[sku] += quantity
    currency = charge.captured.currency
    cost = total((prices[sku] * n for sku, n in owed.items()), currency)

    def left_beside(entries: Iterable[RefundEntry]) -> tuple[Quantities, Money]:
        entries = tuple(entries)
        returnable = returnable_quantities(order, entries)
        pieces = {sku: min(owed[sku], returnable[sku]) for sku in sorted(owed)}
        lines = tuple((sku, quantity) for sku, quantity in pieces.items() if quantity > 0)
        amount = total((prices[sku] * n for sku, n in lines), currency)
        left = refundable_amount(charge, entries)
        return lines, amount if amount <= left else left

    if not cost:
        return RefundRefused("these pieces cost nothing", owes_nothing=True)
    if charge.captured <= charge.refunded:
        message = f"all of order {order.id}, {charge.captured}, was given back already"
        return RefundRefused(message, owes_nothing=True)
    undecided = [entry for entry in earlier if entry.state in NOT_YET_ISSUED]
    lines, amount = left_beside(earlier)
    if (lines, amount) != left_beside(entry for entry in earlier if entry not in undecided):
        others = " and ".join(f"{e.request.refund_id} of {e.amount}" for e in undecided)
        raise _RefusalError(
            f"{cost} is owed for order {order.id}, and refund {others} is not decided yet: "
            "approve, reject or cancel it, then try again"
        )
    if amount.amount <= 0:
        left = refundable_amount(charge, earlier)
        raise _RefusalError(
            f"{cost} is owed for order {order.id}, and there is nothing to give back for it: "
            f"{left} of the order is left, and other refunds may have taken these pieces back"
        )
    if problem := step_problem(amount):
        raise _RefusalError(f"{problem}. Refund another amount of order {order.id}")
    entry = RefundEntry(request, amount, lines, charge.attempt, charge.payment_id)
    if amount == cost:
        return entry
    why = f"{amount} is left of the {cost} that these pieces cost: the rest is refunded already"
    return replace(entry, why=why)


def _returned(request: RefundRequest, left: Mapping[str, int]) -> Quantities:
    """The (sku, pieces) that the refund takes back."""
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


def _amount(request: RefundRequest, order: Order, charge: PaidCharge, left: Money) -> Money:
    """The amount to refund: more than nothing, no more than is left, and one a card can take."""
    prices = {line.sku: line.unit_price for line in order.lines}
    cost = total((prices[sku] * n for sku, n in request.lines), left.currency)
    wanted = request.amount
    if wanted is None:
        wanted = cost if request.lines else left
    if wanted.currency != left.currency:
        raise _RefusalError(f"order {order.id} was paid in {left.currency}, not in {wanted}")
    if wanted.amount <= 0:
        sentence = f"there is nothing to give back: {left} of order {order.id} is left"
        raise _RefusalError(sentence + _taken_by_disputes(charge))
    if request.lines and not wanted <= cost:
        raise _RefusalError(f"{wanted} is more than these lines cost, {cost}")
    if not wanted <= left:
        sentence = f"{wanted} cannot be given back: {left} of order {order.id} is left"
        raise _RefusalError(sentence + _taken_by_disputes(charge))
    if problem := step_problem(wanted):
        raise _RefusalError(f"{problem}. Name an amount")
    return wanted


def _taken_by_disputes(charge: PaidCharge) -> str:
    if not charge.withdrawn:
        return ""
    return f", and {charge.withdrawn} was taken by dispute {' and '.join(charge.disputes)}"
