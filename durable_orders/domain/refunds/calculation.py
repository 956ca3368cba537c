"""Calculation of a refund: its amount, its lines, and what is left to give back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from durable_orders.domain.charge_limits import step_problem
from durable_orders.domain.ids import InvalidRefundIdError, checked_refund_id
from durable_orders.domain.lifecycle import CLOSED_EARLY
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Order
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    NEVER_ISSUED,
    REFUNDABLE,
    PaidCharge,
    Quantities,
    RefundEntry,
    RefundRefused,
    RefundRequest,
)


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
        checked_refund_id(request.refund_id)
        if charge is None or not _can_be_refunded(order, charge, earlier):
            return RefundRefused(
                f"order {order.id} is {order.status}: only what is paid and handed to the "
                "warehouse can be refunded, cancel the order instead"
            )
        if charge.charged_back_by:
            return RefundRefused(
                f"order {order.id} is charged back by dispute {charge.charged_back_by}: while that "
                "is open the card provider gives nothing of it back, and the bank has taken "
                f"{charge.withdrawn or charge.captured * 0} already"
            )
        lines = _returned(request, _returnable(order, earlier))
        amount = _amount(request, order, charge, refundable_amount(charge, earlier))
    except (_RefusalError, InvalidRefundIdError) as refusal:
        return RefundRefused(str(refusal))
    return RefundEntry(request, amount, lines, charge.attempt, charge.payment_id)


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
