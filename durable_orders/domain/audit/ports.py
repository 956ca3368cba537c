"""Ports of the audit, beside those in ``durable_orders.domain.ports``; the same rules hold.

Pages go by cursors: an opaque text that names where the next page begins, None at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from durable_orders.domain.audit.messages import Acknowledgement, Finding, PriorFinding, Resolution
from durable_orders.domain.audit.model import (
    BookedOrder,
    Discrepancy,
    DiscrepancyKind,
    ListedCharge,
    ListedRefund,
    RunStatus,
)
from durable_orders.domain.disputes.dispute import Dispute, FraudWarning, Review

T = TypeVar("T")

#: Names of an installation, now and before: see ``Installation.names``.
Marks = frozenset[str]


@dataclass(frozen=True)
class CursorPage(Generic[T]):
    """A page of a list, and the cursor of the next one."""

    items: tuple[T, ...]
    cursor: str | None = None


class ChargeListing(Protocol):
    """The card provider's list of charges: those that carry one of the marks in ``ours``.

    Others use the account too. However alike theirs may be named, they are not in the list.
    """

    async def charges(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedCharge]:
        """Charges created from ``after`` up to ``before``, newest first, without their refunds."""

    async def refunds(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedRefund]:
        """Refunds created from ``after`` up to ``before``, newest first.

        One without a mark is in the list: it may have been made by hand, of a charge of ours.
        """

    async def find(self, ours: Marks, payment_id: str) -> ListedCharge | None:
        """One charge as it is now, with its refunds; None when there is no such charge of ours."""


class AuditRepository(Protocol):
    """Our database, as the audit reads it: the orders that this installation placed."""

    async def page(
        self, changed_since: datetime, cursor: str | None, limit: int
    ) -> CursorPage[BookedOrder]:
        """Orders of any age on which something may be wrong, each at least once: those that are not
        final; that changed since then, or had a refund or a dispute that did; and that have a
        refund on its way or owed, or a charge that can still take money.
        """

    async def standing(self, order_ids: Iterable[str]) -> Mapping[str, BookedOrder]:
        """The orders of these ids, without those that our database lacks."""

    async def known_refunds(self, refund_ids: Iterable[str]) -> frozenset[str]:
        """Those of these refunds that our database has."""


@dataclass(frozen=True)
class OpenRun:
    """An open run of an order."""

    order_id: str
    started_at: datetime


class OrderRuns(Protocol):
    """The runs of orders in Temporal."""

    async def look(self, order_id: str) -> RunStatus:
        """The order's run as it is now. Raises ``NoAnswerError``, never guesses."""

    async def start(self, order_id: str) -> bool:
        """Start the order's run; repeating is a no-op. False when it can no longer be started."""

    async def open_runs(self, cursor: str | None, limit: int) -> CursorPage[OpenRun]:
        """Open runs; the list lags by a second at most."""


class FindingRepository(Protocol):
    """Repository of findings. One entry per kind, order and payment."""

    async def note(self, found: Discrepancy, now: datetime) -> PriorFinding:
        """Record it; returns its earlier record. A changed detail ends an acknowledgement.

        The detail is what ``noted_detail`` says.
        """

    async def is_unresolved(self, found: Discrepancy) -> bool:
        """Whether it is recorded and not resolved."""

    async def resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        """Record that it no longer holds."""

    async def acknowledge(
        self, order_id: str, kind: DiscrepancyKind | None, word: Acknowledgement
    ) -> tuple[Finding, ...]:
        """Acknowledge an order's findings as they are now, and add that to the order's history.

        Returns the acknowledged findings; the first acknowledgement of each stays. They are
        selected by ``to_acknowledge``, which may raise ``NothingToAcknowledgeError``. Raises
        ``NoSuchOrderError`` when there is neither such an order nor a finding about it.
        """

    async def unresolved(self, cursor: str | None, limit: int) -> CursorPage[Finding]:
        """Findings that were not resolved yet."""

    async def listed(self, *, everything: bool, limit: int) -> list[Finding]:
        """Findings neither resolved nor acknowledged, newest first; or all of them."""


class PaymentRiskListing(Protocol):
    """The card provider's lists of disputes, early fraud warnings and reviews.

    None of them carries a mark: those of others who use the account are in the lists.
    """

    async def disputes(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Dispute]:
        """Disputes created from ``after`` up to ``before``, newest first."""

    async def warnings(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[FraudWarning]:
        """Early fraud warnings, in the same way."""

    async def reviews(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Review]:
        """Reviews, in the same way."""


class PaymentRiskRuns(Protocol):
    """The runs that follow disputes, early fraud warnings and reviews of an order's payment."""

    async def is_open(self, order_id: str) -> bool:
        """Whether one is open. Raises ``NoAnswerError``, never guesses."""

    async def follow(self, order_id: str) -> None:
        """Start the run, or wake it."""
