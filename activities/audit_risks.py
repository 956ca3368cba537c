"""The audit's scans of disputes, early fraud warnings and reviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from durable_orders.domain.audit.messages import AuditPage, AuditScan, PageReview
from durable_orders.domain.audit.model import Discrepancy, DiscrepancyKind
from durable_orders.domain.audit.ports import CursorPage, PaymentRiskListing, PaymentRiskRuns
from durable_orders.domain.audit.rules import find_risk_discrepancies
from durable_orders.domain.disputes.dispute import Dispute, FraudWarning, PaymentRisks, Review
from durable_orders.domain.disputes.ports import DisputeRepository, PaymentRiskReader
from durable_orders.domain.ports import NoSuchOrderError

#: Findings about disputes, warnings and reviews: they are looked at whatever the order's run does.
OF_RISKS: Final = frozenset({DiscrepancyKind.RISK_BEHIND, DiscrepancyKind.RISK_UNFOLLOWED})


@dataclass(frozen=True)
class PaymentRiskAudit:
    """Compares the provider's disputes, early fraud warnings and reviews with our books."""

    listing: PaymentRiskListing
    reader: PaymentRiskReader
    disputes: DisputeRepository
    runs: PaymentRiskRuns

    async def review(self, page: AuditPage) -> PageReview:
        """Compare one page of one scan."""
        at, terms = page.position, page.terms
        if at.scan is AuditScan.RISKS:
            return await self._review_open(at.cursor, terms.page_size)
        after, before = at.as_of - terms.risk_window, at.as_of - terms.grace
        listed = await self._listed(at.scan, after, before, at.cursor, terms.page_size)
        found: list[Discrepancy] = []
        by_payment = {one.payment_id: one for one in listed.items}
        orders = await self.disputes.find_orders(by_payment)
        for payment_id, order_id in orders.items():
            known = await self.disputes.risks_of(order_id) or PaymentRisks(payment_id)
            of_payment = [one for one in listed.items if one.payment_id == payment_id]
            if _differ(order_id, known, of_payment):
                found += await self.examine(order_id)
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def examine(self, order_id: str) -> list[Discrepancy]:
        """Compare all that is disputed of an order's payment, our books first: what they have by
        then, the provider has too.
        """
        try:
            known = await self.disputes.risks_of(order_id)
        except NoSuchOrderError:
            return []
        if known is None:
            return []
        report = await self.reader.risks_of(known.payment_id)
        followed = await self.runs.is_open(order_id)
        return find_risk_discrepancies(order_id, known, report, followed=followed)

    async def _review_open(self, cursor: str | None, limit: int) -> PageReview:
        """What is open in our books, of any age, and no run follows."""
        order_ids = await self.disputes.open_orders(cursor or "", limit)
        found: list[Discrepancy] = []
        for order_id in order_ids:
            if not await self.runs.is_open(order_id):
                found += await self.examine(order_id)
        following = order_ids[-1] if len(order_ids) == limit else None
        return PageReview(len(order_ids), tuple(found), following)

    async def _listed(
        self, scan: AuditScan, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Dispute] | CursorPage[FraudWarning] | CursorPage[Review]:
        window = (after, before, cursor, limit)
        if scan is AuditScan.DISPUTES:
            return await self.listing.disputes(*window)
        if scan is AuditScan.WARNINGS:
            return await self.listing.warnings(*window)
        return await self.listing.reviews(*window)


def _differ(
    order_id: str, known: PaymentRisks, listed: Sequence[Dispute | FraudWarning | Review]
) -> bool:
    report = PaymentRisks(
        known.payment_id,
        tuple(one for one in listed if isinstance(one, Dispute)),
        tuple(one for one in listed if isinstance(one, FraudWarning)),
        tuple(one for one in listed if isinstance(one, Review)),
    )
    return bool(find_risk_discrepancies(order_id, known, report, followed=True))
