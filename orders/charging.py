"""Our books of one charge, told by the card provider in any order.

A retried or forgotten activity may hand in what it read a while ago. So the books only go forward:
states by ``_PROGRESS``, amounts upwards. Money that moved is never forgotten; a refund that fails
*after* the provider accepted it stays in our books until a person looks (reconciliation sees it).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orders.lifecycle import Status
from orders.money import Money
from orders.ports import CardCharge, ChargeState

#: Charges that hold money, or still may. An order has at most one of these.
LIVE: Final = frozenset(
    {
        ChargeState.OPEN,
        ChargeState.NEEDS_CUSTOMER,
        ChargeState.PROCESSING,
        ChargeState.HELD,
        ChargeState.CAPTURED,
    }
)

# A declined charge can come alive again (a browser that still has its secret tries once more), so
# it comes before HELD. CAPTURED is last: once money was taken, nothing told later undoes it.
_PROGRESS: Final = (
    ChargeState.OPEN,
    ChargeState.NEEDS_CUSTOMER,
    ChargeState.PROCESSING,
    ChargeState.DECLINED,
    ChargeState.HELD,
    ChargeState.CANCELLED,
    ChargeState.CAPTURED,
)

#: Where an order stands when its charge stands so; a charge in another state says nothing about it.
STATUS_OF: Final = {
    ChargeState.NEEDS_CUSTOMER: Status.AWAITING_PAYMENT,
    ChargeState.PROCESSING: Status.AWAITING_PAYMENT,
    ChargeState.HELD: Status.HELD,
    ChargeState.CAPTURED: Status.PAID,
}


@dataclass(frozen=True)
class BookedCharge:
    """What our books say of one charge."""

    state: ChargeState
    captured: Money
    refunded: Money
    decline_code: str = ""
    #: Until when a hold could be captured. Kept when the hold is over: it says why it ended.
    capture_before: datetime | None = None

    def merge(self, charge: CardCharge) -> BookedCharge:
        """The books after the provider's word; unchanged when it is old news."""
        ahead = _PROGRESS.index(charge.state) > _PROGRESS.index(self.state)
        return BookedCharge(
            state=charge.state if ahead else self.state,
            captured=max(self.captured, charge.captured),
            refunded=max(self.refunded, charge.refunded),
            decline_code=charge.decline_code if ahead else self.decline_code,
            capture_before=_later(self.capture_before, charge.capture_before),
        )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
