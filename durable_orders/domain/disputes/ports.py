"""Ports: disputes, early fraud warnings and reviews, at the card provider and in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from durable_orders.domain.disputes.dispute import Dispute, PaymentConcern, PaymentRisks
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money


class PaymentRiskReader(Protocol):
    """The card provider's side."""

    async def risks_of(self, payment_id: str) -> PaymentRisks:
        """All disputes, early fraud warnings and reviews of the payment, as they are now."""

    async def submit_evidence(
        self, dispute_id: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> Dispute:
        """Save evidence with the dispute; ``submit`` sends it to the bank, which is final.

        ``evidence`` maps Stripe's field names to texts. Raises ``RefusedError`` for a dispute that
        is over or takes no more evidence.
        """


@dataclass(frozen=True)
class RecordedConcern:
    """An order's open dispute, warning or review, for operators."""

    order_id: str
    status: Status
    payment_id: str
    amount: Money
    concern: PaymentConcern


class DisputeRepository(Protocol):
    """Repository of disputes, early fraud warnings and reviews.

    Each call that changes something is one transaction that locks the order's row. What it records
    only goes forward: a report that may be older than what is recorded changes nothing. See
    ``durable_orders.domain.disputes.merging``.
    """

    async def find_order(self, payment_id: str) -> str | None:
        """The order that is paid with this payment; None when none of ours is."""

    async def find_orders(self, payment_ids: Iterable[str]) -> Mapping[str, str]:
        """The orders that are paid with these payments, by payment; without those that are not
        ours.
        """

    async def open_orders(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of orders of which something is open, in their order from ``after`` on."""

    async def record(self, order_id: str, risks: PaymentRisks, now: datetime) -> PaymentRisks:
        """Record what the provider reports, with a line in the order's history for each change.

        Returns all that is recorded of the order afterwards. Raises ``NoSuchOrderError``, and
        ``RefusedError`` for a payment that is not the order's.
        """

    async def acknowledge(
        self, order_id: str, concern_id: str, by: str, note: str, now: datetime
    ) -> PaymentRisks:
        """Record that an operator has decided that nothing more is to be done about a dispute,
        warning or review (its id); once.

        Raises ``NoSuchOrderError``, and ``RefusedError`` when the order has no such concern.
        """

    async def risks_of(self, order_id: str) -> PaymentRisks | None:
        """What is recorded of the order's payment; None when the order has none.

        Raises ``NoSuchOrderError``.
        """

    async def find(self, dispute_id: str) -> tuple[str, Dispute] | None:
        """The order's id and the dispute."""

    async def open_concerns(self, limit: int) -> tuple[RecordedConcern, ...]:
        """What is open on all orders, by deadline; those without one last, oldest first."""
