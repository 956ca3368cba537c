"""In-memory fake of ``DisputeRepository``, over the ``InMemoryDatabase`` of the other fakes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from durable_orders.domain.disputes.dispute import Dispute, PaymentConcern, PaymentRisks
from durable_orders.domain.disputes.merging import acknowledge, merge_risks
from durable_orders.domain.disputes.ports import RecordedConcern
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from tests.fakes.database import InMemoryDatabase
from tests.fakes.script import Scripted

_LAST = datetime.max.replace(tzinfo=UTC)


class InMemoryDisputeRepository(Scripted):
    """``DisputeRepository`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def find_order(self, payment_id: str) -> str | None:
        return await self._play("find_order", lambda: self._find_order(payment_id))

    async def record(self, order_id: str, risks: PaymentRisks, now: datetime) -> PaymentRisks:
        return await self._play("record", lambda: self._record(order_id, risks, now))

    async def acknowledge(
        self, order_id: str, concern_id: str, by: str, note: str, now: datetime
    ) -> PaymentRisks:
        return await self._play(
            "acknowledge", lambda: self._acknowledge(order_id, concern_id, by, note, now)
        )

    async def risks_of(self, order_id: str) -> PaymentRisks | None:
        return await self._play("risks_of", lambda: self._risks_of(order_id))

    async def find(self, dispute_id: str) -> tuple[str, Dispute] | None:
        return await self._play("find", lambda: self._find(dispute_id))

    async def open_concerns(self, limit: int) -> tuple[RecordedConcern, ...]:
        return await self._play("open_concerns", lambda: self._open_concerns(limit))

    # -- implementation ----------------------------------------------------------------------------

    def _find_order(self, payment_id: str) -> str | None:
        ours = self._database.installation.names
        for order_id, row in self._database.rows.items():
            if row.payment and row.payment.payment_id == payment_id:
                return order_id if row.order.key_prefix in ours else None
        return None

    def _risks_of(self, order_id: str) -> PaymentRisks | None:
        row = self._database.row(order_id)
        if row.payment is None:
            return None
        return row.risks or PaymentRisks(row.payment.payment_id, revision=0)

    def _record(self, order_id: str, risks: PaymentRisks, now: datetime) -> PaymentRisks:
        known = self._risks_of(order_id)
        if known is None or known.payment_id != risks.payment_id:
            raise RefusedError(f"order {order_id} is not charged as {risks.payment_id}")
        changes = merge_risks(known, risks)
        for other_id, other in self._database.rows.items():
            if other_id != order_id and other.risks and other.risks.ids & risks.ids:
                raise RefusedError(f"one of these is recorded for order {other_id}")
        disputes = {one.dispute_id: one for one in (*known.disputes, *changes.disputes)}
        warnings = {one.warning_id: one for one in (*known.warnings, *changes.warnings)}
        reviews = {one.review_id: one for one in (*known.reviews, *changes.reviews)}
        changed = len(changes.disputes) + len(changes.warnings) + len(changes.reviews)
        row = self._database.row(order_id)
        row.risks = replace(
            known,
            disputes=tuple(sorted(disputes.values(), key=lambda d: (d.opened_at, d.dispute_id))),
            warnings=tuple(sorted(warnings.values(), key=lambda w: (w.opened_at, w.warning_id))),
            reviews=tuple(sorted(reviews.values(), key=lambda r: (r.opened_at, r.review_id))),
            revision=(known.revision or 0) + changed,
        )
        for each in changes.lines:
            row.add_line(each.event, now, **each.detail)
        return row.risks

    def _acknowledge(
        self, order_id: str, concern_id: str, by: str, note: str, now: datetime
    ) -> PaymentRisks:
        known = self._risks_of(order_id)
        after = None if known is None else acknowledge(known, concern_id, by)
        if known is None or after is None:
            raise RefusedError(f"order {order_id} has no dispute or warning {concern_id}")
        if after != known:
            row = self._database.row(order_id)
            row.risks = after = replace(after, revision=(known.revision or 0) + 1)
            row.add_line("payment_risk_acknowledged", now, id=concern_id, by=by, note=note)
        return after

    def _find(self, dispute_id: str) -> tuple[str, Dispute] | None:
        for order_id, row in self._database.rows.items():
            for one in row.risks.disputes if row.risks else ():
                if one.dispute_id == dispute_id:
                    return order_id, one
        return None

    def _open_concerns(self, limit: int) -> tuple[RecordedConcern, ...]:
        found: list[tuple[datetime, datetime, str, RecordedConcern]] = []
        for order_id, row in self._database.rows.items():
            if row.risks is None or row.payment is None:
                continue
            paid, status = row.payment.amount, row.order.status
            every: list[tuple[PaymentConcern | None, datetime, Money]] = [
                (one.concern, one.opened_at, one.amount) for one in row.risks.disputes
            ]
            every += [(one.concern, one.opened_at, paid) for one in row.risks.warnings]
            every += [(one.concern, one.opened_at, paid) for one in row.risks.reviews]
            for concern, opened_at, amount in every:
                if concern is not None:
                    about = (order_id, status, row.risks.payment_id, amount, concern)
                    recorded = RecordedConcern(*about)
                    found.append((concern.due_by or _LAST, opened_at, concern.id, recorded))
        return tuple(one[-1] for one in sorted(found, key=lambda one: one[:3])[:limit])
