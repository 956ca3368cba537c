"""Client of disputes, early fraud warnings and reviews: list them, and answer disputes.

    disputes = DisputeClient(risk_list, orders, dispute_book, cards)
    page = await disputes.page()
    evidence = await disputes.evidence("du_1NqQ")
    await disputes.send_evidence(evidence, submit=True)

It needs the database, and the card provider for sending evidence. It raises
``UnknownDisputeError``, ``InvalidTextError`` for an id that is none, ``NoCardsError`` without the
provider, ``EvidenceRefusedError`` for a dispute that takes no evidence, and ``ProviderError`` when
the database or the provider is away.
"""

from __future__ import annotations

from datetime import UTC, datetime

from durable_orders.clients.errors import EvidenceRefusedError, NoCardsError, UnknownDisputeError
from durable_orders.domain.disputes.dispute import Dispute, PaymentRisks
from durable_orders.domain.disputes.evidence import (
    DISPUTE_ID,
    Evidence,
    evidence_for,
    refusal_of,
)
from durable_orders.domain.disputes.listing import (
    RISK_ID,
    ListedRisk,
    RiskCursor,
    RiskListRepository,
    RiskPage,
)
from durable_orders.domain.disputes.ports import DisputeRepository, PaymentRiskReader
from durable_orders.domain.ids import evidence_key
from durable_orders.domain.listing import checked_limit
from durable_orders.domain.ports import OrderRepository, RefusedError


class DisputeClient:
    """Client of disputes. Without ``cards``, the card provider, it sends no evidence."""

    def __init__(
        self,
        risks: RiskListRepository,
        orders: OrderRepository,
        disputes: DisputeRepository,
        cards: PaymentRiskReader | None = None,
    ) -> None:
        self._risks = risks
        self._orders = orders
        self._disputes = disputes
        self._cards = cards

    async def page(
        self, limit: int = 100, after: RiskCursor | None = None, *, closed: bool = False
    ) -> RiskPage:
        """Return those that are open, by deadline; with ``closed`` all, newest first."""
        return await self._risks.page(checked_limit(limit), after, closed=closed)

    async def find(self, risk_id: str) -> ListedRisk:
        """Return the dispute, warning or review of this id."""
        found = await self._risks.find(RISK_ID.check(risk_id))
        if found is None:
            raise UnknownDisputeError(risk_id)
        return found

    async def evidence(self, dispute_id: str) -> Evidence:
        """Return what Stripe asks for about the dispute, with what the order tells."""
        found = await self._disputes.find(DISPUTE_ID.check(dispute_id))
        if found is None:
            raise UnknownDisputeError(dispute_id)
        order_id, dispute = found
        return evidence_for(await self._orders.view(order_id), dispute)

    async def send_evidence(self, evidence: Evidence, *, submit: bool) -> Dispute:
        """Save the texts with the dispute at the provider; ``submit`` sends them to the bank, once
        and for all. Returns the dispute afterwards, as it is recorded.
        """
        if self._cards is None:
            raise NoCardsError
        if refusal := refusal_of(evidence.dispute):
            raise EvidenceRefusedError(refusal)
        dispute_id, texts = evidence.dispute.dispute_id, evidence.texts
        order = (await self._orders.view(evidence.order_id)).order
        key = evidence_key(order.key_prefix, order.id, dispute_id, texts, submit=submit)
        try:
            answered = await self._cards.submit_evidence(dispute_id, texts, submit=submit, key=key)
        except RefusedError as error:
            raise EvidenceRefusedError(
                f"the card provider refused the evidence of dispute {dispute_id}: {error}"
            ) from error
        report = PaymentRisks(answered.payment_id, disputes=(answered,))
        await self._disputes.record(order.id, report, datetime.now(UTC))
        return answered
