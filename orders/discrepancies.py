"""What the audit compares, and its words for what disagrees; rules: ``orders.reconciliation``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orders.charging import BookedCharge
from orders.lifecycle import Status
from orders.money import Money
from orders.ports import CardCharge, CardRefund, CardRefundState


class RunState(StrEnum):
    """What Temporal says of the run that carries an order."""

    OPEN = "open"
    CLOSED = "closed"
    NONE = "none"  # never started, or ended so long ago that Temporal has forgotten it


class Kind(StrEnum):
    """What can disagree."""

    NEVER_STARTED = "never_started"  # placed, and no run: a checkout that lost its server
    STRANDED = "stranded"  # its run is over (terminated, say), it has not ended; no money in it
    STRANDED_WITH_MONEY = "stranded_with_money"  # the same, with money taken or held
    BOOKS_BEHIND = "books_behind"  # the provider says more than our books
    BOOKS_AHEAD = "books_ahead"  # our books say more was taken than the provider does
    REFUND_FAILED = "refund_failed"  # our books say more was given back than the provider does
    LIVE_CHARGE = "live_charge"  # money held, or a charge that can still be paid, for nothing
    PAID_WITHOUT_ORDER = "paid_without_order"  # money taken for an order that we do not have
    UNBOOKED_CHARGE = "unbooked_charge"  # money taken by a charge that our books do not have
    MONEY_KEPT = "money_kept"  # the order ended early, and not all was given back
    GIVEN_BACK_TOO_MUCH = "given_back_too_much"  # by hand, and by the provider too or for nothing
    REFUNDS_DIFFER = "refunds_differ"  # of a completed order, other than its refunds say is kept
    SHIPPED_UNPAID = "shipped_unpaid"  # the order is completed, and nothing was taken
    RUN_WITHOUT_ORDER = "run_without_order"  # an open run of an order that we do not have
    RUN_AFTER_END = "run_after_end"  # a run that is open long after its order ended


class Remedy(StrEnum):
    """What the audit does about it."""

    START = "start"  # start the order's run
    RECORD = "record"  # bring our books up to what the provider says
    RELEASE = "release"  # cancel a charge that took nothing
    FLAG = "flag"  # tell a person


@dataclass(frozen=True)
class AuditTerms:
    """How far the audit looks back, and how patient it is.

    ``grace``: nothing younger is looked at. ``unknown_grace``: how long a charge of an order that
    we do not have is only flagged before it is released, since its order may be in a backup.
    ``start_within``: an order that nobody started for longer is not started any more: its customer
    has long given up, and would be surprised by the charge.
    """

    window: timedelta = timedelta(hours=48)
    grace: timedelta = timedelta(minutes=15)
    unknown_grace: timedelta = timedelta(hours=24)
    start_within: timedelta = timedelta(hours=24)
    #: A mail is tried for 23 hours after the end of its order; a run has no other reason to stay.
    run_outlives_order: timedelta = timedelta(hours=25)
    page_size: int = 100


@dataclass(frozen=True)
class RunSighting:
    """An order's run as Temporal has it; ``word`` is Temporal's for how it closed."""

    state: RunState
    closed_at: datetime | None = None
    word: str = ""


@dataclass(frozen=True)
class Entry:
    """One charge in our books."""

    attempt: int
    payment_id: str
    booked: BookedCharge


@dataclass(frozen=True)
class ByHand:
    """What an operator, ``by``, says that he gave back past the provider."""

    amount: Money
    by: str


@dataclass(frozen=True)
class Standing:
    """An order in our books.

    ``refunds``: what its refunds come to that the provider has accepted; None while one of them is
    being asked for, and only the provider knows.
    """

    order_id: str
    status: Status
    total: Money
    placed_at: datetime
    changed_at: datetime
    entries: tuple[Entry, ...] = ()
    refunds: Money | None = None
    by_hand: ByHand | None = None


@dataclass(frozen=True)
class ListedRefund:
    """Money given back, as the provider lists it; a failed one gave nothing."""

    payment_id: str
    created_at: datetime
    refund: CardRefund

    @property
    def given(self) -> Money:
        failed = self.refund.state is CardRefundState.FAILED
        return self.refund.amount * (0 if failed else 1)


@dataclass(frozen=True)
class ListedCharge:
    """One charge as the provider lists it, with the order that it was made for.

    ``refunds`` may be left out: then none of ``charge.refunded`` counts as recent.
    """

    order_id: str
    attempt: int
    created_at: datetime
    charge: CardCharge
    refunds: tuple[ListedRefund, ...] = ()


@dataclass(frozen=True)
class Case:
    """All that is known of one order; ``order`` is None when our books do not have it."""

    order_id: str
    order: Standing | None
    charges: tuple[ListedCharge, ...]
    run: RunSighting


@dataclass(frozen=True)
class Discrepancy:
    """One thing that disagrees. The same one again has the same kind, order and payment."""

    kind: Kind
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
