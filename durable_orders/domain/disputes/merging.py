"""How a report of the card provider changes what is recorded of disputes, warnings and reviews.

Reports overtake each other: webhooks come late, twice and in any order, and two workers may read
the provider at the same time. So a report names the ``revision`` of the record that was read before
the provider was asked. If nothing was recorded since, it is *fresh*, and true as it is: a dispute
that was over and is open now was reopened. Otherwise it may be the older one, and only moves on:

    inquiry, needs a response → under review → closed
      → chargeback, needs a response → under review → won, lost or prevented
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)

_Risk = TypeVar("_Risk", Dispute, FraudWarning, Review)

_RANK: Final = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: 0,
    DisputeStatus.WARNING_UNDER_REVIEW: 1,
    DisputeStatus.WARNING_CLOSED: 2,
    DisputeStatus.NEEDS_RESPONSE: 3,
    DisputeStatus.UNDER_REVIEW: 4,
    DisputeStatus.PREVENTED: 5,
    DisputeStatus.WON: 5,
    DisputeStatus.LOST: 5,
}
_ENDED_AS: Final = {
    DisputeStatus.WARNING_CLOSED: "dispute_closed",
    DisputeStatus.WON: "dispute_won",
    DisputeStatus.LOST: "dispute_lost",
    DisputeStatus.PREVENTED: "dispute_prevented",
}


@dataclass(frozen=True)
class RiskLine:
    """A line for the order's history: codes, ids and amounts only."""

    event: str
    detail: dict[str, str]


@dataclass(frozen=True)
class RiskChanges:
    """What a report changes: the disputes, warnings and reviews that are new or other now."""

    disputes: tuple[Dispute, ...]
    warnings: tuple[FraudWarning, ...]
    reviews: tuple[Review, ...]
    lines: tuple[RiskLine, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all that changes."""
        return PaymentRisks("", self.disputes, self.warnings, self.reviews).ids


def merge_risks(known: PaymentRisks, report: PaymentRisks) -> RiskChanges:
    """What ``report`` changes of ``known``, which is what is recorded now."""
    fresh = report.revision is not None and report.revision == (known.revision or 0)
    disputes = _changed(known.disputes, report.disputes, _dispute_id, merge_dispute, fresh=fresh)
    warnings = _changed(known.warnings, report.warnings, _warning_id, _merge_warning, fresh=fresh)
    reviews = _changed(known.reviews, report.reviews, _review_id, _merge_review, fresh=fresh)
    lines = [line for before, after in disputes for line in _dispute_lines(before, after)]
    lines += [_warning_line(before, after) for before, after in warnings]
    lines += [line for before, after in reviews for line in _review_lines(before, after)]
    return RiskChanges(
        tuple(after for _, after in disputes),
        tuple(after for _, after in warnings),
        tuple(after for _, after in reviews),
        tuple(lines),
    )


def acknowledge(risks: PaymentRisks, concern_id: str, by: str) -> PaymentRisks | None:
    """``risks`` once ``by`` has acknowledged one of them; None when it has no such one.

    One that is acknowledged stays so, by whoever did it first.
    """
    if concern_id not in risks.ids:
        return None

    def acknowledged(one: _Risk, id_: str) -> _Risk:
        mine = id_ == concern_id and not one.acknowledged_by
        return replace(one, acknowledged_by=by) if mine else one

    return replace(
        risks,
        disputes=tuple(acknowledged(one, one.dispute_id) for one in risks.disputes),
        warnings=tuple(acknowledged(one, one.warning_id) for one in risks.warnings),
        reviews=tuple(acknowledged(one, one.review_id) for one in risks.reviews),
    )


def merge_dispute(known: Dispute, report: Dispute, *, fresh: bool) -> Dispute:
    """The dispute after a report of it."""
    if fresh:
        return report
    if _RANK[report.status] > _RANK[known.status]:
        return replace(report, submissions=max(known.submissions, report.submissions))
    if report.status is not known.status:
        return known
    # Money is withdrawn after a dispute opens, and comes back before it is won.
    pick = min if known.status is DisputeStatus.WON else max
    deadlines = [due_by for due_by in (known.due_by, report.due_by) if due_by is not None]
    return replace(
        known,
        withdrawn=pick(known.withdrawn, report.withdrawn),
        fee=known.fee if known.fee else report.fee,
        due_by=max(deadlines, default=None),
        submissions=max(known.submissions, report.submissions),
    )


def _merge_warning(known: FraudWarning, report: FraudWarning, *, fresh: bool) -> FraudWarning:
    if fresh:
        return report
    return replace(known, is_actionable=known.is_actionable and report.is_actionable)


def _merge_review(known: Review, report: Review, *, fresh: bool) -> Review:
    return report if fresh or known.is_open else known


def _dispute_id(one: Dispute) -> str:
    return one.dispute_id


def _warning_id(one: FraudWarning) -> str:
    return one.warning_id


def _review_id(one: Review) -> str:
    return one.review_id


def _changed(
    known: Sequence[_Risk],
    report: Iterable[_Risk],
    id_of: Callable[[_Risk], str],
    merge: Callable[..., _Risk],
    *,
    fresh: bool,
) -> list[tuple[_Risk | None, _Risk]]:
    """Each one that the report changes: as it was, None when it is new, and as it is now."""
    before = {id_of(one): one for one in known}
    changed: list[tuple[_Risk | None, _Risk]] = []
    for one in report:
        was, after = before.get(id_of(one)), one
        if was is not None:
            # What an operator decided is ours: no report knows it.
            decided = replace(one, acknowledged_by=was.acknowledged_by)
            after = merge(was, decided, fresh=fresh)
        if after != was:
            changed.append((was, after))
    return changed


def _dispute_lines(before: Dispute | None, after: Dispute) -> list[RiskLine]:
    lines: list[RiskLine] = []
    if before is None:
        opened = {
            "dispute_id": after.dispute_id,
            "kind": "inquiry" if after.is_inquiry else "chargeback",
            "amount": str(after.amount),
            "reason": after.reason,
            "withdrawn": str(after.withdrawn) if after.withdrawn else "",
            "due_by": after.due_by.isoformat() if after.due_by else "",
        }
        lines.append(_line("dispute_opened", opened))
        if after.is_open:
            return lines
    updated = {
        "dispute_id": after.dispute_id,
        "status": str(after.status),
        "withdrawn": str(after.withdrawn),
        "fee": str(after.fee) if after.fee else "",
        "submissions": str(after.submissions) if after.submissions else "",
        "due_by": after.due_by.isoformat() if after.due_by and after.is_open else "",
    }
    lines.append(_line(_ENDED_AS.get(after.status, "dispute_updated"), updated))
    return lines


def _warning_line(before: FraudWarning | None, after: FraudWarning) -> RiskLine:
    detail = {
        "warning_id": after.warning_id,
        "fraud_type": after.fraud_type,
        "actionable": "yes" if after.is_actionable else "no",
    }
    return _line("fraud_warning" if before is None else "fraud_warning_updated", detail)


def _review_lines(before: Review | None, after: Review) -> list[RiskLine]:
    opened = {"review_id": after.review_id, "reason": after.opened_reason}
    lines = [_line("review_opened", opened)] if before is None or after.is_open else []
    if not after.is_open:
        closed = {"review_id": after.review_id, "reason": after.closed_reason}
        lines.append(_line("review_closed", closed))
    return lines


def _line(event: str, detail: dict[str, str]) -> RiskLine:
    return RiskLine(event, {name: text for name, text in detail.items() if text})
