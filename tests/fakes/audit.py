"""In-memory fakes of the audit's ports, over the data of the other fakes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from durable_orders.domain.audit.messages import (
    Acknowledgement,
    Finding,
    PriorFinding,
    Resolution,
    findings_to_acknowledge,
    noted_detail,
)
from durable_orders.domain.audit.model import (
    BookedOrder,
    BookedRefund,
    Discrepancy,
    DiscrepancyKind,
    LedgerEntry,
    ListedCharge,
    ListedRefund,
    RecordedManualRefund,
)
from durable_orders.domain.audit.ports import CursorPage, Marks
from durable_orders.domain.charges import MAY_TAKE_MONEY
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.money import Money, total
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    TAKEN_BY_DISPUTE,
    UNSETTLED,
    RefundState,
)
from tests.fakes.cards import InMemoryCards
from tests.fakes.database import InMemoryDatabase, _Payment, charge_entry
from tests.fakes.script import Scripted

T = TypeVar("T")


class InMemoryChargeList(Scripted):
    """``ChargeList`` over ``InMemoryCards``.

    ``created`` maps ids of charges and refunds to creation times; the default is an hour ago.
    """

    def __init__(self, cards: InMemoryCards) -> None:
        super().__init__()
        self._cards = cards
        self.created: dict[str, datetime] = {}
        self._opened = datetime.now(UTC) - timedelta(hours=1)

    async def charges(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedCharge]:
        return await self._play(
            "charges", lambda: self._charges(ours, after, before, cursor, limit)
        )

    async def refunds(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedRefund]:
        return await self._play(
            "refunds", lambda: self._refunds(ours, after, before, cursor, limit)
        )

    async def find(self, ours: Marks, payment_id: str) -> ListedCharge | None:
        return await self._play("find", lambda: self._find(ours, payment_id))

    def _charges(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedCharge]:
        newest_first = reversed(self._cards.charges)
        found = [one for id_ in newest_first if (one := self._find(ours, id_)) is not None]
        wanted = [replace(one, refunds=()) for one in found if after <= one.created_at <= before]
        return _page(wanted, [one.charge.payment_id for one in wanted], cursor, limit)

    def _refunds(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedRefund]:
        known = [id_ for id_ in self._cards.charges if self._is_ours(ours, id_)]
        refunds = [one for id_ in known for one in self._refunds_of(id_)]
        wanted = [one for one in refunds if after <= one.created_at <= before][::-1]
        return _page(wanted, [one.refund.refund_id for one in wanted], cursor, limit)

    def _is_ours(self, ours: Marks, payment_id: str) -> bool:
        return self._cards.announced[payment_id].installation in ours

    def _find(self, ours: Marks, payment_id: str) -> ListedCharge | None:
        charge = self._cards.charges.get(payment_id)
        if charge is None or not self._is_ours(ours, payment_id):
            return None
        announced = self._cards.announced[payment_id]
        return ListedCharge(
            announced.order_id,
            self.created.get(payment_id, self._opened),
            charge,
            tuple(self._refunds_of(payment_id)),
        )

    def _refunds_of(self, payment_id: str) -> list[ListedRefund]:
        booked = [one for one in self._cards.refunds.values() if one.payment_id == payment_id]
        return [
            ListedRefund(
                payment_id, self.created.get(one.refund.refund_id, self._opened), one.refund
            )
            for one in booked
        ]


class InMemoryAuditRepository(Scripted):
    """``AuditBook`` over ``InMemoryDatabase``."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def page(
        self, changed_since: datetime, cursor: str | None, limit: int
    ) -> CursorPage[BookedOrder]:
        return await self._play("page", lambda: self._page(changed_since, cursor, limit))

    async def standing(self, order_ids: Iterable[str]) -> Mapping[str, BookedOrder]:
        wanted = [id_ for id_ in order_ids if id_ in self._own()]
        return await self._play("standing", lambda: {id_: self._standing(id_) for id_ in wanted})

    async def known_refunds(self, refund_ids: Iterable[str]) -> frozenset[str]:
        rows = self._database.rows.values()
        known = {id_ for row in rows if row.payment for id_ in row.payment.refunds}
        return await self._play("known_refunds", lambda: frozenset(refund_ids) & known)

    def _page(self, since: datetime, cursor: str | None, limit: int) -> CursorPage[BookedOrder]:
        standings = [self._standing(id_) for id_ in sorted(self._own())]
        wanted = [
            one
            for one in standings
            if not one.status.is_final
            or one.changed_at >= since
            or one.unsettled
            or any(entry.booked.state in MAY_TAKE_MONEY for entry in one.entries)
            or self._money_changed(one.order_id, since)
        ]
        return _page(wanted, [one.order_id for one in wanted], cursor, limit)

    def _money_changed(self, order_id: str, since: datetime) -> bool:
        about = ("refund_", "dispute_")
        history = self._database.row(order_id).history
        return any(line.at >= since and line.event.startswith(about) for line in history)

    def _own(self) -> list[str]:
        ours = self._database.installation.names
        return [id_ for id_, row in self._database.rows.items() if row.order.key_prefix in ours]

    def _standing(self, order_id: str) -> BookedOrder:
        row = self._database.row(order_id)
        moves = {f"order_{row.order.status}", "order_placed"}
        return BookedOrder(
            order_id,
            row.order.status,
            row.order.total,
            placed_at=row.placed_at,
            changed_at=max(line.at for line in row.history if line.event in moves),
            entries=tuple(
                LedgerEntry(charge_entry(row), payment.booked)
                for payment in (row.payment,)
                if payment
            ),
            refunds=self._refunds(order_id),
            by_hand=RecordedManualRefund(row.by_hand.amount, row.by_hand.by)
            if row.by_hand
            else None,
            unsettled=self._unsettled(order_id),
            settled_undo=self._settled_undo(order_id),
            is_untold=row.cancelled_unstarted,
            withdrawn=_withdrawn(row.risks, row.payment, row.order.total.currency),
        )

    def _unsettled(self, order_id: str) -> tuple[BookedRefund, ...]:
        row = self._database.row(order_id)

        def since(refund_id: str) -> datetime:
            about = (line.at for line in row.history if line.detail.get("refund_id") == refund_id)
            return max(about)

        return tuple(
            BookedRefund(id_, one.payment_id, one.amount, one.state, since(id_), one.why)
            for id_, one in row.refund_requests.items()
            if one.state in UNSETTLED
        )

    def _settled_undo(self, order_id: str) -> Money | None:
        undo = self._database.row(order_id).refund_requests.get(UNDO_REFUND_ID)
        if undo is None or undo.state is not RefundState.SETTLED or undo.why == TAKEN_BY_DISPUTE:
            return None
        return undo.amount

    def _refunds(self, order_id: str) -> Money | None:
        row = self._database.row(order_id)
        asked = row.refund_requests.values()
        if any(one.state is RefundState.ISSUING for one in asked):
            return None
        currency = row.order.total.currency
        return total((one.amount for one in asked if one.state in ACCEPTED_BY_PROVIDER), currency)


class InMemoryFindings(Scripted):
    """``Findings`` in memory; ``book`` is public."""

    def __init__(self) -> None:
        super().__init__()
        self.book: dict[tuple[str, str, str], Finding] = {}

    async def note(self, found: Discrepancy, now: datetime) -> PriorFinding:
        return await self._play("note", lambda: self._note(found, now))

    async def is_unresolved(self, found: Discrepancy) -> bool:
        known = self.book.get(_key(found))
        return await self._play(
            "is_unresolved", lambda: known is not None and known.resolved_at is None
        )

    async def resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        await self._play("resolve", lambda: self._resolve(found, how, now))

    async def acknowledge(
        self, order_id: str, kind: DiscrepancyKind | None, word: Acknowledgement
    ) -> tuple[Finding, ...]:
        return await self._play("acknowledge", lambda: self._acknowledge(order_id, kind, word))

    async def unresolved(self, cursor: str | None, limit: int) -> CursorPage[Finding]:
        return await self._play("unresolved", lambda: self._unresolved(cursor, limit))

    async def listed(self, *, everything: bool, limit: int) -> list[Finding]:
        newest = sorted(self.book.values(), key=lambda one: one.first_seen, reverse=True)
        wanted = [
            one
            for one in newest
            if everything or (one.resolved_at is None and one.acknowledged is None)
        ]
        return await self._play("listed", lambda: wanted[:limit])

    def _note(self, found: Discrepancy, now: datetime) -> PriorFinding:
        known = self.book.get(_key(found))
        before = None if known is None or known.resolved_at else known
        word = before.acknowledged if before else None
        detail = noted_detail(
            found, before.detail if before else None, is_acknowledged=word is not None
        )
        is_other = before is not None and word is not None and before.detail != detail
        first_seen = before.first_seen if before else now
        last_seen = max(before.last_seen, now) if before else now
        self.book[_key(found)] = Finding(
            found.kind,
            found.order_id,
            found.payment_id,
            detail,
            found.remedy,
            first_seen,
            last_seen,
            acknowledged=None if is_other else word,
        )
        if before is None or is_other:
            return PriorFinding()
        return PriorFinding(before.last_seen, word is not None)

    def _acknowledge(
        self, order_id: str, kind: DiscrepancyKind | None, word: Acknowledgement
    ) -> tuple[Finding, ...]:
        unresolved = [one for one in self.book.values() if one.resolved_at is None]
        known = [one for one in unresolved if one.order_id == order_id]
        wanted = findings_to_acknowledge(order_id, known, kind)
        for one in wanted:
            if one.acknowledged is None:
                self.book[_key(one.discrepancy)] = replace(one, acknowledged=word)
        return tuple(self.book[_key(one.discrepancy)] for one in wanted)

    def _resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        known = self.book.get(_key(found))
        if known is not None and known.resolved_at is None:
            self.book[_key(found)] = replace(known, resolved_at=now, resolution=how)

    def _unresolved(self, cursor: str | None, limit: int) -> CursorPage[Finding]:
        keys = sorted(key for key, one in self.book.items() if one.resolved_at is None)
        after = tuple(json.loads(cursor)) if cursor else ()
        wanted = [key for key in keys if key > after][:limit]
        cursor = json.dumps(wanted[-1]) if len(wanted) == limit else None
        return CursorPage(tuple(self.book[key] for key in wanted), cursor)


def _key(found: Discrepancy) -> tuple[str, str, str]:
    return (found.kind, found.order_id, found.payment_id)


def _page(items: list[T], ids: list[str], cursor: str | None, limit: int) -> CursorPage[T]:
    start = ids.index(cursor) + 1 if cursor is not None else 0
    page = items[start : start + limit]
    has_more = start + limit < len(items)
    return CursorPage(tuple(page), ids[start + len(page) - 1] if has_more else None)


def _withdrawn(risks: PaymentRisks | None, payment: _Payment | None, currency: str) -> Money:
    """What disputes have taken of the payment: each no more than that was."""
    if risks is None or payment is None:
        return Money(0, currency)
    return total((min(one.withdrawn, payment.booked.captured) for one in risks.disputes), currency)
