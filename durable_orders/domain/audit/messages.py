"""Messages between the audit's workflow, its activities and its callers.

Ids, amounts and decisions only, no personal data: Temporal keeps them in its history for weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from durable_orders.domain.audit.model import AuditTerms, Discrepancy, DiscrepancyKind, Remedy
from durable_orders.domain.message_texts import OrderId

#: Id of the schedule, and workflow id of an audit that an operator starts.
AUDIT_ID: Final = "reconcile"


class AuditScan(StrEnum):
    """The lists that an audit pages through, in this order."""

    CHARGES = "charges"  # at the provider, by creation time
    REFUNDS = "refunds"  # the same
    ORDERS = "orders"  # in our database: not final, changed lately, or with an unsettled refund
    RUNS = "runs"  # open runs, in Temporal
    UNFINISHED_REFUNDS = "unfinished_refunds"  # in our database, of any age
    DISPUTES = "disputes"  # at the provider, by their own creation time
    WARNINGS = "warnings"  # the same
    REVIEWS = "reviews"  # the same
    RISKS = "risks"  # what of these is open in our database, of any age
    FINDINGS = "findings"  # unresolved ones of earlier audits


#: What became of a discrepancy. ``gone``: a second look did not find it again. ``counted``: another
#: scan of the same audit found it first. ``acknowledged``: an operator acknowledged it, and it has
#: not changed since.
DiscrepancyOutcome = Literal[
    "repaired", "flagged", "known", "acknowledged", "counted", "gone", "failed"
]


@dataclass(frozen=True)
class AuditReport:
    """Counts of an audit. ``found`` counts by kind; each is also counted by its outcome."""

    examined: int = 0
    found: dict[str, int] = field(default_factory=dict)
    repaired: int = 0
    flagged: int = 0  # for the first time
    known: int = 0  # flagged by an earlier audit, and still so
    acknowledged: int = 0  # the same, and acknowledged by an operator
    failed: int = 0  # a repair that got no answer: the next audit tries again

    def reviewed(self, examined: int) -> AuditReport:
        return replace(self, examined=self.examined + examined)

    def settled(self, kind: DiscrepancyKind, outcome: DiscrepancyOutcome) -> AuditReport:
        if outcome == "gone" or outcome == "counted":  # noqa: PLR1714 - narrows the type below
            return self
        found = {**self.found, str(kind): self.found.get(str(kind), 0) + 1}
        match outcome:
            case "repaired":
                return replace(self, found=found, repaired=self.repaired + 1)
            case "flagged":
                return replace(self, found=found, flagged=self.flagged + 1)
            case "known":
                return replace(self, found=found, known=self.known + 1)
            case "acknowledged":
                return replace(self, found=found, acknowledged=self.acknowledged + 1)
            case "failed":
                return replace(self, found=found, failed=self.failed + 1)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.found.items()))
        return (
            f"{self.examined} looked at; found {kinds or 'nothing'}; repaired {self.repaired}, "
            f"flagged {self.flagged}, flagged before {self.known}, "
            f"acknowledged {self.acknowledged}, failed {self.failed}"
        )


@dataclass(frozen=True)
class AuditPosition:
    """Position of an audit. ``as_of`` is its start: all its pages look at the same window."""

    as_of: datetime
    scan: AuditScan = AuditScan.CHARGES
    cursor: str | None = None

    def next(self, cursor: str | None) -> AuditPosition | None:
        """The next page of this scan, the next scan, or None at the end of the last one."""
        if cursor is not None:
            return replace(self, cursor=cursor)
        scans = list(AuditScan)
        after = scans.index(self.scan) + 1
        return AuditPosition(self.as_of, scans[after]) if after < len(scans) else None


@dataclass(frozen=True)
class AuditInput:
    """Input of the audit's workflow. With ``position`` it goes on from there."""

    terms: AuditTerms = AuditTerms()  # noqa: RUF009 - frozen
    position: AuditPosition | None = None
    report: AuditReport = field(default_factory=AuditReport)
    #: After so many pages the run continues as new, so that no history grows without bounds.
    pages_per_run: int = 20


@dataclass(frozen=True)
class AuditPage:
    """Input of ``review_page``: one page of one scan."""

    position: AuditPosition
    terms: AuditTerms


@dataclass(frozen=True)
class PageReview:
    """The discrepancies on a page; without a ``cursor`` it was the last one."""

    examined: int
    discrepancies: tuple[Discrepancy, ...]
    cursor: str | None = None


@dataclass(frozen=True)
class Examination:
    """Input of the workflow that examines one order, which has ended, by the audit's rules."""

    order_id: OrderId
    terms: AuditTerms = AuditTerms()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class OrderExamination:
    """Input of ``examine_order``."""

    order_id: str
    as_of: datetime
    terms: AuditTerms


@dataclass(frozen=True)
class OrderExamined:
    """The discrepancies of the order; none can be told yet while it ``is_moving``."""

    discrepancies: tuple[Discrepancy, ...]
    is_moving: bool = False


@dataclass(frozen=True)
class DiscrepancySettlement:
    """Input of ``settle_discrepancy``: repair or flag this one, if it still holds."""

    discrepancy: Discrepancy
    as_of: datetime
    terms: AuditTerms


@dataclass(frozen=True)
class RevealedDiscrepancy:
    """A discrepancy of the same order that a repair, or a finding that no longer holds, has left
    behind, and what became of it.
    """

    kind: DiscrepancyKind
    outcome: DiscrepancyOutcome


@dataclass(frozen=True)
class DiscrepancySettled:
    """Answer of ``settle_discrepancy``."""

    outcome: DiscrepancyOutcome
    revealed: tuple[RevealedDiscrepancy, ...] = ()


#: How a finding was resolved: by the audit itself, or by anything else.
Resolution = Literal["repaired", "settled"]


@dataclass(frozen=True)
class Acknowledgement:
    """An operator has looked into a finding and accepts it as it is. ``by`` is a role or an
    account id; ``note`` holds no personal data.
    """

    by: str
    note: str
    at: datetime


@dataclass(frozen=True)
class PriorFinding:
    """What was recorded of a discrepancy before it was noted again.

    ``seen_before`` is when it was last seen; None when it is new, has come back, or differs from
    what was acknowledged.
    """

    seen_before: datetime | None = None
    is_acknowledged: bool = False


def noted_detail(found: Discrepancy, before: str | None, *, is_acknowledged: bool) -> str:
    """The detail to record of a discrepancy whose unresolved finding says ``before``.

    Money that moved stays in it until somebody has acknowledged that.
    """
    if found.kind is not DiscrepancyKind.MONEY_MOVED or before is None:
        return found.detail
    if found.detail in before:
        return before
    return found.detail if is_acknowledged else f"{before}; {found.detail}"


class NothingToAcknowledgeError(LookupError):
    """No finding matches what is to be acknowledged, or findings of several kinds do."""


class NoFindingError(NothingToAcknowledgeError):
    """No audit found anything unresolved about the order so far."""


def findings_to_acknowledge(
    order_id: str, found: Sequence[Finding], kind: DiscrepancyKind | None
) -> tuple[Finding, ...]:
    """Select those of an order's unresolved findings that an acknowledgement is about.

    Raises ``NothingToAcknowledgeError``: of several kinds the caller must name one.
    """
    kinds = sorted({one.kind for one in found})
    if not found:
        raise NoFindingError(
            f"no audit found anything about order {order_id} that is not settled: audit once more"
        )
    if kind is None and len(kinds) > 1:
        message = f"order {order_id} has several findings, name one: --kind {' or '.join(kinds)}"
        raise NothingToAcknowledgeError(message)
    if kind is not None and kind not in kinds:
        message = f"order {order_id} has no finding {kind}, only {' and '.join(kinds)}"
        raise NothingToAcknowledgeError(message)
    return tuple(one for one in found if kind in {None, one.kind})


@dataclass(frozen=True)
class Finding:
    """A recorded discrepancy. ``resolution`` says how it was resolved."""

    kind: DiscrepancyKind
    order_id: str
    payment_id: str
    detail: str
    remedy: Remedy
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
    acknowledged: Acknowledgement | None = None

    @property
    def discrepancy(self) -> Discrepancy:
        return Discrepancy(self.kind, self.order_id, self.detail, self.remedy, self.payment_id)
