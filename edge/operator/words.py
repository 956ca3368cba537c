"""What the pages say in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from orders.lifecycle import Status
from orders.refunds import RefundState

#: How a status looks; what it is, its text says.
_TONES: Final[Mapping[str, str]] = {
    Status.AWAITING_APPROVAL: "waits",
    Status.AWAITING_PAYMENT: "waits",
    Status.COMPLETED: "good",
    Status.REJECTED: "bad",
    Status.CANCELLED: "over",
    Status.REFUNDED: "over",
    RefundState.SUCCEEDED: "good",
    RefundState.SETTLED: "good",
    RefundState.FAILED: "bad",
}


def spelled(code: str) -> str:
    """A code as a person writes it: awaiting_approval, awaiting approval."""
    return code.replace("_", " ")


def sentence(text: str) -> str:
    """With a capital and a full stop; an order's id at its beginning stays as it is."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def tone(status: str) -> str:
    """The CSS class of a status."""
    return _TONES.get(status, "goes")


def when(moment: datetime | str) -> str:
    """A moment for a person, with its time zone."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return str(moment)
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def machine_time(moment: datetime | str) -> str:
    """The same for ``<time datetime>``."""
    return moment if isinstance(moment, str) else moment.astimezone(UTC).isoformat()


#: What templates use after a bar.
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "spelled": spelled,
    "sentence": sentence,
    "tone": tone,
    "when": when,
    "machine_time": machine_time,
}
