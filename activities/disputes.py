"""Dispute activities: read what is disputed of a payment, record it, decide what is to be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from temporalio import activity

from durable_orders.domain.disputes.decisions import REMINDER, decide
from durable_orders.domain.disputes.messages import (
    NothingToFollow,
    PaymentRiskRef,
    ReviewRisksAnswer,
    RisksReviewed,
)
from durable_orders.domain.disputes.ports import DisputeRepository, PaymentRiskReader
from durable_orders.domain.ports import NoSuchOrderError, OrderRepository
from durable_orders.domain.terms import ShopTerms


@dataclass(frozen=True)
class DisputeActivities:
    """Conversations with the card provider about disputes, early fraud warnings and reviews."""

    reader: PaymentRiskReader
    disputes: DisputeRepository
    orders: OrderRepository
    shop: ShopTerms = ShopTerms()  # noqa: RUF009 - frozen

    @activity.defn
    async def review_payment_risks(self, ref: PaymentRiskRef) -> ReviewRisksAnswer:
        """Read what is disputed of the order's payment, record it, and say what is to be done.

        Our books are read first: a report that another one overtakes is recognized by that.
        """
        try:
            summary = await self.orders.summary(ref.order_id)
            known = await self.disputes.risks_of(ref.order_id)
        except NoSuchOrderError as error:
            return NothingToFollow(str(error))
        if known is None:
            return NothingToFollow(f"order {ref.order_id} has no payment")
        report = await self.reader.risks_of(known.payment_id)
        report = replace(report, revision=known.revision)
        risks = await self.disputes.record(ref.order_id, report, datetime.now(UTC))
        view = await self.orders.view(ref.order_id)
        decision = decide(view, risks, self.shop.on_fraud_warning, ref.refunds)
        mailed = {line.event for line in view.history}
        return RisksReviewed(
            payment_id=risks.payment_id,
            customer_id=summary.customer_id,
            revision=risks.revision or 0,
            concerns=risks.concerns,
            withdrawn=risks.withdrawn(summary.total.currency),
            deadlines=decision.deadlines,
            reminded=tuple(
                id_ for id_, _ in decision.deadlines if f"{REMINDER}{id_}_mailed" in mailed
            ),
            needs=decision.needs,
            refund=decision.refund,
        )
