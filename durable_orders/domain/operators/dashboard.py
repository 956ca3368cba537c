"""Dashboard: counts of orders, and refunds that may need an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundState

#: A refund that the card provider has not answered for so long is shown to an operator.
UNANSWERED_AFTER: Final = timedelta(minutes=10)
#: Refunds in other states need no operator: they go on, or have ended, by themselves.
MAY_NEED_OPERATOR: Final = frozenset(
    {RefundState.AWAITING_APPROVAL, RefundState.FAILED, RefundState.ISSUING}
)


@dataclass(frozen=True)
class DashboardRefund:
    """A refund in ``state`` that an operator has to look at; ``why`` is the bank's reason."""

    order_id: str
    refund_id: str
    amount: Money
    state: RefundState
    why: str
    since: datetime


class DashboardRepository(Protocol):
    """Repository of figures over all orders."""

    async def counts(self, most: int) -> Mapping[Status, int]:
        """Number of orders in each status, counted up to ``most``; no status left out."""

    async def waiting_refunds(self, now: datetime, limit: int) -> tuple[DashboardRefund, ...]:
        """Refunds that await approval, that failed at the bank, or that the provider has not
        answered for ``UNANSWERED_AFTER``; the longest waiting first.
        """
