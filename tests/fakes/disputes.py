"""In-memory fakes of ``DisputeRepository``, ``PaymentRiskReader`` and ``PaymentRiskListing``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeVar

from durable_orders.domain.audit.ports import CursorPage
from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentConcern,
    PaymentRisks,
    Review,
)
from durable_orders.domain.disputes.merging import acknowledge, merge_risks
from durable_orders.domain.disputes.ports import RecordedConcern
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from tests.fakes.database import InMemoryDatabase
from tests.fakes.script import Scripted

Listed = TypeVar("Listed", Dispute, FraudWarning, Review)

_LAST = datetime.max.replace(tzinfo=UTC)


class InMemoryDisputeRepository(Scripted):
    """``DisputeRepository`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def find_order(self, payment_id: str) -> str | None:
        return await self._play("find_order", lambda: self._find_order(payment_id))

    async def find_orders(self, payment_ids: Iterable[str]) -> Mapping[str, str]:
        wanted = list(payment_ids)
        return await self._play(
            "find_orders",
            lambda: {id_: order for id_ in wanted if (order := self._find_order(id_))},
        )

    async def open_orders(self, after: str, limit: int) -> tuple[str, ...]:
        return await self._play("open_orders", lambda: self._open_orders(after, limit))

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

    def _open_orders(self, after: str, limit: int) -> tuple[str, ...]:
        rows = self._database.rows.items()
        found = sorted(id_ for id_, row in rows if row.risks and row.risks.concerns and id_ > after)
        return tuple(found[:limit])

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


class InMemoryPaymentRiskReader(Scripted):
    """``PaymentRiskReader`` and ``PaymentRiskListing`` in memory, with what cardholders, banks and
    Stripe do.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__()
        self.clock = clock
        self._risks: dict[str, PaymentRisks] = {}
        self._number = count(1)
        self._sent: dict[str, str] = {}

    async def risks_of(self, payment_id: str) -> PaymentRisks:
        return await self._play("risks_of", lambda: self._of(payment_id))

    async def submit_evidence(
        self, dispute_id: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> Dispute:
        return await self._play(
            "submit_evidence", lambda: self._submit(dispute_id, evidence, key, submit=submit)
        )

    async def disputes(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Dispute]:
        every = [one for known in self._risks.values() for one in known.disputes]
        return await self._play("disputes", lambda: _page(every, after, before, cursor, limit))

    async def warnings(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[FraudWarning]:
        every = [one for known in self._risks.values() for one in known.warnings]
        return await self._play("warnings", lambda: _page(every, after, before, cursor, limit))

    async def reviews(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[Review]:
        every = [one for known in self._risks.values() for one in known.reviews]
        return await self._play("reviews", lambda: _page(every, after, before, cursor, limit))

    # -- cardholders, banks and Stripe -------------------------------------------------------------

    def dispute(
        self,
        payment_id: str,
        amount: Money,
        *,
        reason: str = "fraudulent",
        inquiry: bool = False,
        due_in: timedelta = timedelta(days=9),
    ) -> Dispute:
        """The cardholder disputes: an inquiry, or a chargeback, which takes the money at once."""
        now = self.clock()
        nothing = Money(0, amount.currency)
        status = DisputeStatus.WARNING_NEEDS_RESPONSE if inquiry else DisputeStatus.NEEDS_RESPONSE
        opened = Dispute(
            dispute_id=f"du_{next(self._number)}",
            payment_id=payment_id,
            amount=amount,
            withdrawn=nothing if inquiry else amount,
            fee=nothing if inquiry else Money(15_00, amount.currency),
            reason=reason,
            status=status,
            opened_at=now,
            due_by=now + due_in,
        )
        known = self._of(payment_id)
        warnings = known.warnings
        if not inquiry:
            warnings = tuple(replace(one, is_actionable=False) for one in warnings)
        self._risks[payment_id] = replace(
            known, disputes=(*known.disputes, opened), warnings=warnings
        )
        return opened

    def warn(self, payment_id: str) -> FraudWarning:
        """The card's issuer expects a dispute."""
        id_ = f"issfr_{next(self._number)}"
        type_ = "made_with_stolen_card"
        warning = FraudWarning(id_, payment_id, type_, is_actionable=True, opened_at=self.clock())
        known = self._of(payment_id)
        self._risks[payment_id] = replace(known, warnings=(*known.warnings, warning))
        return warning

    def settle_warnings(self, payment_id: str) -> None:
        """The payment was refunded in full: nothing can be done about its warnings any more."""
        known = self._of(payment_id)
        over = tuple(replace(one, is_actionable=False) for one in known.warnings)
        self._risks[payment_id] = replace(known, warnings=over)

    def review(self, payment_id: str) -> Review:
        """Stripe, or a person, puts the payment into review."""
        id_ = f"prv_{next(self._number)}"
        review = Review(id_, payment_id, "manual", is_open=True, opened_at=self.clock())
        known = self._of(payment_id)
        self._risks[payment_id] = replace(known, reviews=(*known.reviews, review))
        return review

    def close_review(self, review_id: str, reason: str = "approved") -> None:
        for payment_id, known in self._risks.items():
            closed = tuple(
                replace(one, is_open=False, closed_reason=reason)
                if one.review_id == review_id
                else one
                for one in known.reviews
            )
            self._risks[payment_id] = replace(known, reviews=closed)

    def win(self, dispute_id: str) -> None:
        dispute = self._find(dispute_id)
        won = DisputeStatus.WARNING_CLOSED if dispute.is_inquiry else DisputeStatus.WON
        self._put(replace(dispute, status=won, withdrawn=Money(0, dispute.amount.currency)))

    def lose(self, dispute_id: str) -> None:
        dispute = self._find(dispute_id)
        lost = DisputeStatus.WARNING_CLOSED if dispute.is_inquiry else DisputeStatus.LOST
        self._put(replace(dispute, status=lost))

    def escalate(self, dispute_id: str) -> None:
        """An inquiry becomes a chargeback."""
        dispute = self._find(dispute_id)
        fee, status = Money(15_00, dispute.amount.currency), DisputeStatus.NEEDS_RESPONSE
        self._put(replace(dispute, status=status, withdrawn=dispute.amount, fee=fee))

    # -- implementation ----------------------------------------------------------------------------

    def _of(self, payment_id: str) -> PaymentRisks:
        return self._risks.get(payment_id, PaymentRisks(payment_id))

    def _find(self, dispute_id: str) -> Dispute:
        every = (one for known in self._risks.values() for one in known.disputes)
        found = next((one for one in every if one.dispute_id == dispute_id), None)
        if found is None:
            raise RefusedError(f"there is no dispute {dispute_id}")
        return found

    def _put(self, dispute: Dispute) -> Dispute:
        known = self._risks[dispute.payment_id]
        disputes = tuple(
            dispute if one.dispute_id == dispute.dispute_id else one for one in known.disputes
        )
        self._risks[dispute.payment_id] = replace(known, disputes=disputes)
        return dispute

    def _submit(
        self, dispute_id: str, evidence: Mapping[str, str], key: str, *, submit: bool
    ) -> Dispute:
        dispute = self._find(dispute_id)
        if key in self._sent:
            return dispute
        if not dispute.is_open:
            raise RefusedError(f"{dispute_id} is {dispute.status}")
        self._sent[key] = dispute_id
        if not submit or not evidence:
            return dispute
        under_review = (
            DisputeStatus.WARNING_UNDER_REVIEW if dispute.is_inquiry else DisputeStatus.UNDER_REVIEW
        )
        return self._put(replace(dispute, status=under_review, submissions=dispute.submissions + 1))


def _page(
    every: Sequence[Listed], after: datetime, before: datetime, cursor: str | None, limit: int
) -> CursorPage[Listed]:
    """Newest first; the cursor counts what was shown."""
    newest = sorted(every, key=lambda one: one.opened_at, reverse=True)
    wanted = [one for one in newest if after <= one.opened_at <= before]
    begin = int(cursor or 0)
    page = tuple(wanted[begin : begin + limit])
    following = begin + limit
    return CursorPage(page, str(following) if following < len(wanted) else None)
