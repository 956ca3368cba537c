"""Audit activities: compare a page of all books, repair what is safe, flag the rest."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from temporalio import activity

from activities.audit_risks import OF_RISKS, PaymentRiskAudit
from durable_orders.domain.audit.messages import (
    AuditPage,
    AuditPosition,
    AuditScan,
    DiscrepancySettled,
    DiscrepancySettlement,
    OrderExamination,
    OrderExamined,
    PageReview,
    RevealedDiscrepancy,
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
    without_grace,
)
from durable_orders.domain.audit.ports import (
    AuditRepository,
    ChargeListing,
    FindingRepository,
    Marks,
    OrderRuns,
)
from durable_orders.domain.audit.rules import (
    can_tell,
    find_discrepancies,
    find_moved_money,
    find_open_run_discrepancies,
    find_stranded_refunds,
    has_refunds,
    may_have_discrepancies,
)
from durable_orders.domain.ids import refund_of, refund_workflow_id
from durable_orders.domain.installation import InstallationRepository
from durable_orders.domain.ports import Cards, ChargeState, PaymentLedger, RefusedError
from durable_orders.domain.refunds.ports import RefundBook, RefundRuns
from durable_orders.domain.refunds.refund import UnfinishedRefund

log = logging.getLogger(__name__)

#: For comparing a page, before Temporal and the provider are asked about single orders.
_NO_RUN = RunStatus(RunState.NONE)
#: Of one order; it has a few at most.
_MOST_REFUNDS: Final = 1_000
#: Remedies that change what our books say of money, at once: other rules may see more then.
_REVEALS: Final = frozenset({Remedy.RECORD, Remedy.RELEASE})
_OF_OPEN_RUNS = frozenset({DiscrepancyKind.RUN_WITHOUT_ORDER, DiscrepancyKind.RUN_AFTER_END})


@dataclass(frozen=True)
class _Examined:
    """What a look found, and what was read for it, if that was the whole order."""

    discrepancies: Sequence[Discrepancy]
    case: AuditCase | None = None


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
    refunds: RefundBook
    refund_runs: RefundRuns
    #: Without it, nothing that is disputed is looked at.
    risks: PaymentRiskAudit | None = None

    @property
    def all(self) -> tuple[Callable[..., Any], ...]:
        return (self.review_page, self.settle_discrepancy, self.examine_order)

    @activity.defn
    async def review_page(self, page: AuditPage) -> PageReview:
        """Compare one page of one scan. Changes nothing."""
        reviews = {
            AuditScan.CHARGES: self._review_charges,
            AuditScan.REFUNDS: self._review_refunds,
            AuditScan.ORDERS: self._review_orders,
            AuditScan.RUNS: self._review_runs,
            AuditScan.UNFINISHED_REFUNDS: self._review_unfinished_refunds,
            AuditScan.FINDINGS: self._review_findings,
        }
        return await reviews.get(page.position.scan, self._review_risks)(page)

    @activity.defn
    async def examine_order(self, order: OrderExamination) -> OrderExamined:
        """Compare all that is known of one order, which has ended: there is no grace for it."""
        case = await self._case(order.order_id, [])
        if case.order is not None and case.order.refunds is None:
            return OrderExamined((), is_moving=True)  # the answer to a refund is not recorded yet
        found = find_discrepancies(case, order.as_of, without_grace(order.terms))
        return OrderExamined(tuple(found))

    @activity.defn
    async def settle_discrepancy(self, settlement: DiscrepancySettlement) -> DiscrepancySettled:
        """Repair one discrepancy, or flag it; neither when it is gone.

        Everything is read again first, so that neither a retry nor a second audit beside this one
        acts on what was true a while ago. A finding is resolved last, whether it was repaired or is
        gone by itself: its order is examined again before, and what shows then is noted.
        """
        wanted, as_of, terms = settlement.discrepancy, settlement.as_of, settlement.terms
        seen = await self._examine(wanted, as_of, terms)
        found = _same(wanted, seen.discrepancies)
        if found is None:
            return DiscrepancySettled("gone", await self._close(wanted, as_of, terms))
        settled = await self._settle(found, seen.case, as_of)
        revealed = settled.revealed
        if found.remedy in _REVEALS:
            revealed += await self._settle_others(found, as_of, as_of, terms)
        if settled.outcome == "repaired":
            # Last: until then, the next audit examines the order because of this finding.
            await self.findings.resolve(found, "repaired", datetime.now(UTC))
        return DiscrepancySettled(settled.outcome, revealed)

    # -- settling ----------------------------------------------------------------------------------

    async def _settle(
        self, found: Discrepancy, case: AuditCase | None, as_of: datetime
    ) -> DiscrepancySettled:
        """Note a discrepancy and carry out its remedy."""
        now = datetime.now(UTC)
        # Recorded before anything is done: a repair leaves a trace whatever becomes of it.
        noted = await self.findings.note(found, now)
        is_repaired, revealed = await self._repair(found, case, as_of)
        if is_repaired:
            log.info("repaired %s of order %s: %s", found.kind, found.order_id, found.detail)
            return DiscrepancySettled("repaired", revealed)
        if noted.seen_before is not None:
            if noted.is_acknowledged and found.kind is DiscrepancyKind.MONEY_MOVED:
                await self.findings.resolve(found, "settled", now)  # it has been answered for
            if noted.seen_before >= as_of:
                return DiscrepancySettled("counted", revealed)
            return DiscrepancySettled(
                "acknowledged" if noted.is_acknowledged else "known", revealed
            )
        log.warning("flagged %s of order %s: %s", found.kind, found.order_id, found.detail)
        return DiscrepancySettled("flagged", revealed)

    async def _close(
        self, gone: Discrepancy, as_of: datetime, terms: AuditTerms
    ) -> tuple[RevealedDiscrepancy, ...]:
        """Resolve the finding of a discrepancy that is gone, once what has come in its place is
        noted: it may be gone because it has got worse.
        """
        if not await self.findings.is_unresolved(gone):
            return ()
        # Without grace: a finding is not settled by its order's moving again. And as of now: an
        # order that moved during this audit would count as within its grace.
        now, no_grace = datetime.now(UTC), without_grace(terms)
        seen = await self._examine(gone, now, no_grace)
        if _same(gone, seen.discrepancies):
            return ()
        if seen.case is not None and not can_tell(gone.kind, seen.case):
            return ()
        revealed = await self._settle_others(gone, as_of, now, no_grace)
        await self.findings.resolve(gone, "settled", now)
        return revealed

    async def _settle_others(
        self, than: Discrepancy, as_of: datetime, now: datetime, terms: AuditTerms
    ) -> tuple[RevealedDiscrepancy, ...]:
        """Examine an order with all rules, whatever its age, and settle all other discrepancies;
        again after each repair. Each is settled once, so this ends.
        """
        done, repaired = [than], list[Discrepancy]()
        revealed: list[RevealedDiscrepancy] = []
        while True:
            case = await self._case(than.order_id, [than.payment_id])
            for one in find_discrepancies(case, now, terms):
                if _same(one, done):
                    continue
                done.append(one)
                settled = await self._settle(one, case, as_of)
                revealed += [RevealedDiscrepancy(one.kind, settled.outcome), *settled.revealed]
                if settled.outcome == "repaired":
                    repaired.append(one)
                if one.remedy in _REVEALS:
                    break
            else:
                break
        for one in repaired:
            await self.findings.resolve(one, "repaired", datetime.now(UTC))
        return tuple(revealed)

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
        after = at.as_of - max(terms.window, terms.refund_window)
        before = at.as_of - terms.grace
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

    async def _review_unfinished_refunds(self, page: AuditPage) -> PageReview:
        """Review refunds that are not done, of whatever age: each must have an open run."""
        at, terms = page.position, page.terms
        after = refund_of(at.cursor) if at.cursor else None
        quiet_since = at.as_of - terms.grace
        listed = await self.refunds.unfinished(
            quiet_since, terms.page_size, after=after or ("", "")
        )
        found: list[Discrepancy] = []
        for order_id in dict.fromkeys(one.order_id for one in listed):
            found += await self._examine_refunds(order_id, at.as_of, terms)
        last = listed[-1] if len(listed) == terms.page_size else None
        cursor = refund_workflow_id(last.order_id, last.refund_id) if last else None
        return PageReview(len(listed), tuple(found), cursor)

    async def _review_findings(self, page: AuditPage) -> PageReview:
        """Review the findings of earlier audits: settling one also tells whether it still holds."""
        at, terms = page.position, page.terms
        listed = await self.findings.unresolved(at.cursor, terms.page_size)
        # An audit that has seen one has settled it.
        found = [one.discrepancy for one in listed.items if one.last_seen < at.as_of]
        return PageReview(len(listed.items), tuple(found), listed.cursor)

    # -- one order ---------------------------------------------------------------------------------

    async def _examine(self, about: Discrepancy, now: datetime, terms: AuditTerms) -> _Examined:
        """Examine what a discrepancy is about, by the rules of its kind."""
        order_id = about.order_id
        if about.kind is DiscrepancyKind.MONEY_MOVED:
            return _Examined((about,))  # nothing undoes it: it holds until it is acknowledged
        if about.kind in OF_RISKS:
            return _Examined(await self._examine_risks(order_id))
        if about.kind in _OF_OPEN_RUNS:  # its page has seen that the run is old enough
            return _Examined(await self._examine_run(order_id, now, now, without_grace(terms)))
        if about.kind is DiscrepancyKind.REFUND_STRANDED:
            return _Examined(await self._examine_refunds(order_id, now, terms))
        case = await self._case(order_id, [about.payment_id])
        return _Examined(find_discrepancies(case, now, terms), case)

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

    async def _examine_refunds(
        self, order_id: str, now: datetime, terms: AuditTerms
    ) -> list[Discrepancy]:
        """Examine an order's refunds that are not done. Those without an open run are read again:
        once a run has ended, what is read afterwards is final.
        """
        unfinished = await self._unfinished_refunds(order_id, now)
        runs = {
            one.refund_id: await self.refund_runs.look(order_id, one.refund_id)
            for one in unfinished
        }
        if all(run.state is RunState.OPEN for run in runs.values()):
            return []
        still = await self._unfinished_refunds(order_id, now)
        known = [(one, runs[one.refund_id]) for one in still if one.refund_id in runs]
        return find_stranded_refunds(order_id, known, now, terms)

    async def _unfinished_refunds(
        self, order_id: str, now: datetime
    ) -> tuple[UnfinishedRefund, ...]:
        return await self.refunds.unfinished(now, _MOST_REFUNDS, order_id=order_id)

    async def _start_refunds(self, order_id: str) -> bool:
        """Start the runs of an order's refunds that are not done, unless they are open; whether all
        of them are.
        """
        unfinished = await self._unfinished_refunds(order_id, datetime.now(UTC))
        started = [await self.refund_runs.start(order_id, one.refund_id) for one in unfinished]
        return all(started)

    async def _review_risks(self, page: AuditPage) -> PageReview:
        return PageReview(0, ()) if self.risks is None else await self.risks.review(page)

    async def _examine_risks(self, order_id: str) -> list[Discrepancy]:
        return [] if self.risks is None else await self.risks.examine(order_id)

    async def _case(self, order_id: str, payment_ids: Iterable[str]) -> AuditCase:
        """Read all that is known of an order, its run first: the sequence matters.

        Once a run has ended it stays so, and what is read afterwards is final.
        """
        run = await self.runs.look(order_id)
        order = (await self.book.standing([order_id])).get(order_id)
        if run.state is RunState.OPEN and (order is None or not has_refunds(order)):
            return AuditCase(order_id, None, (), run)
        entries = order.entries if order else ()
        wanted = dict.fromkeys([*(entry.payment_id for entry in entries), *payment_ids])
        ours = await self._marks()
        found = [await self.charges.find(ours, payment_id) for payment_id in wanted if payment_id]
        charges = tuple(one for one in found if one is not None and one.order_id == order_id)
        return AuditCase(order_id, order, charges, run)

    async def _marks(self) -> Marks:
        """The names of this installation as they are now: it may have been renamed meanwhile."""
        return (await self.installations.get()).names

    async def _repair(
        self, found: Discrepancy, case: AuditCase | None, as_of: datetime
    ) -> tuple[bool, tuple[RevealedDiscrepancy, ...]]:
        """Carry out the remedy; False when an operator has to look. And what was noted by it."""
        is_repaired, revealed = False, tuple[RevealedDiscrepancy, ...]()
        charges = case.charges if case else ()
        listed = next((one for one in charges if one.charge.payment_id == found.payment_id), None)
        match found.remedy:
            case Remedy.START if found.kind is DiscrepancyKind.REFUND_STRANDED:
                is_repaired = await self._start_refunds(found.order_id)
            case Remedy.START:
                is_repaired = await self.runs.start(found.order_id)
            case Remedy.FOLLOW if self.risks is not None:
                await self.risks.runs.follow(found.order_id)
                is_repaired = True
            case Remedy.RECORD if case is not None and listed is not None:
                is_repaired, revealed = await self._record(case, listed, as_of)
            case Remedy.RELEASE if case is not None and listed is not None:
                # Cancelling takes no key, and what was captured meanwhile stays captured.
                charge = await self.cards.cancel(found.payment_id)
                now_listed = dataclasses.replace(listed, charge=charge)
                _, revealed = await self._record(case, now_listed, as_of)
                is_repaired = charge.state is ChargeState.CANCELLED
            case _:
                pass
        return is_repaired, revealed

    async def _record(
        self, case: AuditCase, listed: ListedCharge, as_of: datetime
    ) -> tuple[bool, tuple[RevealedDiscrepancy, ...]]:
        """Update our entry to what the provider says; False without one, or when it is refused.

        Money that moved after the order's end is noted first: afterwards, nothing differs.
        """
        entries = case.order.entries if case.order else ()
        payment_id = listed.charge.payment_id
        entry = next((one for one in entries if one.payment_id == payment_id), None)
        if entry is None or case.order is None:
            return False, ()
        revealed: tuple[RevealedDiscrepancy, ...] = ()
        if (moved := find_moved_money(case.order, listed)) is not None:
            settled = await self._settle(moved, None, as_of)
            revealed = (RevealedDiscrepancy(moved.kind, settled.outcome),)
        try:
            await self.ledger.record(entry.charge, listed.charge)
            for refund in listed.refunds:
                if refund.given:
                    await self.ledger.record_refund(case.order_id, payment_id, refund.refund)
        except RefusedError as error:
            # A second live charge, say: a constraint of the database refuses it.
            log.warning("our books refuse what the provider says of %s: %s", payment_id, error)
            return False, revealed
        return True, revealed


def _same(wanted: Discrepancy, among: Iterable[Discrepancy]) -> Discrepancy | None:
    return next((one for one in among if one.same_as(wanted)), None)
