"""What the audit's workflow, its activities and its callers say to each other, and its ports.

Ids, amounts and decisions only, as in ``orders.messages``: Temporal keeps all of it for weeks.
"""

from __future__ import annotations

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
#: when another scan of the same audit came across it first.
Outcome = Literal["repaired", "flagged", "known", "counted", "gone", "failed"]


@dataclass(frozen=True)
class Report:
    """What an audit did. ``found`` counts by kind; each is also counted by what became of it."""

    examined: int = 0
    found: dict[str, int] = field(default_factory=dict)
    repaired: int = 0
    flagged: int = 0  # for the first time
    known: int = 0  # flagged by an earlier audit, and still so
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
            case "failed":
                return replace(self, found=found, failed=self.failed + 1)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.found.items()))
        return (
            f"{self.examined} looked at; found {kinds or 'nothing'}; repaired {self.repaired}, "
            f"flagged {self.flagged}, flagged before {self.known}, failed {self.failed}"
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

    @property
    def discrepancy(self) -> Discrepancy:
        return Discrepancy(self.kind, self.order_id, self.detail, self.remedy, self.payment_id)


def advice(finding: Finding) -> str:
    """What a person can do about it."""
    order_id, payment_id = finding.order_id, finding.payment_id
    match finding.kind:
        case Kind.STRANDED | Kind.STRANDED_WITH_MONEY:
            # A reset replays the run up to its last step and carries on from there, under the same
            # business keys: nothing is charged, shipped or mailed twice.
            return (
                f"temporal workflow reset --workflow-id order-{order_id} "
                "--type LastWorkflowTask --reason 'found by the audit'"
            )
        case Kind.NEVER_STARTED:
            return f"python client.py start {order_id}, if the customer still wants it"
        case Kind.REFUND_FAILED:
            return f"return the money another way; {payment_id} in the provider's dashboard"
        case Kind.RUN_WITHOUT_ORDER | Kind.RUN_AFTER_END:
            return f"temporal workflow show --workflow-id order-{order_id}"
        case Kind.BOOKS_BEHIND | Kind.LIVE_CHARGE:
            return f"the next audit tries again; {payment_id} in the provider's dashboard"
        case _:
            where = payment_id or f"order {order_id}"
            return f"compare {where} in the provider's dashboard: refund it or restore the order"
