"""Rules of the audit: the discrepancies of an order whose run is closed or missing.

Three systems record an order: the card provider, our database and Temporal.
``find_discrepancies`` compares them.
An order with an open run is skipped, and so is one that changed within the grace period: its run is
about to correct what looks wrong.

What is safe is repaired (``Remedy``), all else is flagged to an operator. Safe means: repeating it
does no harm, and nobody loses money or goods by it. It is therefore never decided here that money
is refunded: at most the run of a refund that was requested is started again. A run refunds all that
it took before it ends; money found afterwards was moved by something unknown (a refund in the
dashboard, one that the bank returned), and guessing could pay twice.

A repair removes the difference by which others would have noticed. So money that moved after its
order had ended is a finding of its own (``find_moved_money``) until an operator acknowledges it.

A refund is no part of its order's run: those of an order that has shipped are looked at although
its run is open, those of one that was undone as soon as its run has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from durable_orders.domain.audit.model import (
    ENDED_BY_A_RUN,
    AuditCase,
    AuditTerms,
    BookedOrder,
    Discrepancy,
    DiscrepancyKind,
    LedgerEntry,
    ListedCharge,
    Remedy,
    RunState,
    RunStatus,
)
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.disputes.merging import merge_risks
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money, total
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.refunds.refund import REFUNDABLE, RefundState, UnfinishedRefund

#: States in which a charge can take no more money.
_FINAL: Final = frozenset({ChargeState.CAPTURED, ChargeState.CANCELLED})


def find_discrepancies(case: AuditCase, now: datetime, terms: AuditTerms) -> list[Discrepancy]:
    """Find the discrepancies of an order, in the order of repair; while its run is open, those of
    refunds alone.

    ``case.charges`` may be a part of its charges: for the others, our own record counts.
    """
    quiet_since = now - terms.grace
    charges = tuple(listed for listed in case.charges if listed.created_at <= quiet_since)
    order = case.order
    if case.run.state is RunState.OPEN:
        has_shipped = order is not None and has_refunds(order)
        return _of_refunds(order, charges, now, terms) if order and has_shipped else []
    if _later_than(quiet_since, case.run.closed_at):
        return []
    if order is None:
        return [found for listed in charges for found in _without_order(listed, now, terms)]
    if order.changed_at > quiet_since:
        return []
    if order.status is Status.PLACED and case.run.state is RunState.NONE:
        return [_never_started(order, now, terms)]
    found = [
        one
        for listed in charges
        if (entry := _entry_of(order, listed)) is not None
        for one in _entry_differs(entry, listed, quiet_since)
    ]
    found += _of_refunds(order, charges, now, terms)
    if order.status.is_final:
        found += _after_the_end(order, charges)
    else:
        found += _unbooked(order, charges)
        found.append(_stranded(order, charges, case.run))
    return found


def may_have_discrepancies(case: AuditCase, now: datetime, terms: AuditTerms) -> bool:
    """Whether an order would have discrepancies, whatever its run is doing: only then is the rest
    fetched.
    """
    if case.order is not None and case.order.status.is_final:
        # A charge that is live in our database may be too old for the provider's list.
        listed = {one.charge.payment_id for one in case.charges}
        unlisted = (e.booked.state for e in case.order.entries if e.payment_id not in listed)
        if any(state not in _FINAL for state in unlisted) or case.order.unsettled:
            return True
    runs = (replace(case, run=RunStatus(state)) for state in RunState)
    return any(find_discrepancies(looked_at, now, terms) for looked_at in runs)


def has_refunds(order: BookedOrder) -> bool:
    """Whether something of an order that has shipped was given back, or is to be."""
    if order.status not in REFUNDABLE:
        return False
    return bool(order.unsettled) or any(entry.booked.refunded for entry in order.entries)


def find_moved_money(order: BookedOrder, listed: ListedCharge) -> Discrepancy | None:
    """Find the money of an order that has ended which the provider knows of and our books do not:
    to be noted before it is recorded.
    """
    entry, charge = _entry_of(order, listed), listed.charge
    if entry is None or not order.status.is_final:
        return None
    booked = entry.booked
    merged = booked.merge(charge, fresh=True)
    if (merged.captured, merged.refunded) == (booked.captured, booked.refunded):
        return None
    detail = (
        f"{order.status}: our books said {_described(booked)}, "
        f"the provider said {_described(charge)}, which is recorded now"
    )
    return _about(DiscrepancyKind.MONEY_MOVED, listed, detail)


def can_tell(kind: DiscrepancyKind, case: AuditCase) -> bool:
    """Whether a look at the order can tell that a finding of this kind is over.

    While a run is open, only few rules are applied; while a refund is being issued, only the
    provider knows what was given back.
    """
    if case.run.state is not RunState.OPEN:
        return case.order is None or case.order.refunds is not None
    if kind in {DiscrepancyKind.REFUND_FAILED, DiscrepancyKind.REFUND_OVERDUE}:
        return case.order is not None
    return kind in ENDED_BY_A_RUN


def find_open_run_discrepancies(
    order_id: str, order: BookedOrder | None, started_at: datetime, now: datetime, terms: AuditTerms
) -> list[Discrepancy]:
    """Find what is wrong with an open run; it is only ever flagged."""
    if started_at > now - terms.grace:
        return []
    if order is None:
        detail = "a run carries this order, and our books do not have it"
        return [Discrepancy(DiscrepancyKind.RUN_WITHOUT_ORDER, order_id, detail)]
    if order.status.is_final and order.changed_at < now - terms.run_outlives_order:
        detail = f"{order.status} since {order.changed_at:%Y-%m-%d %H:%M} UTC, its run is open"
        return [Discrepancy(DiscrepancyKind.RUN_AFTER_END, order_id, detail)]
    return []


def find_stranded_refunds(
    order_id: str,
    unfinished: Iterable[tuple[UnfinishedRefund, RunStatus]],
    now: datetime,
    terms: AuditTerms,
) -> list[Discrepancy]:
    """Find the order's refunds that are not done and that no run carries on: one discrepancy for
    all of them.
    """
    quiet_since = now - terms.grace
    stranded = [
        f"{refund}: its run is {run.word}" if run.word else f"{refund}: it has no run"
        for refund, run in unfinished
        if run.state is not RunState.OPEN
        and refund.since <= quiet_since
        and not _later_than(quiet_since, run.closed_at)
    ]
    if not stranded:
        return []
    detail = "; ".join(stranded)
    return [Discrepancy(DiscrepancyKind.REFUND_STRANDED, order_id, detail, Remedy.START)]


def find_risk_discrepancies(
    order_id: str, known: PaymentRisks, report: PaymentRisks, *, followed: bool
) -> list[Discrepancy]:
    """Find what our books lack of the disputes, warnings and reviews of a payment, and what is open
    without a run that follows it. Both are repaired by that run.
    """
    fresh = replace(report, revision=known.revision or 0)
    if changed := merge_risks(known, fresh).ids:
        detail = f"our books are behind with {', '.join(sorted(changed))}"
        kind = DiscrepancyKind.RISK_BEHIND
        return [Discrepancy(kind, order_id, detail, Remedy.FOLLOW, known.payment_id)]
    if known.concerns and not followed:
        detail = f"{', '.join(one.detail for one in known.concerns)}: no run follows it"
        kind = DiscrepancyKind.RISK_UNFOLLOWED
        return [Discrepancy(kind, order_id, detail, Remedy.FOLLOW, known.payment_id)]
    return []


# -- one rule each ---------------------------------------------------------------------------------


def _without_order(listed: ListedCharge, now: datetime, terms: AuditTerms) -> list[Discrepancy]:
    charge = listed.charge
    kept = charge.captured - charge.refunded
    if kept:
        detail = f"{kept} was taken, and our books have no such order"
        return [_about(DiscrepancyKind.PAID_WITHOUT_ORDER, listed, detail)]
    if charge.state in _FINAL:
        return []
    is_old = listed.created_at <= now - terms.unknown_grace
    detail = f"a charge over {charge.amount} is {charge.state}, and our books have no such order"
    remedy = _release(charge.state) if is_old else Remedy.FLAG
    return [_about(DiscrepancyKind.LIVE_CHARGE, listed, detail, remedy)]


def _never_started(order: BookedOrder, now: datetime, terms: AuditTerms) -> Discrepancy:
    detail = f"placed {order.placed_at:%Y-%m-%d %H:%M} UTC and never started"
    in_time = order.placed_at >= now - terms.start_within
    remedy = Remedy.START if in_time else Remedy.FLAG
    return Discrepancy(DiscrepancyKind.NEVER_STARTED, order.order_id, detail, remedy)


def _untold(order: BookedOrder) -> Discrepancy:
    """Its run only tells the customer, however late."""
    detail = (
        f"cancelled {order.changed_at:%Y-%m-%d %H:%M} UTC before it was started: no mail said so"
    )
    return Discrepancy(DiscrepancyKind.CANCELLED_UNTOLD, order.order_id, detail, Remedy.START)


def _entry_differs(
    entry: LedgerEntry, listed: ListedCharge, quiet_since: datetime
) -> list[Discrepancy]:
    """Compare our entry with the provider's charge. Recent refunds may be on one side only."""
    charge, booked = listed.charge, entry.booked
    found: list[Discrepancy] = []
    lately = total(
        (refund.given for refund in listed.refunds if refund.created_at > quiet_since),
        charge.amount.currency,
    )
    # Fresh: no run is open that could have recorded anything since our entry was read.
    merged = booked.merge(replace(charge, refunded=charge.refunded - lately), fresh=True)
    if (merged.state, merged.captured, merged.refunded) != (
        booked.state,
        booked.captured,
        booked.refunded,
    ):
        detail = f"our books say {_described(booked)}, the provider says {_described(charge)}"
        found.append(_about(DiscrepancyKind.BOOKS_BEHIND, listed, detail, Remedy.RECORD))
    if charge.captured < booked.captured:
        detail = f"our books say {booked.captured} was taken, the provider says {charge.captured}"
        found.append(_about(DiscrepancyKind.BOOKS_AHEAD, listed, detail))
    return found


def _of_refunds(
    order: BookedOrder, charges: Iterable[ListedCharge], now: datetime, terms: AuditTerms
) -> list[Discrepancy]:
    """Refunds that did not arrive, as the provider says or our own record, and those that have been
    on their way for too long.
    """
    failed: defaultdict[str, list[str]] = defaultdict(list)
    late: defaultdict[str, list[str]] = defaultdict(list)
    for listed in charges:
        entry = _entry_of(order, listed)
        if entry is not None and listed.charge.refunded < entry.booked.refunded:
            back = entry.booked.refunded - listed.charge.refunded
            sentence = f"{back} of {order.order_id} did not arrive: the bank sent the refund back"
            failed[listed.charge.payment_id].append(f"{sentence} to us")
    for refund in order.unsettled:
        about, age = f"refund {refund.refund_id} of {refund.amount}", now - refund.since
        since = f"{refund.since:%Y-%m-%d %H:%M} UTC"
        match refund.state:
            case RefundState.FAILED if age >= terms.grace:
                why = f" ({refund.why})" if refund.why else ""
                sentence = f"{about} failed at the bank{why} and is owed since {since}"
                failed[refund.payment_id].append(sentence)
            case RefundState.PENDING if age >= terms.refund_overdue:
                late[refund.payment_id].append(f"{about} has been pending since {since}")
            case RefundState.ISSUING if age >= terms.refund_unanswered:
                late[refund.payment_id].append(f"{about} has had no answer since {since}")
    kinds = ((DiscrepancyKind.REFUND_FAILED, failed), (DiscrepancyKind.REFUND_OVERDUE, late))
    return [
        Discrepancy(kind, order.order_id, "; ".join(sentences), payment_id=payment_id)
        for kind, by_payment in kinds
        for payment_id, sentences in by_payment.items()
    ]


def _unbooked(order: BookedOrder, charges: Iterable[ListedCharge]) -> list[Discrepancy]:
    """Money at the provider for this order that our books know nothing of."""
    return [
        _about(
            DiscrepancyKind.UNBOOKED_CHARGE,
            listed,
            f"{listed.charge.captured or listed.charge.amount} "
            f"{'was taken' if listed.charge.captured else 'is held'}, and our books do not have "
            "this charge",
        )
        for listed in charges
        if _entry_of(order, listed) is None
        and (listed.charge.captured or listed.charge.state is ChargeState.HELD)
    ]


def _stranded(order: BookedOrder, charges: Iterable[ListedCharge], run: RunStatus) -> Discrepancy:
    # By what our books know: another look at the order may not find what they do not have.
    known = _believed(order, (one for one in charges if _entry_of(order, one) is not None))
    kept = total((one.captured - one.refunded for one in known), order.total.currency)
    kept -= order.withdrawn or kept * 0
    held = any(one.state is ChargeState.HELD for one in known)
    why = f"its run is {run.word or run.state}" if run.state is not RunState.NONE else "no run"
    detail = f"{order.status} and nothing carries it on ({why})"
    if kept or held:
        money = f"{kept} is taken" if kept else f"{order.total} is held"
        return Discrepancy(
            DiscrepancyKind.STRANDED_WITH_MONEY, order.order_id, f"{detail}: {money}"
        )
    return Discrepancy(
        DiscrepancyKind.STRANDED, order.order_id, f"{detail}: nothing is taken, by our books"
    )


def _after_the_end(order: BookedOrder, charges: Iterable[ListedCharge]) -> list[Discrepancy]:
    charges = tuple(charges)
    found = [_untold(order)] if order.is_untold else []
    known = _believed(order, charges)
    captured = total((one.captured for one in known), order.total.currency)
    kept = captured - total((one.refunded for one in known), order.total.currency)
    kept -= order.withdrawn or kept * 0
    is_completed = order.status is Status.COMPLETED
    for listed in charges:
        charge = listed.charge
        is_booked = _entry_of(order, listed) is not None
        if charge.captured and not is_booked:
            detail = f"{charge.captured} was taken, and our books do not have this charge"
            found.append(_about(DiscrepancyKind.UNBOOKED_CHARGE, listed, detail))
        if charge.state not in _FINAL:
            # For a completed order this charge may be the one that pays for the goods.
            may_pay = is_completed and captured < order.total
            remedy = Remedy.FLAG if may_pay else _release(charge.state)
            detail = f"{order.status}, and a charge over {charge.amount} is {charge.state}"
            found.append(_about(DiscrepancyKind.LIVE_CHARGE, listed, detail, remedy))
    if is_completed and not captured:
        detail = f"completed, and none of {order.total} was taken"
        found.append(Discrepancy(DiscrepancyKind.SHIPPED_UNPAID, order.order_id, detail))
    if is_completed and captured:
        found += _paid_in_part(order, captured)
        found += _refunds_differ(order)
    if not is_completed:
        found += _money_kept(order, captured, kept)
    return found


def _paid_in_part(order: BookedOrder, captured: Money) -> list[Discrepancy]:
    """A charge takes the whole total: only somebody else captures a part of it."""
    if captured == order.total:
        return []
    detail = f"completed, and {captured} of {order.total} was taken"
    return [Discrepancy(DiscrepancyKind.PAID_IN_PART, order.order_id, detail)]


def _refunds_differ(order: BookedOrder) -> list[Discrepancy]:
    """A completed order keeps all its money but the sum of its refunds; both by our own record."""
    back = total((entry.booked.refunded for entry in order.entries), order.total.currency)
    if order.refunds is None or order.refunds == back:
        return []
    detail = f"completed, and {back} was given back, but its refunds come to {order.refunds}"
    return [Discrepancy(DiscrepancyKind.REFUNDS_DIFFER, order.order_id, detail)]


def _money_kept(order: BookedOrder, captured: Money, kept: Money) -> list[Discrepancy]:
    """All that was taken for an order that ended early is given back: by the provider, by hand, or
    by a bank after a dispute.

    What a refund of it has not brought about is in a finding of its own.
    """
    hand = order.by_hand
    if hand is None and kept.amount < 0:
        detail = f"{order.status}, and {kept * -1} more than was taken was refunded or disputed"
        return [Discrepancy(DiscrepancyKind.GIVEN_BACK_TOO_MUCH, order.order_id, detail)]
    if hand is None:
        by_person = order.settled_undo or Money(0, kept.currency)
        if not by_person <= kept:
            detail = (
                f"{order.status}: at the provider {captured} was taken and {captured - kept} given "
                f"back; {by_person} was given back another way, in place of its refund"
            )
            return [Discrepancy(DiscrepancyKind.GIVEN_BACK_TOO_MUCH, order.order_id, detail)]
        failed = (one.amount for one in order.unsettled if one.state is RefundState.FAILED)
        kept -= total(failed, kept.currency) + by_person
        if kept.amount <= 0:
            return []
        detail = f"{order.status}, and {kept} was not given back"
    else:
        detail = (
            f"{order.status}: at the provider {captured} was taken and {captured - kept} given "
            f"back; {hand.amount} was given back by hand, as {hand.by} says"
        )
    if hand is not None and not hand.amount <= kept:
        return [Discrepancy(DiscrepancyKind.GIVEN_BACK_TOO_MUCH, order.order_id, detail)]
    return [Discrepancy(DiscrepancyKind.MONEY_KEPT, order.order_id, detail)] if kept else []


# -- parts of the rules ----------------------------------------------------------------------------


def _about(
    kind: DiscrepancyKind, listed: ListedCharge, detail: str, remedy: Remedy = Remedy.FLAG
) -> Discrepancy:
    return Discrepancy(kind, listed.order_id, detail, remedy, listed.charge.payment_id)


def _release(state: ChargeState) -> Remedy:
    """A charge that the bank has not decided on cannot be cancelled: the next audit looks again."""
    return Remedy.FLAG if state is ChargeState.PROCESSING else Remedy.RELEASE


def _entry_of(order: BookedOrder, listed: ListedCharge) -> LedgerEntry | None:
    by_id = (e for e in order.entries if e.payment_id == listed.charge.payment_id)
    return next(by_id, None)


def _believed(
    order: BookedOrder, charges: Iterable[ListedCharge]
) -> list[CardCharge | BookedCharge]:
    """Each charge once: the provider's record where we have it, else our own."""
    listed_by_id = {listed.charge.payment_id: listed.charge for listed in charges}
    ours = [entry.booked for entry in order.entries if entry.payment_id not in listed_by_id]
    return [*listed_by_id.values(), *ours]


def _described(one: CardCharge | BookedCharge) -> str:
    back = f", {one.refunded} given back" if one.refunded else ""
    return f"{one.state} with {one.captured} taken{back}"


def _later_than(moment: datetime, other: datetime | None) -> bool:
    return other is not None and other > moment
