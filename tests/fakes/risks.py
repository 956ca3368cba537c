"""In-memory fake of what our books have of disputes, early fraud warnings and reviews."""

from __future__ import annotations

from durable_orders.domain.disputes.dispute import PaymentRisks
from tests.fakes.script import Scripted


class InMemoryRisks(Scripted):
    """``RecordedRisks`` in memory; ``recorded`` by order id is public."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: dict[str, PaymentRisks] = {}

    async def risks_of(self, order_id: str) -> PaymentRisks | None:
        return await self._play("risks_of", lambda: self.recorded.get(order_id))
