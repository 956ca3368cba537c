"""After a run: every order, the books, the audit and the logs; each violation is a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from chaos.customers import Customer
from chaos.environment import ChaosEnvironment
from demo.environment import DemoEnvironment
from demo.invariants import InvariantResult, OrderEvidence, check_invariants
from durable_orders.clients.audits import AuditClient
from durable_orders.domain.audit.messages import Finding
from durable_orders.domain.audit.model import AuditTerms, DiscrepancyKind, without_grace
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.consistency_check import find_inconsistencies
from sandbox.books_client import OrderBooks

#: Orders whose evidence is collected at a time.
_AT_A_TIME: Final = 16
#: Seconds for the audit.
_AUDITED_WITHIN: Final = 900.0
_MOST_FINDINGS: Final = 1_000
#: An end in words, for a completed order.
_COMPLETED: Final = "completed"


async def check(
    environment: ChaosEnvironment, customers: Mapping[str, Customer], unfinished: Sequence[str]
) -> list[InvariantResult]:
    """Check everything. ``unfinished`` are sentences about what had not ended in time."""
    demo = environment.demo
    booked = await demo.books.all()
    started = [one for one in customers.values() if one.is_checked_out]
    evidence = await _evidence(demo, [one.order_id for one in started], booked)
    results = [
        InvariantResult("Every order accepted is there, and has ended in time", tuple(unfinished)),
        *check_invariants(
            evidence.values(), await demo.stock(), await find_inconsistencies(demo.database)
        ),
        InvariantResult("No mail came before its time", tuple(_early_mails(started, evidence))),
        InvariantResult(
            "Every order ended as its customer was told", tuple(_wrong_ends(started, evidence))
        ),
        InvariantResult(
            "The neighbours know no order that the shop does not know",
            tuple(f"order {key!r} is not ours" for key in sorted(booked.keys() - set(customers))),
        ),
        InvariantResult(
            "Every request was answered, and as documented",
            (
                *environment.shop.surprises,
                *(c for one in customers.values() for c in one.complaints),
            ),
        ),
        InvariantResult("The audit finds nothing", tuple(await _audit(demo, evidence))),
    ]
    unstarted = [one.order_id for one in customers.values() if _is_unstarted(one)]
    untold = await _evidence(demo, unstarted, await demo.books.all())
    results.append(
        InvariantResult(
            "An order that was never checked out took nothing", tuple(_untouched(untold.values()))
        )
    )
    complaints = [c for slot in environment.slots.values() for c in slot.complaints()]
    results.append(InvariantResult("No log has a traceback", tuple(complaints)))
    return results


def _complaints(customers: Iterable[Customer]) -> Iterator[str]:
    for customer in customers:
        yield from customer.complaints


def _is_unstarted(customer: Customer) -> bool:
    return customer.is_placed and not customer.is_checked_out


async def _evidence(
    demo: DemoEnvironment, order_ids: Iterable[str], booked: Mapping[str, OrderBooks]
) -> dict[str, OrderEvidence]:
    """What is known of each order, from everybody."""
    few = asyncio.Semaphore(_AT_A_TIME)

    async def of(order_id: str) -> OrderEvidence:
        async with few:
            nothing = OrderBooks(order_id, 0, 0, (), (), (), ())
            return await demo.evidence(order_id, booked.get(order_id, nothing))

    ids = list(order_ids)
    return dict(zip(ids, await asyncio.gather(*map(of, ids)), strict=True))


def _early_mails(
    started: Iterable[Customer], evidence: Mapping[str, OrderEvidence]
) -> Iterator[str]:
    """Mails that were sent before what they say was true: before our books have an order as
    fulfilled, or ended; before its parcel had left the warehouse.
    """
    for customer in started:
        one = evidence[customer.order_id]
        first = {line.event: line.at for line in reversed(one.view.history)}
        for mail in one.books.mails:
            key = mail.key or ""
            if key.endswith(":confirmation"):
                true_since = first.get("order_fulfilled")
            elif key.endswith(":closing"):
                true_since = first.get(f"order_{one.view.order.status}")
            elif ":shipped-" in key:
                true_since = customer.dispatched.get(key.rpartition(":shipped-")[2])
            else:
                continue
            if mail.at is not None and (true_since is None or mail.at < true_since):
                early = f" by {true_since - mail.at}" if true_since else ", which never came"
                yield f"order {customer.order_id}: its mail {key} came before its time{early}"


def _wrong_ends(
    started: Iterable[Customer], evidence: Mapping[str, OrderEvidence]
) -> Iterator[str]:
    """Orders whose end does not fit what their customers did and were told."""
    for customer in started:
        order = evidence[customer.order_id].view.order
        if not order.status.is_final:
            continue  # told elsewhere
        about = f"order {order.id} ({customer.order.kind})"
        told = customer.told_status
        if told is not None and told is not order.status:
            yield f"{about}: its customer was told {told}, and it is {order.status}"
        end = None if order.status is Status.COMPLETED else StopReason(order.reason or "")
        if end not in customer.ends:
            right = ", ".join(sorted(str(each or _COMPLETED) for each in customer.ends))
            yield f"{about}: it ended as {end or _COMPLETED}, not as one of {right}"


def _untouched(evidence: Iterable[OrderEvidence]) -> Iterator[str]:
    for one in evidence:
        if one.view.order.status is not Status.CANCELLED:
            yield f"order {one.view.order.id}: it is {one.view.order.status}, not cancelled"
        if one.books.payments or one.books.fulfillments:
            yield f"order {one.view.order.id}: it was paid or packed, and never checked out"


async def _audit(demo: DemoEnvironment, evidence: Mapping[str, OrderEvidence]) -> list[str]:
    """Run an audit without grace; what it has found that it should not, a sentence each."""
    audits = AuditClient(demo.temporal)
    terms = without_grace(AuditTerms(window=timedelta(hours=2)))
    async with asyncio.timeout(_AUDITED_WITHIN):
        report = await audits.run_now(terms)
    repository = PostgresFindingRepository(demo.database)
    listed = await repository.listed(everything=True, limit=_MOST_FINDINGS)
    found = [
        f"order {one.order_id}: {one.kind}: {one.detail}"
        for one in listed
        if not _is_expected(one, evidence.get(one.order_id))
    ]
    return found if listed or not report.found else [f"the audit says: {report}"]


def _is_expected(finding: Finding, order: OrderEvidence | None) -> bool:
    """Whether the audit is there for this, and has mended it.

    A customer who cancels before checking out is told by it. A PaymentIntent whose creation got no
    answer before the order was undone is known to nobody: it cannot be paid, and the audit cancels
    it.
    """
    if finding.kind is DiscrepancyKind.CANCELLED_UNTOLD:
        return True
    return (
        finding.kind is DiscrepancyKind.LIVE_CHARGE
        and finding.resolved_at is not None
        and order is not None
        and order.view.order.status is not Status.COMPLETED
        and not order.view.payments
    )
