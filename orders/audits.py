"""What the audit's workflow, its activities and its callers say to each other, and its ports.

Ids, amounts and decisions only, as in ``orders.messages``: Temporal keeps all of it for weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from orders.discrepancies import AuditTerms, Discrepancy, Kind, Remedy

#: The schedule's id, and the id of an audit that a person asks for.
AUDIT_ID: Final = "reconcile"


class Scan(StrEnum):
    """What the audit pages through, in this order."""

    CHARGES = "charges"  # at the provider, by when they were created
    REFUNDS = "refunds"  # the same
    ORDERS = "orders"  # in our books: not ended, or changed lately
    RUNS = "runs"  # open ones, in Temporal
    FINDINGS = "findings"  # of earlier audits: are they settled?


#: What became of a discrepancy; ``gone`` when a second look did not find it any more, ``counted``
#: when another scan of the same audit came across it first, ``acknowledged`` when somebody answers
#: for it and it is as it was then.
Outcome = Literal["repaired", "flagged", "known", "acknowledged", "counted", "gone", "failed"]


@dataclass(frozen=True)
class Report:
    """What an audit did. ``found`` counts by kind; each is also counted by what became of it."""

    examined: int = 0
    found: dict[str, int] = field(default_factory=dict)
    repaired: int = 0
    flagged: int = 0  # for the first time
    known: int = 0  # flagged by an earlier audit, and still so
    acknowledged: int = 0  # the same, and somebody answers for it
    failed: int = 0  # a repair that got no answer: the next audit tries again

    def reviewed(self, examined: int) -> Report:
        return replace(self, examined=self.examined + examined)

    def settled(self, kind: Kind, outcome: Outcome) -> Report:
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
class Position:
    """Where an audit is. ``as_of`` is when it began: all its pages see the same window."""

    as_of: datetime
    scan: Scan = Scan.CHARGES
    cursor: str | None = None

    def next(self, cursor: str | None) -> Position | None:
        """The next page of this scan, the next scan, or None at the end of the last one."""
        if cursor is not None:
            return replace(self, cursor=cursor)
        scans = list(Scan)
        after = scans.index(self.scan) + 1
        return Position(self.as_of, scans[after]) if after < len(scans) else None


@dataclass(frozen=True)
class Audit:
    """Look at everything once; with ``position``, go on from there."""

    terms: AuditTerms = AuditTerms()  # noqa: RUF009 - frozen
    position: Position | None = None
    report: Report = field(default_factory=Report)
    #: Of one run; then it continues as new, so that no history grows without bounds.
    pages_per_run: int = 20


@dataclass(frozen=True)
class Page:
    """One page of one scan."""

    position: Position
    terms: AuditTerms


@dataclass(frozen=True)
class Reviewed:
    """What a page showed; without a ``cursor`` it was the last one."""

    examined: int
    discrepancies: tuple[Discrepancy, ...]
    cursor: str | None = None


@dataclass(frozen=True)
class Settlement:
    """Put this right, if it is still so."""

    discrepancy: Discrepancy
    as_of: datetime
    terms: AuditTerms


@dataclass(frozen=True)
class Settled:
    """What became of it."""

    outcome: Outcome


#: By the audit itself, or by somebody else.
Resolution = Literal["repaired", "settled"]


@dataclass(frozen=True)
class Acknowledgement:
    """Somebody has looked into it, and answers for what the finding says. ``by`` is a role or an
    account id; ``note`` holds no personal data.
    """

    by: str
    note: str
    at: datetime


@dataclass(frozen=True)
class Noted:
    """What the book of findings knew of a discrepancy when it was noted.

    ``seen_before`` is when it was last seen, None when it is new, back again, or other than what
    somebody acknowledged.
    """

    seen_before: datetime | None = None
    is_acknowledged: bool = False


class NothingToAcknowledgeError(LookupError):
    """No finding, or more than one kind of them, fits what is to be acknowledged."""


def to_acknowledge(
    order_id: str, found: Sequence[Finding], kind: Kind | None
) -> tuple[Finding, ...]:
    """Those of an order's unsettled findings that an acknowledgement is about.

    Raises ``NothingToAcknowledgeError``: nobody answers for what he has not named.
    """
    kinds = sorted({one.kind for one in found})
    if not found:
        raise NothingToAcknowledgeError(
            f"no audit found anything about order {order_id} that is not settled: "
            "`python client.py reconcile` audits now"
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
    """A discrepancy in the book of findings. ``resolution`` says how it was settled."""

    kind: Kind
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
