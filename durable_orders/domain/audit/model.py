"""Model of the audit: the records that it compares, and the discrepancies that it finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, CardRefund, CardRefundState, ChargeEntry
from durable_orders.domain.refunds.refund import RefundState


class RunState(StrEnum):
    """State of an order's run in Temporal."""

    OPEN = "open"
    CLOSED = "closed"
    NONE = "none"  # never started, or closed and past its retention period


class DiscrepancyKind(StrEnum):
    """Kinds of discrepancy."""

    NEVER_STARTED = "never_started"  # placed, without a run: its checkout was interrupted
    CANCELLED_UNTOLD = "cancelled_untold"  # cancelled before its start, its customer was not told
    STRANDED = "stranded"  # its run is closed (terminated, say), it has not ended; no money taken
    STRANDED_WITH_MONEY = "stranded_with_money"  # the same, with money taken or held
    BOOKS_BEHIND = "books_behind"  # the provider's record is ahead of ours
    MONEY_MOVED = "money_moved"  # after the order's end, and the audit has only recorded it
    BOOKS_AHEAD = "books_ahead"  # our record says more was taken than the provider's
    REFUND_FAILED = "refund_failed"  # a refund that the bank has sent back: its money is owed
    REFUND_OVERDUE = "refund_overdue"  # a refund that has been on its way for too long
    LIVE_CHARGE = "live_charge"  # a hold, or a charge that can still succeed, that pays for nothing
    PAID_WITHOUT_ORDER = "paid_without_order"  # money taken for an order that our database lacks
    UNBOOKED_CHARGE = "unbooked_charge"  # money taken by a charge that our database lacks
    MONEY_KEPT = "money_kept"  # the order ended early, and not all was refunded
    GIVEN_BACK_TOO_MUCH = "given_back_too_much"  # more by hand than the charges still kept
    REFUNDS_DIFFER = "refunds_differ"  # a completed order's charges say otherwise than its refunds
    REFUND_STRANDED = "refund_stranded"  # refunds that are not done, and whose runs are not open
    SHIPPED_UNPAID = "shipped_unpaid"  # the order is completed, and nothing was taken
    PAID_IN_PART = "paid_in_part"  # the order is completed, and other than its total was taken
    RUN_WITHOUT_ORDER = "run_without_order"  # an open run of an order that our database lacks
    RUN_AFTER_END = "run_after_end"  # a run still open long after its order ended
    RISK_BEHIND = "risk_behind"  # our record of a dispute, warning or review is behind, or missing
    RISK_UNFOLLOWED = "risk_unfollowed"  # one is open, and no run follows it


#: Discrepancies that are over once an open run carries the order.
ENDED_BY_A_RUN: Final = frozenset(
    {
        DiscrepancyKind.NEVER_STARTED,
        DiscrepancyKind.STRANDED,
        DiscrepancyKind.STRANDED_WITH_MONEY,
    }
)


class Remedy(StrEnum):
    """What the audit does about a discrepancy."""

    START = "start"  # start the order's run, or the refund's again
    RECORD = "record"  # update our record from the provider's
    RELEASE = "release"  # cancel a charge that took nothing
    FOLLOW = "follow"  # start, or wake, the run that follows what is disputed of a payment
    FLAG = "flag"  # report it to an operator


@dataclass(frozen=True)
class AuditTerms:
    """How far an audit looks back, and how long it waits before it acts.

    ``grace``: younger changes are ignored. ``unknown_grace``: for how long a charge of an order
    that our database lacks is only flagged, not released: the order may be in a backup.
    ``risk_window`` is the same for disputes, early fraud warnings and reviews, by their own age: a
    dispute may be decided months after it was opened.
    ``start_within``: an order unstarted for longer is only flagged: its customer has given up, and
    would be surprised by the charge.
    """

    window: timedelta = timedelta(hours=48)
    #: How far back the provider's refunds are listed. Stripe lets a refund be pending for 45 days
    #: (https://support.stripe.com/questions/fix-your-pending-refund), and a bank may send one back
    #: up to 30 days later (https://docs.stripe.com/refunds#failed-refunds).
    refund_window: timedelta = timedelta(days=80)
    #: A refund that the bank has not accepted for so long, or the provider not answered.
    refund_overdue: timedelta = timedelta(days=7)
    refund_unanswered: timedelta = timedelta(days=1)
    risk_window: timedelta = timedelta(days=180)
    grace: timedelta = timedelta(minutes=15)
    unknown_grace: timedelta = timedelta(hours=24)
    start_within: timedelta = timedelta(hours=24)
    #: An email is retried for 23 hours after its order ended; nothing else keeps a run open.
    run_outlives_order: timedelta = timedelta(hours=25)
    page_size: int = 100


def without_grace(terms: AuditTerms) -> AuditTerms:
    """The same terms without grace."""
    return replace(terms, grace=timedelta(0))


@dataclass(frozen=True)
class RunStatus:
    """Status of an order's run; ``word`` is Temporal's name for how it closed."""

    state: RunState
    closed_at: datetime | None = None
    word: str = ""


@dataclass(frozen=True)
class LedgerEntry:
    """A charge as our database has it."""

    charge: ChargeEntry
    booked: BookedCharge

    @property
    def payment_id(self) -> str:
        return self.charge.payment_id


@dataclass(frozen=True)
class RecordedManualRefund:
    """An amount that the operator ``by`` reported as given back outside the provider."""

    amount: Money
    by: str


@dataclass(frozen=True)
class BookedRefund:
    """A refund in our database that is on its way, or owed; in its ``state`` since ``since``."""

    refund_id: str
    payment_id: str
    amount: Money
    state: RefundState
    since: datetime
    why: str = ""


@dataclass(frozen=True)
class BookedOrder:
    """An order as our database has it.

    ``refunds``: the sum of its refunds that the provider has accepted; None while one is being
    issued, when only the provider knows. ``unsettled`` are those that are on their way, or owed.
    ``settled_undo`` is what the refund that undoes it was to give back, and an operator has given
    back another way. ``withdrawn``: what disputes have taken and not put back.
    ``is_untold``: it was cancelled before a run had begun it, and no run has told its customer.
    """

    order_id: str
    status: Status
    total: Money
    placed_at: datetime
    changed_at: datetime
    entries: tuple[LedgerEntry, ...] = ()
    refunds: Money | None = None
    by_hand: RecordedManualRefund | None = None
    unsettled: tuple[BookedRefund, ...] = ()
    settled_undo: Money | None = None
    withdrawn: Money | None = None
    is_untold: bool = False


@dataclass(frozen=True)
class ListedRefund:
    """A refund in the provider's list; a failed one gave nothing back."""

    payment_id: str
    created_at: datetime
    refund: CardRefund

    @property
    def given(self) -> Money:
        failed = self.refund.state is CardRefundState.FAILED
        return self.refund.amount * (0 if failed else 1)


@dataclass(frozen=True)
class ListedCharge:
    """A charge in the provider's list, with the order that it was made for.

    Without ``refunds``, none of ``charge.refunded`` counts as recent.
    """

    order_id: str
    created_at: datetime
    charge: CardCharge
    refunds: tuple[ListedRefund, ...] = ()


@dataclass(frozen=True)
class AuditCase:
    """Everything known of one order; ``order`` is None when our database lacks it."""

    order_id: str
    order: BookedOrder | None
    charges: tuple[ListedCharge, ...]
    run: RunStatus


@dataclass(frozen=True)
class Discrepancy:
    """One disagreement between records, identified by its kind, order and payment."""

    kind: DiscrepancyKind
    order_id: str
    detail: str
    remedy: Remedy = Remedy.FLAG
    payment_id: str = ""

    def same_as(self, other: Discrepancy) -> bool:
        return (self.kind, self.order_id, self.payment_id) == (
            other.kind,
            other.order_id,
            other.payment_id,
        )
