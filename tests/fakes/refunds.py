"""In-memory fake of ``RefundBook``, over the same ``InMemoryDatabase`` as the other fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from durable_orders.domain.disputes.decisions import open_chargeback
from durable_orders.domain.disputes.dispute import DisputeStatus, PaymentRisks
from durable_orders.domain.money import total
from durable_orders.domain.ports import CardRefund, ChargeState
from durable_orders.domain.refunds.calculation import plan_refund
from durable_orders.domain.refunds.ports import NoSuchRefundError
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    PaidCharge,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
)
from tests.fakes.database import InMemoryDatabase
from tests.fakes.script import Scripted


class InMemoryRefundBook(Scripted):
    """``RefundBook`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def reserve(self, request: RefundRequest, now: datetime) -> RefundEntry | RefundRefused:
        return await self._play("reserve", lambda: self._reserve(request, now))

    async def find(self, order_id: str, refund_id: str) -> RefundEntry | None:
        return await self._play("find", lambda: self._refunds(order_id).get(refund_id))

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        return await self._play("refunds_of", lambda: tuple(self._refunds(order_id).values()))

    async def waiting(self, limit: int) -> tuple[RefundEntry, ...]:
        return await self._play("waiting", lambda: self._waiting(limit))

    async def begin(
        self, order_id: str, refund_id: str, attempt: int, now: datetime
    ) -> RefundEntry:
        return await self._play(
            "begin", lambda: self._change(order_id, refund_id, lambda e: e.begun(attempt), now)
        )

    async def tell(
        self, order_id: str, refund_id: str, attempt: int, refund: CardRefund, now: datetime
    ) -> RefundEntry:
        return await self._play(
            "tell",
            lambda: self._change(order_id, refund_id, lambda e: e.merge(attempt, refund), now),
        )

    async def move(
        self, order_id: str, refund_id: str, state: RefundState, now: datetime, why: str = ""
    ) -> RefundEntry:
        return await self._play(
            "move", lambda: self._change(order_id, refund_id, lambda e: e.moved(state, why), now)
        )

    async def restock(self, order_id: str, refund_id: str, now: datetime) -> RefundEntry:
        return await self._play("restock", lambda: self._restock(order_id, refund_id, now))

    # -- implementation ----------------------------------------------------------------------------

    def _waiting(self, limit: int) -> tuple[RefundEntry, ...]:
        entries = [
            one for row in self._database.rows.values() for one in row.refund_requests.values()
        ]
        waiting = [one for one in entries if one.state is RefundState.AWAITING_APPROVAL]
        return tuple(waiting[:limit])

    def _refunds(self, order_id: str) -> dict[str, RefundEntry]:
        row = self._database.rows.get(order_id)
        return row.refund_requests if row else {}

    def _reserve(self, request: RefundRequest, now: datetime) -> RefundEntry | RefundRefused:
        row = self._database.row(request.order_id)
        if known := row.refund_requests.get(request.refund_id):
            if known.request.same_as(request):
                return known
            return RefundRefused(f"refund {request.refund_id} is there already, of other contents")
        earlier = tuple(row.refund_requests.values())
        entry = plan_refund(request, row.order, self._paid_charge(request.order_id), earlier)
        if isinstance(entry, RefundEntry):
            row.refund_requests[request.refund_id] = entry
            row.add_line(entry.event, now, **entry.history_detail())
        return entry

    def _paid_charge(self, order_id: str) -> PaidCharge | None:
        row = self._database.row(order_id)
        payment = row.payment
        if payment is None or payment.booked.state is not ChargeState.CAPTURED:
            return None
        booked = payment.booked
        risks = row.risks or PaymentRisks(payment.payment_id)
        back = open_chargeback(risks)
        return PaidCharge(
            1,
            payment.payment_id,
            booked.captured,
            booked.refunded,
            withdrawn=risks.withdrawn(payment.amount.currency),
            by_hand=row.by_hand.amount if row.by_hand else None,
            disputes=tuple(sorted(one.dispute_id for one in risks.disputes if one.withdrawn)),
            charged_back_by=back.dispute_id if back else "",
            won=any(one.status is DisputeStatus.WON for one in risks.disputes),
        )

    def _find(self, order_id: str, refund_id: str) -> RefundEntry:
        try:
            return self._database.row(order_id).refund_requests[refund_id]
        except KeyError:
            raise NoSuchRefundError(order_id, refund_id) from None

    def _change(
        self,
        order_id: str,
        refund_id: str,
        change: Callable[[RefundEntry], RefundEntry],
        now: datetime,
    ) -> RefundEntry:
        before = self._find(order_id, refund_id)
        after = change(before)
        if after != before:
            self._book(before, after)
            row = self._database.row(order_id)
            row.refund_requests[refund_id] = after
            row.add_line(after.event, now, **after.history_detail())
        return after

    def _book(self, before: RefundEntry, after: RefundEntry) -> None:
        payment = self._database.row(after.request.order_id).payment
        if payment is None:
            raise ValueError(f"order {after.request.order_id} has no charge to refund")
        was, is_ = before.state in ACCEPTED_BY_PROVIDER, after.state in ACCEPTED_BY_PROVIDER
        refunded = payment.booked.refunded
        if is_ and not was:
            payment.refunds[after.card_refund_id] = after.amount
            known = total(payment.refunds.values(), after.amount.currency)
            payment.booked = replace(payment.booked, refunded=max(refunded, known))
        elif was and not is_:
            del payment.refunds[before.card_refund_id]
            payment.booked = replace(payment.booked, refunded=refunded - after.amount)

    def _restock(self, order_id: str, refund_id: str, now: datetime) -> RefundEntry:
        before = self._find(order_id, refund_id)
        after = before.with_restock()
        if after != before:
            row = self._database.row(order_id)
            for sku, quantity in after.lines:
                self._database.products[sku].on_hand += quantity
            row.refund_requests[refund_id] = after
            pieces = {sku: str(quantity) for sku, quantity in after.lines}
            row.add_line("refund_restocked", now, refund_id=refund_id, **pieces)
        return after
