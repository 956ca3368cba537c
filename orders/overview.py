"""What a shop's orders and refunds look like from afar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from orders.lifecycle import Status
from orders.money import Money
from orders.refunds import RefundState

#: A refund that the card provider has not answered for so long is shown to a person.
SILENT_FOR: Final = timedelta(minutes=10)
#: Refunds in other states go on, or have ended, by themselves.
MAY_NEED_A_PERSON: Final = frozenset(
    {RefundState.AWAITING_APPROVAL, RefundState.FAILED, RefundState.ISSUING}
)


@dataclass(frozen=True)
class WaitingRefund:
    """A refund in ``state`` that a person has to look at; ``why`` is the bank's word."""

    order_id: str
    refund_id: str
    amount: Money
    state: RefundState
    why: str
    since: datetime


class OverviewBook(Protocol):
    """What is counted and gathered over all orders."""

    async def counts(self, most: int) -> Mapping[Status, int]:
        """How many orders are in each status, counted up to ``most``; none left out."""

    async def waiting_refunds(self, now: datetime, limit: int) -> tuple[WaitingRefund, ...]:
        """Refunds that wait for approval, that failed at the bank, or that the provider has not
        answered for ``SILENT_FOR``; the longest waiting first.
        """
