"""Audit activities: compare a page of all books, repair what is safe, flag the rest."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from activities.audit_risks import OF_RISKS, PaymentRiskAudit
from durable_orders.domain.audit.messages import (
    AuditPage,
    AuditPosition,
    AuditScan,
    DiscrepancySettled,
    DiscrepancySettlement,
    Finding,
    PageReview,
)
from durable_orders.domain.audit.model import (
    AuditCase,
    AuditTerms,
    Discrepancy,
    DiscrepancyKind,
    ListedCharge,
    Remedy,
    RunState,
    RunStatus,
)
from durable_orders.domain.audit.ports import (
    AuditRepository,
    ChargeListing,
    FindingRepository,
    Marks,
    OrderRuns,
)
from durable_orders.domain.audit.rules import (
    find_discrepancies,
    find_open_run_discrepancies,
    may_have_discrepancies,
)
from durable_orders.domain.installation import InstallationRepository
from durable_orders.domain.ports import Cards, ChargeState, PaymentLedger, RefusedError

log = logging.getLogger(__name__)

#: For comparing a page, before Temporal and the provider are asked about single orders.
_NO_RUN = RunStatus(RunState.NONE)
_OF_OPEN_RUNS = frozenset({DiscrepancyKind.RUN_WITHOUT_ORDER, DiscrepancyKind.RUN_AFTER_END})


@dataclass(frozen=True)
class ReconciliationActivities:
    """Conversations with the card provider, our books and Temporal."""

    charges: ChargeListing
    cards: Cards
    ledger: PaymentLedger
    book: AuditRepository
    runs: OrderRuns
    findings: FindingRepository
    installations: InstallationRepository
    #: Without it, nothing that is disputed is looked at.
    risks: PaymentRiskAudit | None = None

    @property
    def all(self) -> tuple[Callable[..., Any], ...]:
        return (self.review_page, self.settle_discrepancy)

    @activity.defn
    async def review_page(self, page: AuditPage) -> PageReview:
        """Compare one page of one scan. Changes nothing but findings that no longer hold."""
        match page.position.scan:
            case AuditScan.CHARGES:
                return await self._review_charges(page)
            case AuditScan.REFUNDS:
                return await self._review_refunds(page)
            case AuditScan.ORDERS:
                return await self._review_orders(page)
            case AuditScan.RUNS:
                return await self._review_runs(page)
            case AuditScan.DISPUTES | AuditScan.WARNINGS | AuditScan.REVIEWS | AuditScan.RISKS:
                return PageReview(0, ()) if self.risks is None else await self.risks.review(page)
            case AuditScan.FINDINGS:
                return await self._review_findings(page)

    @activity.defn
    async def settle_discrepancy(self, settlement: DiscrepancySettlement) -> DiscrepancySettled:
        """Repair one discrepancy, or flag it; neither when it is gone.

        Everything is read again first, so that neither a retry nor a second audit beside this one
        acts on what was true a while ago.
        """
        wanted, now = settlement.discrepancy, datetime.now(UTC)
        case = None
        if wanted.kind in OF_RISKS:
            current = await self._examine_risks(wanted.order_id)
        elif wanted.kind in _OF_OPEN_RUNS:
            as_of = settlement.as_of
            no_grace = _without_grace(settlement.terms)  # its page has seen that it is old enough
            current = await self._examine_run(wanted.order_id, as_of, as_of, no_grace)
        else:
            case = await self._case(wanted.order_id, [wanted.payment_id])
            current = find_discrepancies(case, settlement.as_of, settlement.terms)
        found = next((one for one in current if one.same_as(wanted)), None)
        if found is None:
            return DiscrepancySettled("gone")
        # Recorded before anything is done: a repair leaves a trace whatever becomes of it.
        noted = await self.findings.note(found, now)
        if await self._repair(found, case):
            await self.findings.resolve(found, "repaired", now)
            log.info("repaired %s of order %s: %s", found.kind, found.order_id, found.detail)
            return DiscrepancySettled("repaired")
        if noted.seen_before is not None:
            if noted.seen_before >= settlement.as_of:
                return DiscrepancySettled("counted")
            return DiscrepancySettled("acknowledged" if noted.is_acknowledged else "known")
        log.warning("flagged %s of order %s: %s", found.kind, found.order_id, found.detail)
        return DiscrepancySettled("flagged")

    # -- the scans ---------------------------------------------------------------------------------

    async def _review_charges(self, page: AuditPage) -> PageReview:
        at, terms = page.position, page.terms
        after = at.as_of - terms.window
        ours = await self._marks()
        listed = await self.charges.charges(ours, after, at.as_of, at.cursor, terms.page_size)
        by_order: defaultdict[str, list[ListedCharge]] = defaultdict(list)
        for one in listed.items:
            by_order[one.order_id].append(one)
        orders = await self.book.standing(by_order)
        found: list[Discrepancy] = []
        for order_id, charges in by_order.items():
            case = AuditCase(order_id, orders.get(order_id), tuple(charges), _NO_RUN)
            if may_have_discrepancies(case, at.as_of, terms):
                ids = [one.charge.payment_id for one in charges]
                found += await self._examine_order(order_id, ids, at, terms)
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def _review_refunds(self, page: AuditPage) -> PageReview:
        at, terms = page.position, page.terms
        after, before = at.as_of - terms.window, at.as_of - terms.grace
        ours = await self._marks()
        listed = await self.charges.refunds(ours, after, before, at.cursor, terms.page_size)
        known = await self.book.known_refunds(one.refund.refund_id for one in listed.items)
        found: list[Discrepancy] = []
        unknown = (
            one for one in listed.items if not one.given or one.refund.refund_id not in known
        )
        for payment_id in dict.fromkeys(one.payment_id for one in unknown):
            charge = await self.charges.find(ours, payment_id)
            if charge is not None:
                found += await self._examine_order(charge.order_id, [payment_id], at, terms)
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def _review_orders(self, page: AuditPage) -> PageReview:
        at, terms = page.position, page.terms
        listed = await self.book.page(at.as_of - terms.window, at.cursor, terms.page_size)
        found: list[Discrepancy] = []
        for order in listed.items:
            if may_have_discrepancies(
                AuditCase(order.order_id, order, (), _NO_RUN), at.as_of, terms
            ):
                found += await self._examine_order(order.order_id, [], at, terms)
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def _review_runs(self, page: AuditPage) -> PageReview:
        at, terms = page.position, page.terms
        listed = await self.runs.open_runs(at.cursor, terms.page_size)
        orders = await self.book.standing(run.order_id for run in listed.items)
        found: list[Discrepancy] = []
        for run in listed.items:
            about = (run.order_id, orders.get(run.order_id), run.started_at, at.as_of, terms)
            if find_open_run_discrepancies(*about):
                found += await self._examine_run(run.order_id, run.started_at, at.as_of, terms)
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def _review_findings(self, page: AuditPage) -> PageReview:
        """Review the findings of earlier audits; those that no longer hold are resolved."""
        at, terms = page.position, page.terms
        listed = await self.findings.unresolved(at.cursor, terms.page_size)
        found: list[Discrepancy] = []
        for finding in listed.items:
            if finding.last_seen >= at.as_of:
                continue  # this audit has seen it
            if await self._still_holds(finding, at, terms):
                found.append(finding.discrepancy)
            else:
                await self.findings.resolve(finding.discrepancy, "settled", datetime.now(UTC))
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    async def _still_holds(self, finding: Finding, at: AuditPosition, terms: AuditTerms) -> bool:
        # Without grace: a finding is not settled by its order's moving again.
        no_grace = _without_grace(terms)
        known = finding.discrepancy
        if finding.kind in OF_RISKS:
            found = await self._examine_risks(known.order_id)
        elif finding.kind in _OF_OPEN_RUNS:
            found = await self._examine_run(known.order_id, finding.first_seen, at.as_of, no_grace)
        else:
            case = await self._case(known.order_id, [known.payment_id])
            # As of now: an order that moved during this audit would count as within its grace.
            found = find_discrepancies(case, datetime.now(UTC), no_grace)
        return any(one.same_as(known) for one in found)

    # -- one order ---------------------------------------------------------------------------------

    async def _examine_order(
        self, order_id: str, payment_ids: Iterable[str], at: AuditPosition, terms: AuditTerms
    ) -> list[Discrepancy]:
        return find_discrepancies(await self._case(order_id, payment_ids), at.as_of, terms)

    async def _examine_run(
        self, order_id: str, since: datetime, now: datetime, terms: AuditTerms
    ) -> list[Discrepancy]:
        """Examine a run that is listed as open. The list lags: it may have ended by now."""
        run = await self.runs.look(order_id)
        if run.state is not RunState.OPEN:
            return []
        order = (await self.book.standing([order_id])).get(order_id)
        return find_open_run_discrepancies(order_id, order, since, now, terms)

    async def _examine_risks(self, order_id: str) -> list[Discrepancy]:
        return [] if self.risks is None else await self.risks.examine(order_id)

    async def _case(self, order_id: str, payment_ids: Iterable[str]) -> AuditCase:
        """Read all that is known of an order, its run first: the sequence matters.

        Once a run has ended it stays so, and what is read afterwards is final.
        """
        run = await self.runs.look(order_id)
        if run.state is RunState.OPEN:
            return AuditCase(order_id, None, (), run)
        order = (await self.book.standing([order_id])).get(order_id)
        entries = order.entries if order else ()
        wanted = dict.fromkeys([*(entry.payment_id for entry in entries), *payment_ids])
        ours = await self._marks()
        found = [await self.charges.find(ours, payment_id) for payment_id in wanted if payment_id]
        charges = tuple(one for one in found if one is not None and one.order_id == order_id)
        return AuditCase(order_id, order, charges, run)

    async def _marks(self) -> Marks:
        """The names of this installation as they are now: it may have been renamed meanwhile."""
        return (await self.installations.get()).names

    async def _repair(self, found: Discrepancy, case: AuditCase | None) -> bool:
        """Carry out the remedy; False when an operator has to look."""
        if found.remedy is Remedy.FOLLOW and self.risks is not None:
            await self.risks.runs.follow(found.order_id)
            return True
        if case is None:
            return False
        listed = next((c for c in case.charges if c.charge.payment_id == found.payment_id), None)
        match found.remedy:
            case Remedy.START:
                return await self.runs.start(found.order_id)
            case Remedy.RECORD if listed is not None:
                return await self._record(case, listed)
            case Remedy.RELEASE if listed is not None:
                # Cancelling takes no key, and what was captured meanwhile stays captured.
                charge = await self.cards.cancel(found.payment_id)
                await self._record(case, dataclasses.replace(listed, charge=charge))
                return charge.state is ChargeState.CANCELLED
            case _:
                return False

    async def _record(self, case: AuditCase, listed: ListedCharge) -> bool:
        """Update our entry to what the provider says; False without one, or when it is refused."""
        entries = case.order.entries if case.order else ()
        payment_id = listed.charge.payment_id
        entry = next((one for one in entries if one.payment_id == payment_id), None)
        if entry is None:
            return False
        try:
            await self.ledger.record(entry.charge, listed.charge)
            for refund in listed.refunds:
                if refund.given:
                    await self.ledger.record_refund(case.order_id, payment_id, refund.refund)
        except RefusedError as error:
            # A second live charge, say: a constraint of the database refuses it.
            log.warning("our books refuse what the provider says of %s: %s", payment_id, error)
            return False
        return True


def _without_grace(terms: AuditTerms) -> AuditTerms:
    """The same terms without grace."""
    return dataclasses.replace(terms, grace=timedelta(0))
