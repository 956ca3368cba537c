"""HTTP replies: their size, the ``Retry-After`` header, and what may be repeated of a reply.

What a neighbour says in its own words may be anything, names and addresses too. Errors and answers
end up in workflow history and in logs, so they repeat its *codes* only (``bounded_code``), in
sentences of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from durable_orders.domain.texts import TextFormat, escaped


class TransportError(Exception):
    """A request got no whole reply. The message repeats nothing that the other side has sent."""


class OversizedReplyError(TransportError):
    """A reply is larger than any of them has to be, or of a size that nobody can tell."""


#: Bytes. A reply is read and parsed as a whole, while everything else in the process waits.
LARGEST_REPLY: Final = 1_048_576
#: Without compression the size of a reply is known while it comes.
UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}

#: Upper limit of a requested wait: a mistake of the server must not stop an order.
LONGEST_WAIT: Final = timedelta(hours=1)

_EMAIL: Final = re.compile(r"[^\s@<>()\[\]\"',;:]+@[^\s@<>()\[\]\"',;:]+")
_LONGEST_MESSAGE: Final = 300
_LONGEST_ADDRESS: Final = 320
#: What is looked at of a message. Looking for mail addresses takes time that grows with the square
#: of the length.
_LONGEST_LOOKED_AT: Final = 2_000
#: The longest one of Stripe's has 65 characters.
_CODE: Final = re.compile(r"[a-z0-9_]{1,80}")
UNKNOWN_CODE: Final = "unknown"
#: Failures of a connection, in the words of our own libraries and system. Those of an answer that
#: breaks the protocol quote it.
_OUR_WORDS: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientOSError,
    OSError,  # TimeoutError is one
)


class SenselessAnswerError(ValueError):
    """An answer of a neighbour makes no sense; the message is ours, and repeats nothing of it."""


def bounded_code(code: object) -> str:
    """A neighbour's code for an error or a reason; ``UNKNOWN_CODE`` for what is none, "" for
    none.
    """
    if code is None or code == "":
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else UNKNOWN_CODE


def checked_id(format_: TextFormat, id_: object) -> str:
    """An id that a neighbour has given. Raises ``SenselessAnswerError`` for what cannot be one."""
    if not isinstance(id_, str) or not format_.matches(id_):
        raise SenselessAnswerError(f"it names no {format_.noun.removeprefix('a ')}")
    return id_


def failure_name(error: BaseException | None) -> str:
    """What broke a conversation off, without what the other side has sent."""
    if isinstance(error, TransportError):
        return escaped(str(error)[:_LONGEST_MESSAGE])
    if isinstance(error, _OUR_WORDS) and str(error):
        return escaped(f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE])
    return type(error).__name__


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
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, timedelta()), LONGEST_WAIT)


def without_private(message: str, *private: str) -> str:
    """Cut ``message`` to 300 characters and blank mail addresses and ``private`` texts in it.

    For a neighbour's own words, which are kept in the order's history alone: blanking finds what is
    written as we wrote it, not what is written in another way. What controls a terminal is escaped.
    """
    wanted = sorted((text for text in private if text.strip()), key=len, reverse=True)
    if len(message) > _LONGEST_LOOKED_AT:
        # What is cut in two at the end would not be found: it is left out.
        torn = max([len(text) for text in wanted], default=0) + _LONGEST_ADDRESS
        message = message[: max(_LONGEST_LOOKED_AT - torn, 0)]
    for text in wanted:
        message = re.sub(re.escape(text), "…", message, flags=re.IGNORECASE)
    return escaped(_EMAIL.sub("…", message))[:_LONGEST_MESSAGE]
