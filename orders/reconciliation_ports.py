"""What the audit needs of the world outside, beside ``orders.ports``; the same rules hold.

Pages go by cursors: an opaque text that names where the next page begins, None at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from orders.audits import Acknowledgement, Finding, Noted, Resolution
from orders.discrepancies import (
    Discrepancy,
    Kind,
    ListedCharge,
    ListedRefund,
    RunSighting,
    Standing,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Listed(Generic[T]):
    """A page of a list, and where the next one begins."""

    items: tuple[T, ...]
    cursor: str | None = None


class ChargeList(Protocol):
    """The card provider's own books. Charges that name no order of ours are left out."""

    async def charges(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> Listed[ListedCharge]:
        """Charges created from ``after`` up to ``before``, newest first, without their refunds."""

    async def refunds(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> Listed[ListedRefund]:
        """Refunds created from ``after`` up to ``before``, newest first."""

    async def find(self, payment_id: str) -> ListedCharge | None:
        """One charge as it is now, with its refunds; None when there is no such charge of ours."""


class AuditBook(Protocol):
    """Our own books, read for comparing."""

    async def page(
        self, changed_since: datetime, cursor: str | None, limit: int
    ) -> Listed[Standing]:
        """Orders that have not ended, or changed since; each at least once."""

    async def standing(self, order_ids: Iterable[str]) -> Mapping[str, Standing]:
        """These orders, without those that we do not have."""

    async def known_refunds(self, refund_ids: Iterable[str]) -> frozenset[str]:
        """Which of these refunds our books have."""


@dataclass(frozen=True)
class OpenRun:
    """A run that carries an order now."""

    order_id: str
    started_at: datetime


class OrderRuns(Protocol):
    """The runs that carry orders."""

    async def look(self, order_id: str) -> RunSighting:
        """The order's run as it is this moment. Raises ``NoAnswerError``, never guesses."""

    async def start(self, order_id: str) -> bool:
        """Have the order carried; again is a no-op. False when it cannot be started any more."""

    async def open_runs(self, cursor: str | None, limit: int) -> Listed[OpenRun]:
        """Runs that are open, a second behind at most."""


class Findings(Protocol):
    """The book of what audits found. One entry per kind, order and payment."""

    async def note(self, found: Discrepancy, now: datetime) -> Noted:
        """Write it down; what was known of it. An acknowledgement ends when it says otherwise."""

    async def resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        """It is no longer so."""

    async def acknowledge(
        self, order_id: str, kind: Kind | None, word: Acknowledgement
    ) -> tuple[Finding, ...]:
        """Have somebody answer for an order's finding, as it is now; also in the order's history.

        Returns what is acknowledged then; the first word on each stays. Which ones it is about is
        said by ``orders.audits.to_acknowledge``, which may raise ``NothingToAcknowledgeError``;
        ``NoSuchOrderError`` when there is no such order, and nothing was found of it.
        """

    async def unresolved(self, cursor: str | None, limit: int) -> Listed[Finding]:
        """What still disagrees, as far as we know."""

    async def listed(self, *, everything: bool, limit: int) -> list[Finding]:
        """What nobody has settled or answers for, newest first; or everything."""
