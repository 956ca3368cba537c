"""What neighbours tell us by themselves: their events, in the domain's words.

An event carries no more than is needed to tell somebody: ids and words, no amounts, no card data,
no addresses. Money is never believed to be as an event says, only read again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from orders.parcels import ParcelStatus


class Source(StrEnum):
    """Who tells."""

    STRIPE = "stripe"
    WAREHOUSE = "warehouse"
    RESEND = "resend"


@dataclass(frozen=True)
class PaymentMoved:
    """Something happened to an order's payment: its run should read it."""

    order_id: str
    kind: Literal["payment"] = "payment"


@dataclass(frozen=True)
class RefundMoved:
    """Something happened to a refund: its run should read it."""

    order_id: str
    refund_id: str
    kind: Literal["refund"] = "refund"


@dataclass(frozen=True)
class ParcelMoved:
    """A parcel is somewhere else."""

    order_id: str
    parcel_id: str
    status: ParcelStatus
    tracking: str = ""
    kind: Literal["parcel"] = "parcel"


class MailFate(StrEnum):
    """What became of a mail that the mail service had accepted."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"  # the customer called it spam
    FAILED = "failed"
    SUPPRESSED = "suppressed"  # the address bounced before: not even tried


@dataclass(frozen=True)
class MailReturned:
    """A mail did not reach the customer, or was not welcome. ``why`` is the service's code."""

    mail_id: str
    fate: MailFate
    why: str = ""
    kind: Literal["mail"] = "mail"


News = PaymentMoved | RefundMoved | ParcelMoved | MailReturned


@dataclass(frozen=True)
class Event:
    """One event of a neighbour. ``news`` is None when nobody here has to be told of it.

    The same ``event_id`` of the same source is the same event.
    """

    source: Source
    event_id: str
    type: str
    news: News | None


class BadSignatureError(Exception):
    """Not signed with our secret, or too long ago: whoever sent this is not believed."""


class UnreadableEventError(Exception):
    """Signed as it should be, but not an event as its sender documents them."""


def facts_of(news: News) -> dict[str, Any]:
    """The news as they are kept."""
    return asdict(news)


def news_of(facts: dict[str, Any]) -> News | None:
    """The news again; None of a kind that only another version of this code knows."""
    told = {name: value for name, value in facts.items() if name != "kind"}
    match facts["kind"]:
        case "payment":
            return PaymentMoved(**told)
        case "refund":
            return RefundMoved(**told)
        case "parcel":
            return ParcelMoved(**{**told, "status": ParcelStatus(told["status"])})
        case "mail":
            return MailReturned(**{**told, "fate": MailFate(told["fate"])})
    return None


# -- how long we try -------------------------------------------------------------------------------

#: An event that was told, or that nobody had to hear, is kept for this long: the same one is known
#: again, and a person can look at it.
KEPT_FOR: Final = timedelta(days=30)
#: After that, whoever it is for has looked by itself.
TOLD_WITHIN: Final = timedelta(days=3)
#: A mail is sent a moment before its id is written down, a day at most when that is hindered.
MAIL_KNOWN_WITHIN: Final = timedelta(days=1)

_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(minutes=1)


def pause_after(tries: int) -> timedelta:
    """How long to wait after so many tries that told nobody."""
    return min(_FIRST_PAUSE * (1 << min(tries - 1, 16)), _LONGEST_PAUSE)


def is_given_up(received_at: datetime, now: datetime) -> bool:
    """Whether an event is too old to be told."""
    return now - received_at >= TOLD_WITHIN
