"""What the replies of all neighbours have in common: how long to wait, and what not to repeat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

#: A neighbour that asks for more is not believed: an order would stand still for a typing error.
LONGEST_WAIT: Final = timedelta(hours=1)

_EMAIL: Final = re.compile(r"[^\s@<>()\[\]\"',;:]+@[^\s@<>()\[\]\"',;:]+")
_LONGEST_MESSAGE: Final = 300


def wait_asked(headers: Mapping[str, str] | None) -> timedelta | None:
    """How long ``Retry-After`` asks us to wait (RFC 9110 §10.2.3: seconds, or a date).

    None when there is no such header or it cannot be read; never negative, never above
    ``LONGEST_WAIT``. Header names are matched in any case.
    """
    values = [value for name, value in (headers or {}).items() if name.lower() == "retry-after"]
    if not values:
        return None
    try:
        wait = timedelta(seconds=float(values[0]))
    except (ValueError, OverflowError):
        try:
            wait = parsedate_to_datetime(values[0]) - datetime.now(UTC)
        except (ValueError, TypeError):
            return None
    return min(max(wait, timedelta()), LONGEST_WAIT)


def without_private(message: str, *private: str) -> str:
    """``message``, cut to a sensible length, with mail addresses and ``private`` texts blanked.

    Errors and refusals end up in workflow history, where no personal data may be.
    """
    for text in sorted((text for text in private if text.strip()), key=len, reverse=True):
        message = re.sub(re.escape(text), "…", message, flags=re.IGNORECASE)
    return _EMAIL.sub("…", message)[:_LONGEST_MESSAGE]
