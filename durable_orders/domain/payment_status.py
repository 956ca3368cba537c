"""Payment status of an order for its customer: decided, in need of an action, or open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money, total
from durable_orders.domain.ports import ChargeState, TryRefusal
from durable_orders.domain.terms import AUTHENTICATION_REQUIRED
from durable_orders.domain.views import OrderView, PaymentView

#: Reasons of an order that ended because no card paid it.
_WITHOUT_CARD: Final = frozenset(
    {StopReason.CARD_DECLINED, StopReason.CARD_UNUSABLE, StopReason.TOO_MANY_CARDS}
)


@dataclass(frozen=True)
class PaymentTaken:
    """The money is captured."""

    amount: Money
    kind: Literal["paid"] = "paid"


@dataclass(frozen=True)
class PaymentHeld:
    """The money is authorized; it is captured once the warehouse has accepted the order."""

    amount: Money
    kind: Literal["held"] = "held"


@dataclass(frozen=True)
class PaymentDeclined:
    """The bank declined, or the payment method cannot be charged, for the provider's ``code``. With
    ``another_card`` the order waits for one, without it the order ends.
    """

    code: str
    another_card: bool = False
    kind: Literal["declined"] = "declined"


@dataclass(frozen=True)
class CustomerActionRequired:
    """The customer has to authenticate (3-D Secure). Nothing is taken yet.

    With ``needs_payment_method`` they were away when the bank asked for them: they confirm the
    payment anew in a browser, with the same card or another one.
    """

    payment_id: str
    needs_payment_method: bool = False
    kind: Literal["needs_customer"] = "needs_customer"


@dataclass(frozen=True)
class ApprovalRequired:
    """An operator has to approve the order before it is charged."""

    kind: Literal["awaiting_approval"] = "awaiting_approval"


@dataclass(frozen=True)
class PaymentStopped:
    """The order has ended without a payment, or with all of it refunded."""

    reason: StopReason | None
    kind: Literal["stopped"] = "stopped"


@dataclass(frozen=True)
class PaymentPending:
    """Nothing is known yet. ``turn`` counts the earlier answers: all callers that wait in the same
    turn share one Update.
    """

    turn: int = 0
    kind: Literal["pending"] = "pending"


PaymentProgress = (
    PaymentTaken
    | PaymentHeld
    | PaymentDeclined
    | CustomerActionRequired
    | ApprovalRequired
    | PaymentStopped
    | PaymentPending
)


def payment_from_status(
    status: Status, amount: Money, reason: StopReason | None, code: str = ""
) -> PaymentProgress | None:
    """The payment status that follows from an order's status, None while it is open.

    ``amount`` is what was taken, or the order's total before anything was. ``code``: the decline
    code, when the order ended because of one.
    """
    match status:
        case Status.HELD:
            return PaymentHeld(amount)
        case Status.PAID | Status.FULFILLED | Status.SHIPPED | Status.COMPLETED:
            return PaymentTaken(amount)
        case Status.REJECTED if reason in _WITHOUT_CARD:
            return PaymentDeclined(code)
        case Status.REJECTED | Status.CANCELLED | Status.REFUNDED:
            return PaymentStopped(reason)
        case Status.PLACED | Status.AWAITING_APPROVAL | Status.AWAITING_PAYMENT:
            return None


def payment_from_view(view: OrderView) -> PaymentProgress:
    """The payment status in our database, which may be a step behind the run."""
    order = view.order
    reason = None if order.reason is None else StopReason(order.reason)
    codes = [line.detail.get("code", "") for line in view.history if _declined(line.event)]
    taken = total((payment.captured for payment in view.payments), order.total.currency)
    amount, code = taken or order.total, codes[-1] if codes else ""
    if known := payment_from_status(order.status, amount, reason, code):
        return known
    if order.status is Status.AWAITING_APPROVAL:
        return ApprovalRequired()
    if order.status is Status.AWAITING_PAYMENT and view.payments:
        last = view.payments[-1]
        if last.state == ChargeState.NEEDS_CUSTOMER:
            return CustomerActionRequired(last.payment_id)
        if order.options.off_session and _wants_customer(last):
            return CustomerActionRequired(last.payment_id, needs_payment_method=True)
    return PaymentPending()


def _wants_customer(payment: PaymentView) -> bool:
    """Whether the newest try of a charge was declined because its customer was away."""
    code = payment.tries[-1].decline_code if payment.tries else ""
    return payment.state == ChargeState.DECLINED and code == AUTHENTICATION_REQUIRED


def _declined(event: str) -> bool:
    return event in {f"payment_{ChargeState.DECLINED}", f"payment_{TryRefusal.CARD}"}
