"""Listing of disputes, early fraud warnings and reviews: read models, pages and cursors.

Those that are open come by their deadline, the next one first, then those without one, the oldest
first. With those that are over, all come newest first.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import InvalidCursorError
from durable_orders.domain.money import Money
from durable_orders.domain.texts import TextFormat

#: ``du_…``, ``issfr_…``, ``prv_…``.
RISK_ID: Final = TextFormat(
    "an id of a dispute, warning or review",
    "Stripe's, letters and digits with underscores, du_1NqQ for example",
    r"[A-Za-z0-9]+_[A-Za-z0-9_]+",
    max_length=255,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_TEXT: Final = re.compile(r"1:(due|undated|newest):([0-9]{1,18}):(.+)")


@dataclass(frozen=True)
class RiskView:
    """A dispute, early fraud warning or review of a payment.

    ``state`` is a ``DisputeStatus``, ``actionable`` or ``settled`` of a warning, ``open`` of a
    review or why it was closed. ``reason`` is the provider's code. ``amount`` is what is disputed,
    of a warning or review what was paid. ``is_open``: it makes the money uncertain, and no operator
    has acknowledged it. The rest as in ``Dispute``.
    """

    risk_id: str
    kind: ConcernKind
    state: str
    reason: str
    payment_id: str
    amount: Money
    is_open: bool
    opened_at: datetime
    due_by: datetime | None = None
    needs_response: bool = False
    withdrawn: Money | None = None
    fee: Money | None = None
    submissions: int = 0
    acknowledged_by: str = ""


@dataclass(frozen=True)
class ListedRisk:
    """A dispute, warning or review with its order, and the order's status."""

    order_id: str
    status: Status
    risk: RiskView


class CursorPart(StrEnum):
    """The part of the list in which a page ends."""

    DUE = "due"  # open, with a deadline
    UNDATED = "undated"  # open, without one
    NEWEST = "newest"  # with those that are over


@dataclass(frozen=True)
class RiskCursor:
    """Cursor: the last one of a page; ``at`` is its deadline, or when it was opened. ``str`` gives
    its opaque text, ``read`` parses it.
    """

    part: CursorPart
    at: datetime
    risk_id: str

    def __str__(self) -> str:
        micros = (self.at - _EPOCH) // timedelta(microseconds=1)
        plain = f"1:{self.part}:{micros}:{self.risk_id}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, *, closed: bool) -> RiskCursor:
        """Parse the text of a cursor. Raises ``InvalidCursorError``, also for one of another list:
        ``closed`` as in ``RiskListRepository.page``.
        """
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
            match = _PLAIN_TEXT.fullmatch(plain)
            if match is None or not RISK_ID.matches(match[3]):
                raise InvalidCursorError
            at = _EPOCH + timedelta(microseconds=int(match[2]))
            cursor = cls(CursorPart(match[1]), at, match[3])
        except (binascii.Error, ValueError, OverflowError):
            raise InvalidCursorError from None
        if str(cursor) != text or (cursor.part is CursorPart.NEWEST) != closed:
            raise InvalidCursorError
        return cursor

    @classmethod
    def after(cls, last: RiskView, *, closed: bool) -> RiskCursor:
        """The cursor of a page that ends with this one."""
        if closed:
            return cls(CursorPart.NEWEST, last.opened_at, last.risk_id)
        if last.due_by is None:
            return cls(CursorPart.UNDATED, last.opened_at, last.risk_id)
        return cls(CursorPart.DUE, last.due_by, last.risk_id)


@dataclass(frozen=True)
class RiskPage:
    """A page; ``next`` is the next page's cursor, None on the last."""

    risks: tuple[ListedRisk, ...]
    next: RiskCursor | None = None

    @classmethod
    def of(cls, found: Sequence[ListedRisk], limit: int, *, closed: bool) -> RiskPage:
        """Make a page of at most ``limit``; ``found`` has one more if there are more."""
        shown = tuple(found[:limit])
        if len(found) <= limit:
            return cls(shown)
        return cls(shown, RiskCursor.after(shown[-1].risk, closed=closed))


class RiskListRepository(Protocol):
    """Repository of the list of disputes, early fraud warnings and reviews of all orders."""

    async def page(
        self, limit: int, after: RiskCursor | None = None, *, closed: bool = False
    ) -> RiskPage:
        """A page of those that are open, with ``closed`` also of those that are over."""

    async def find(self, risk_id: str) -> ListedRisk | None:
        """The one of this id; None when there is none."""


def risk_view(one: Dispute | FraudWarning | Review, paid: Money) -> RiskView:
    """The dispute, warning or review as it is shown; ``paid`` is the payment's amount."""
    is_open = one.concern is not None
    match one:
        case Dispute():
            return RiskView(
                one.dispute_id,
                ConcernKind.INQUIRY if one.is_inquiry else ConcernKind.CHARGEBACK,
                one.status,
                one.reason,
                one.payment_id,
                one.amount,
                is_open,
                one.opened_at,
                due_by=one.due_by,
                needs_response=one.needs_response,
                withdrawn=one.withdrawn,
                fee=one.fee,
                submissions=one.submissions,
                acknowledged_by=one.acknowledged_by,
            )
        case FraudWarning():
            return RiskView(
                one.warning_id,
                ConcernKind.FRAUD_WARNING,
                "actionable" if one.is_actionable else "settled",
                one.fraud_type,
                one.payment_id,
                paid,
                is_open,
                one.opened_at,
                acknowledged_by=one.acknowledged_by,
            )
        case Review():
            return RiskView(
                one.review_id,
                ConcernKind.REVIEW,
                "open" if one.is_open else one.closed_reason,
                one.opened_reason,
                one.payment_id,
                paid,
                is_open,
                one.opened_at,
                acknowledged_by=one.acknowledged_by,
            )


def risk_views(risks: PaymentRisks, paid: Money) -> tuple[RiskView, ...]:
    """All of a payment, oldest first."""
    every: list[Dispute | FraudWarning | Review] = [
        *risks.disputes,
        *risks.warnings,
        *risks.reviews,
    ]
    views = (risk_view(one, paid) for one in every)
    return tuple(sorted(views, key=lambda view: (view.opened_at, view.risk_id)))
