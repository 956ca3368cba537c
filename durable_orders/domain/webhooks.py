"""Webhook events of Stripe, the warehouse and Resend, in the domain's terms.

An event carries no more than its delivery needs: ids and codes, no amounts, no card data, no
addresses. Amounts are never taken from an event, but read from the provider again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import ChargeState
from durable_orders.domain.workflow_messages import PaymentChange


class WebhookSource(StrEnum):
    """Sender of an event."""

    STRIPE = "stripe"
    WAREHOUSE = "warehouse"
    RESEND = "resend"


@dataclass(frozen=True)
class PaymentChanged:
    """An order's payment has changed: its run should read it again. ``change`` is None when it may
    be anything. ``payment_id`` is empty when the event does not name it.
    """

    order_id: str
    change: PaymentChange | None = None
    payment_id: str = ""
    kind: Literal["payment"] = "payment"


@dataclass(frozen=True)
class PaymentRiskChanged:
    """A dispute, early fraud warning or review of a payment has changed: they should be read again.

    It names no order: only our database knows which one is paid with ``payment_id``.
    """

    payment_id: str
    kind: Literal["payment_risk"] = "payment_risk"


@dataclass(frozen=True)
class RefundChanged:
    """A refund has changed: its run should read it again."""

    order_id: str
    refund_id: str
    kind: Literal["refund"] = "refund"


@dataclass(frozen=True)
class UnmarkedRefundChanged:
    """A refund has changed that carries no mark: it was made by hand. Its payment's id leads to the
    order, if it is one of ours.
    """

    payment_id: str
    kind: Literal["unmarked_refund"] = "unmarked_refund"


@dataclass(frozen=True)
class ParcelChanged:
    """A parcel has a new status."""

    order_id: str
    parcel_id: str
    status: ParcelStatus
    tracking: str = ""
    kind: Literal["parcel"] = "parcel"


class MailDeliveryFailure(StrEnum):
    """What became of an email that the email service had accepted."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"  # the customer marked it as spam
    FAILED = "failed"
    SUPPRESSED = "suppressed"  # the address bounced before: not even tried


@dataclass(frozen=True)
class MailNotDelivered:
    """An email was not delivered, or marked as spam. ``why`` is the service's code."""

    mail_id: str
    fate: MailDeliveryFailure
    why: str = ""
    kind: Literal["mail"] = "mail"


EventPayload = (
    PaymentChanged
    | PaymentRiskChanged
    | RefundChanged
    | UnmarkedRefundChanged
    | ParcelChanged
    | MailNotDelivered
)


@dataclass(frozen=True)
class WebhookEvent:
    """A webhook event. ``news`` is None when there is nothing to deliver.

    The same ``event_id`` of the same source is the same event. ``installation`` is the mark of what
    it is about; None when it names what only our database can tell, as the id of a mail or payment.
    """

    source: WebhookSource
    event_id: str
    type: str
    news: EventPayload | None
    installation: str | None = None


class BadSignatureError(Exception):
    """The event is not signed with our secret, or was signed too long ago."""


class UnreadableEventError(Exception):
    """The signature is valid, but the body is not an event as its sender documents them."""


def payload_to_json(news: EventPayload) -> dict[str, Any]:
    """News as they are stored in the database."""
    return asdict(news)


def payload_from_json(facts: dict[str, Any]) -> EventPayload | None:
    """News read from the database; None of a kind that this version of the code does not know."""
    fields = {name: value for name, value in facts.items() if name != "kind"}
    match facts["kind"]:
        case "payment":
            change = fields.get("change")
            fields["change"] = None if change is None else PaymentChange(change)
        case "parcel":
            fields["status"] = ParcelStatus(fields["status"])
        case "mail":
            fields["fate"] = MailDeliveryFailure(fields["fate"])
    known = _PAYLOADS.get(facts["kind"])
    return None if known is None else known(**fields)


_PAYLOADS: Final[Mapping[str, Callable[..., EventPayload]]] = {
    "payment": PaymentChanged,
    "payment_risk": PaymentRiskChanged,
    "refund": RefundChanged,
    "unmarked_refund": UnmarkedRefundChanged,
    "parcel": ParcelChanged,
    "mail": MailNotDelivered,
}


def is_known_by_end(change: PaymentChange | None, status: Status) -> bool:
    """Whether an order that has ended as ``status`` knows of this change of its payment: the event
    has only come after its end.
    """
    match change:
        case PaymentChange.PAID:
            return status in {Status.COMPLETED, Status.REFUNDED}
        case PaymentChange.HELD:
            return status is Status.COMPLETED
        case PaymentChange.DECLINED | PaymentChange.REQUIRES_ACTION:
            return True  # no money has moved
        case PaymentChange.CANCELLED | None:
            return False


# -- what the books hold already ------------------------------------------------------------------


@dataclass(frozen=True)
class BookedPayment:
    """What our books say of a payment and of its order. ``is_being_tried``: a try is announced and
    has no answer yet, so a worker may be asking right now. ``is_undone``: so it was decided.
    ``has_waited``: the order was waiting for its customer or the bank.
    """

    order_status: Status
    state: ChargeState
    is_being_tried: bool = False
    is_undone: bool = False
    has_waited: bool = False


class Novelty(StrEnum):
    """How a change of a payment compares with our books."""

    KNOWN = "known"  # the order has moved past it
    BEING_RECORDED = "being_recorded"  # a worker is about to write the same, as far as we know
    NEW = "new"


_PAID_OR_LATER: Final = FULFILLED_OR_LATER | {Status.PAID, Status.REFUNDED}
_HELD_OR_LATER: Final = _PAID_OR_LATER | {Status.HELD}
_MONEY_IS_THERE: Final = frozenset({PaymentChange.HELD, PaymentChange.PAID})
#: States of a charge that include the change.
_BOOKED_AS: Final = {
    PaymentChange.PAID: frozenset({ChargeState.CAPTURED}),
    PaymentChange.HELD: frozenset({ChargeState.HELD, ChargeState.CAPTURED}),
    PaymentChange.CANCELLED: frozenset({ChargeState.CANCELLED}),
}


def novelty_of(change: PaymentChange | None, booked: BookedPayment | None) -> Novelty:
    """Compare a change with our books; ``booked`` is None when they do not have the payment.

    A change is known only when the ORDER'S row has moved past it: that is written by the step whose
    answer tells the order's run. The charge's row alone may have been written by an audit, or by a
    worker that was cut off, and a run that waits for its customer must hear of it.
    """
    if change is None or booked is None:
        return Novelty.NEW
    if _is_past(change, booked):
        return Novelty.NEW if _may_wait_for(change, booked) else Novelty.KNOWN
    if booked.is_being_tried:
        return Novelty.BEING_RECORDED
    if change is PaymentChange.CANCELLED:
        # By the step that undoes the order: the provider has done it, the step records it next.
        is_next = booked.is_undone and not booked.order_status.is_final
    else:
        # The same step writes the order's row after the charge's.
        is_next = not booked.is_undone and booked.state in _BOOKED_AS.get(change, ())
    return Novelty.BEING_RECORDED if is_next else Novelty.NEW


def _is_past(change: PaymentChange, booked: BookedPayment) -> bool:
    """Whether the order has moved past the change: its run knows, or it needs to no more."""
    status, is_booked = booked.order_status, booked.state in _BOOKED_AS.get(change, ())
    match change:
        case PaymentChange.PAID:
            return is_booked and status in _PAID_OR_LATER
        case PaymentChange.HELD:
            return is_booked and status in _HELD_OR_LATER and not booked.is_undone
        case PaymentChange.CANCELLED:
            return is_booked and booked.is_undone
        case PaymentChange.DECLINED | PaymentChange.REQUIRES_ACTION:
            return status in _HELD_OR_LATER or booked.is_undone  # and no money has moved


def _may_wait_for(change: PaymentChange, booked: BookedPayment) -> bool:
    """Whether the order's run may wait although the order has moved on: a worker that was frozen
    while it read the payment moves the order when it goes on, and its answer is nobody's any more.
    """
    may_wait = booked.has_waited and booked.order_status in {Status.HELD, Status.PAID}
    return may_wait and change in _MONEY_IS_THERE


# -- retries and retention -------------------------------------------------------------------------

#: An event that has ended is kept for this long: a repetition is recognized, and people can look it
#: up.
EVENT_RETENTION: Final = timedelta(days=30)
#: Delivery is given up after this long: by then the run has looked by itself.
DELIVERED_WITHIN: Final = timedelta(days=3)
#: An email's id is recorded a moment after it was sent, at most a day later if that keeps failing.
MAIL_ID_RECORDED_WITHIN: Final = timedelta(days=1)

#: Pauses between two looks into the books, while what an event tells is being recorded. Then it is
#: told all the same: the worker may be dead. Short at first: what is new after all waits as well.
RECORDED_WITHIN: Final = tuple(timedelta(seconds=pause) for pause in (0.25, 0.5, 1, 1))

_INITIAL_INTERVAL: Final = timedelta(seconds=1)
_MAXIMUM_INTERVAL: Final = timedelta(minutes=1)


def retry_delay(tries: int) -> timedelta:
    """How long to wait after so many failed tries of delivery."""
    return min(_INITIAL_INTERVAL * (1 << min(tries - 1, 16)), _MAXIMUM_INTERVAL)


def is_past_deadline(received_at: datetime, now: datetime) -> bool:
    """Whether an event is too old to be delivered."""
    return now - received_at >= DELIVERED_WITHIN


class EventReader(Protocol):
    """Reader of one source's webhook events: it verifies and parses them.

    An event about what carries no mark of an installation has no news.
    """

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Verify and parse an event; ``headers`` by their names in lower case.

        Raises ``BadSignatureError`` or ``UnreadableEventError``, as sentences that repeat nothing
        of the request.
        """


class DeliveryResult(StrEnum):
    """How the delivery of an event ended."""

    TOLD = "told"
    ALREADY_KNOWN = "already_known"  # our books held it: nobody had to be told
    NOBODY = "nobody"  # nothing takes it, any more or at all
    GIVEN_UP = "given_up"  # it could not be delivered for too long


@dataclass(frozen=True)
class PendingEvent:
    """A stored event to deliver; ``tries`` counts this one. ``news`` is None when this version of
    the code cannot read it. ``booked`` is what our books said when it was claimed, of a payment
    that the event names with its order.
    """

    number: int
    event_id: str
    type: str
    news: EventPayload | None
    received_at: datetime
    tries: int
    booked: BookedPayment | None = None


class WebhookEventRepository(Protocol):
    """Repository of received events, until they are delivered and a while longer."""

    async def keep(
        self, event: WebhookEvent, now: datetime, lease: timedelta | None = None
    ) -> PendingEvent | None:
        """Store the event; with a ``lease`` the caller claims it at once, as by ``take``.

        None when it is stored already, or is about something of another installation: of its mark,
        or, of events that can carry none, of the payment, which is in our books before a card is
        asked. It must have news.
        """

    async def look(self, order_id: str, payment_id: str) -> BookedPayment | None:
        """Read what our books say of the order's payment now; None when they do not have it."""

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[PendingEvent, ...]:
        """Claim events that are due, oldest first: no other process gets them during ``lease``."""

    async def end(self, number: int, ending: DeliveryResult, now: datetime, why: str = "") -> None:
        """Finish an event: it is not delivered any more."""

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        """It could not be delivered: the event is due again at ``until``."""

    async def prune(self, before: datetime) -> int:
        """Delete events that ended before then; returns how many."""


class PaymentOrders(Protocol):
    """Orders by their payments."""

    async def find_order(self, payment_id: str) -> str | None:
        """The order that is paid with this payment; None when none of ours is."""


class MailLog(Protocol):
    """Log of the emails sent, to find an email's order."""

    async def record_delivery_failure(
        self, mail_id: str, fate: MailDeliveryFailure, now: datetime, why: str
    ) -> bool:
        """Add what became of an email to the history of its order, once.

        False when no order has that email.
        """
