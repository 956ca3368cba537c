"""What a shopper has to know of the payment of an order: known, to be acted on, or still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orders.lifecycle import Status, StopReason
from orders.money import Money
from orders.ports import ChargeState
from orders.views import OrderView


@dataclass(frozen=True)
class PaymentTaken:
    """The money was taken."""

    amount: Money
    kind: Literal["paid"] = "paid"


@dataclass(frozen=True)
class PaymentHeld:
    """The money is set aside; it is taken once the warehouse has accepted."""

    amount: Money
    kind: Literal["held"] = "held"


@dataclass(frozen=True)
class PaymentDeclined:
    """The bank said no, with the provider's decline code; ``another_card``: the order waits for
    one. Without it the order ends.
    """

    code: str
    another_card: bool = False
    kind: Literal["declined"] = "declined"


@dataclass(frozen=True)
class CustomerNeeded:
    """The bank wants the customer to confirm (3-D Secure). Nothing is taken yet."""

    payment_id: str
    kind: Literal["needs_customer"] = "needs_customer"


@dataclass(frozen=True)
class ApprovalAwaited:
    """A person has to let the order pass before it is charged."""

    kind: Literal["awaiting_approval"] = "awaiting_approval"


@dataclass(frozen=True)
class PaymentStopped:
    """The order has ended, and nothing of it is paid any more."""

    reason: StopReason | None
    kind: Literal["stopped"] = "stopped"


@dataclass(frozen=True)
class PaymentPending:
    """Nothing is known yet. ``turn`` counts what was told before: who waits for what comes next
    waits together with all who ask in the same turn.
    """

    turn: int = 0
    kind: Literal["pending"] = "pending"


PaymentNews = (
    PaymentTaken
    | PaymentHeld
    | PaymentDeclined
    | CustomerNeeded
    | ApprovalAwaited
    | PaymentStopped
    | PaymentPending
)


def settled(
    status: Status, total: Money, reason: StopReason | None, code: str = ""
) -> PaymentNews | None:
    """What an order of this status has made of its payment, None while that is open. ``code``: the
    decline code, when the order ended because of one.
    """
    match status:
        case Status.HELD:
            return PaymentHeld(total)
        case Status.PAID | Status.FULFILLED | Status.SHIPPED | Status.COMPLETED:
            return PaymentTaken(total)
        case Status.REJECTED if reason is StopReason.CARD_DECLINED:
            return PaymentDeclined(code)
        case Status.REJECTED | Status.CANCELLED | Status.REFUNDED:
            return PaymentStopped(reason)
        case Status.PLACED | Status.AWAITING_APPROVAL | Status.AWAITING_PAYMENT:
            return None


def in_the_book(view: OrderView) -> PaymentNews:
    """What our books know of an order's payment, which may be a step behind its run."""
    order = view.order
    reason = None if order.reason is None else StopReason(order.reason)
    codes = [line.detail.get("code", "") for line in view.history if _declined(line.event)]
    if known := settled(order.status, order.total, reason, codes[-1] if codes else ""):
        return known
    if order.status is Status.AWAITING_APPROVAL:
        return ApprovalAwaited()
    if order.status is Status.AWAITING_PAYMENT and view.payments:
        last = view.payments[-1]
        if last.state == ChargeState.NEEDS_CUSTOMER:
            return CustomerNeeded(last.payment_id)
    return PaymentPending()


def _declined(event: str) -> bool:
    return event == f"payment_{ChargeState.DECLINED}"
