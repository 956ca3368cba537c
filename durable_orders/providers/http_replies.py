"""HTTP replies: the ``Retry-After`` header, and messages without personal data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from durable_orders.domain.texts import escaped

#: Upper limit of a requested wait: a mistake of the server must not stop an order.
LONGEST_WAIT: Final = timedelta(hours=1)

_EMAIL: Final = re.compile(r"[^\s@<>()\[\]\"',;:]+@[^\s@<>()\[\]\"',;:]+")
_LONGEST_MESSAGE: Final = 300
_LONGEST_ADDRESS: Final = 320
#: What is looked at of a message. Looking for mail addresses takes time that grows with the square
#: of the length.
_LONGEST_LOOKED_AT: Final = 2_000


def parse_retry_after(headers: Mapping[str, str] | None) -> timedelta | None:
    """Parse the wait from ``Retry-After`` (RFC 9110 §10.2.3: seconds, or a date).

    None when the header is missing or invalid; never negative, never above
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
    """Cut ``message`` to 300 characters and blank mail addresses and ``private`` texts in it.

    Errors and refusals end up in workflow history, where no personal data may be, and in logs: what
    controls a terminal is escaped.
    """
    wanted = sorted((text for text in private if text.strip()), key=len, reverse=True)
    if len(message) > _LONGEST_LOOKED_AT:
        # What is cut in two at the end would not be found: it is left out.
        torn = max([len(text) for text in wanted], default=0) + _LONGEST_ADDRESS
        message = message[: max(_LONGEST_LOOKED_AT - torn, 0)]
    for text in wanted:
        message = re.sub(re.escape(text), "…", message, flags=re.IGNORECASE)
    return escaped(_EMAIL.sub("…", message))[:_LONGEST_MESSAGE]
