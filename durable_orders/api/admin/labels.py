"""Template filters and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.refunds.refund import RefundState

#: CSS classes by status; every other status is under way.
_CSS_CLASSES: Final[Mapping[str, str]] = {
    Status.AWAITING_APPROVAL: "waits",
    Status.AWAITING_PAYMENT: "waits",
    Status.COMPLETED: "good",
    Status.REJECTED: "bad",
    Status.CANCELLED: "over",
    Status.REFUNDED: "over",
    RefundState.SUCCEEDED: "good",
    RefundState.SETTLED: "good",
    RefundState.FAILED: "bad",
    DisputeStatus.NEEDS_RESPONSE: "bad",
    DisputeStatus.WARNING_NEEDS_RESPONSE: "waits",
    DisputeStatus.WARNING_CLOSED: "over",
    DisputeStatus.PREVENTED: "over",
    DisputeStatus.WON: "good",
    DisputeStatus.LOST: "bad",
    "actionable": "waits",  # of a fraud warning
    "settled": "over",
    "open": "waits",  # of a review
    "approved": "good",
}


def humanize(code: str) -> str:
    """A code as words: ``awaiting_approval`` becomes "awaiting approval"."""
    return code.replace("_", " ")


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def css_class(status: str) -> str:
    """The CSS class of a status."""
    return _CSS_CLASSES.get(status, "goes")


def utc_time(moment: datetime | str) -> str:
    """A time for people, in UTC."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return str(moment)
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def iso_time(moment: datetime | str) -> str:
    """A time in ISO 8601, for ``<time datetime>``."""
    return moment if isinstance(moment, str) else moment.astimezone(UTC).isoformat()


#: The filters of the templates.
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "humanize": humanize,
    "sentence": sentence,
    "css_class": css_class,
    "utc_time": utc_time,
    "iso_time": iso_time,
}
