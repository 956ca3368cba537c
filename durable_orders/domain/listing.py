"""Listing of orders, newest first: pages, cursors, filters.

A cursor names the last order of a page and not an offset: orders that are placed meanwhile shift
nothing, and no order is listed twice.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from durable_orders.domain.ids import CUSTOMER_ID, InvalidOrderIdError, checked_order_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_TEXT: Final = re.compile(r"1:([0-9]{1,18}):(.+)")


class InvalidCursorError(ValueError):
    """The text is not one of our cursors."""

    def __init__(self) -> None:
        super().__init__("this is no cursor of ours: take the one of the page before, or none")


#: The most entries that a list is asked for.
MOST_LISTED: Final = 10_000


class InvalidLimitError(ValueError):
    """Nobody can be listed so many."""

    def __init__(self) -> None:
        super().__init__(f"a list has 1 to {MOST_LISTED} entries: that is its limit")


def checked_limit(limit: int) -> int:
    """Return the limit of a list. Raises ``InvalidLimitError``."""
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidLimitError
    return limit


@dataclass(frozen=True)
class Cursor:
    """Cursor: the last order of a page. ``str`` gives its opaque text, ``read`` parses it."""

    placed_at: datetime
    order_id: str

    def __str__(self) -> str:
        micros = (self.placed_at - _EPOCH) // timedelta(microseconds=1)
        plain = f"1:{micros}:{self.order_id}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Parse the text of a cursor. Raises ``InvalidCursorError``."""
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
            match = _PLAIN_TEXT.fullmatch(plain)
            if match is None:
                raise InvalidCursorError
            placed_at = _EPOCH + timedelta(microseconds=int(match[1]))
            bookmark = cls(placed_at, checked_order_id(match[2]))
        except (binascii.Error, ValueError, OverflowError, InvalidOrderIdError):
            raise InvalidCursorError from None
        if str(bookmark) != text:  # another spelling of the same order
            raise InvalidCursorError
        return bookmark


@dataclass(frozen=True)
class OrderFilter:
    """Filter of the listing; None matches all. Raises ``InvalidTextError`` for a customer id that
    is none.
    """

    status: Status | None = None
    customer_id: str | None = None

    def __post_init__(self) -> None:
        if self.customer_id is not None:
            CUSTOMER_ID.check(self.customer_id)


@dataclass(frozen=True)
class PlacedOrder:
    """An order in a listing, without personal data. ``reason`` as in ``Order``."""

    order_id: str
    customer_id: str
    status: Status
    reason: str | None
    total: Money
    placed_at: datetime


@dataclass(frozen=True)
class OrderPage:
    """A page of orders, newest first; ``next`` is the next page's cursor, None on the last."""

    orders: tuple[PlacedOrder, ...]
    next: Cursor | None = None

    @classmethod
    def of(cls, found: Sequence[PlacedOrder], limit: int) -> OrderPage:
        """Make a page of at most ``limit`` orders; ``found`` has one more if there are more."""
        shown = tuple(found[:limit])
        if len(found) <= limit:
            return cls(shown)
        return cls(shown, Cursor(shown[-1].placed_at, shown[-1].order_id))
