"""The contract of the workflow that follows what is disputed of an order's payment."""

from __future__ import annotations

from temporalio import workflow

from durable_orders.domain.disputes.messages import (
    PaymentRiskInput,
    PaymentRiskOutcome,
    PaymentRiskProgress,
)


@workflow.defn(name="PaymentRisk")
class PaymentRiskWorkflow:
    """Follows the disputes, early fraud warnings and reviews of one order's payment; its workflow
    id is ``durable_orders.domain.ids.payment_risk_workflow_id(order_id)``.

    It can be run again at any time: the books say what is open.
    """

    @workflow.run
    async def run(self, risk: PaymentRiskInput) -> PaymentRiskOutcome:
        """Follow the payment until nothing is open on it any more."""
        raise NotImplementedError

    @workflow.signal
    def risks_updated(self) -> None:
        """Read the payment's disputes, warnings and reviews again: one of them has changed."""
        raise NotImplementedError

    @workflow.query
    def status(self) -> PaymentRiskProgress:
        """What is open on the payment and what is being done about it."""
        raise NotImplementedError
