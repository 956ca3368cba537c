"""Webhook events of Stripe, the warehouse and Resend, in the domain's terms.

An event carries no more than its delivery needs: ids and codes, no amounts, no card data, no
addresses. Amounts are never taken from an event, but read from the provider again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.workflow_messages import PaymentChange


class WebhookSource(StrEnum):
    """Sender of an event."""

    STRIPE = "stripe"
    WAREHOUSE = "warehouse"
    RESEND = "resend"


@dataclass(frozen=True)
class PaymentChanged:
    """An order's payment has changed: its run should read it again. ``change`` is None when it may
    be anything.
    """

    order_id: str
    change: PaymentChange | None = None
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
    PaymentChanged | PaymentRiskChanged | RefundChanged | ParcelChanged | MailNotDelivered
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
            return PaymentChanged(
                fields["order_id"], None if change is None else PaymentChange(change)
            )
        case "payment_risk":
            return PaymentRiskChanged(**fields)
        case "refund":
            return RefundChanged(**fields)
        case "parcel":
            return ParcelChanged(**{**fields, "status": ParcelStatus(fields["status"])})
        case "mail":
            return MailNotDelivered(**{**fields, "fate": MailDeliveryFailure(fields["fate"])})
    return None


# -- retries and retention -------------------------------------------------------------------------

#: An event that has ended is kept for this long: a repetition is recognized, and people can look it
#: up.
EVENT_RETENTION: Final = timedelta(days=30)
#: Delivery is given up after this long: by then the run has looked by itself.
DELIVERED_WITHIN: Final = timedelta(days=3)
#: An email's id is recorded a moment after it was sent, at most a day later if that keeps failing.
MAIL_ID_RECORDED_WITHIN: Final = timedelta(days=1)

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
    NOBODY = "nobody"  # nothing takes it, any more or at all
    GIVEN_UP = "given_up"  # it could not be delivered for too long


@dataclass(frozen=True)
class PendingEvent:
    """A stored event to deliver; ``tries`` counts this one. ``news`` is None when this version of
    the code cannot read it.
    """

    number: int
    event_id: str
    type: str
    news: EventPayload | None
    received_at: datetime
    tries: int


class WebhookEventRepository(Protocol):
    """Repository of received events, until they are delivered and a while longer."""

    async def keep(self, event: WebhookEvent, now: datetime) -> bool:
        """Store the event; False when it is stored already. It must have news."""

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[PendingEvent, ...]:
        """Claim events that are due, oldest first: no other process gets them during ``lease``."""

    async def end(self, number: int, ending: DeliveryResult, now: datetime, why: str = "") -> None:
        """Finish an event: it is not delivered any more."""

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        """It could not be delivered: the event is due again at ``until``."""

    async def prune(self, before: datetime) -> int:
        """Delete events that ended before then; returns how many."""


class MailLog(Protocol):
    """Log of the emails sent, to find an email's order."""

    async def record_delivery_failure(
        self, mail_id: str, fate: MailDeliveryFailure, now: datetime, why: str
    ) -> bool:
        """Add what became of an email to the history of its order, once.

        False when no order has that email.
        """
