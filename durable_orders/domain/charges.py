"""Our record of one charge, merged from what the card provider reports in any order.

A retried or abandoned activity may report what it read a while ago. So the record only goes
forward: states by ``_PROGRESS``, amounts upwards. Money that moved is never forgotten; a refund
that fails *after* the provider accepted it stays recorded, and the audit flags it to an operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState

#: States of a charge that has taken or may still take money. An order has at most one of these.
LIVE: Final = frozenset(
    {
        ChargeState.OPEN,
        ChargeState.NEEDS_CUSTOMER,
        ChargeState.PROCESSING,
        ChargeState.HELD,
        ChargeState.CAPTURED,
    }
)

# A declined charge can still succeed (a browser with its client secret tries again), so it comes
# before HELD. CAPTURED is last: no later report undoes that money was taken.
_PROGRESS: Final = (
    ChargeState.OPEN,
    ChargeState.NEEDS_CUSTOMER,
    ChargeState.PROCESSING,
    ChargeState.DECLINED,
    ChargeState.HELD,
    ChargeState.CANCELLED,
    ChargeState.CAPTURED,
)

#: The order's status by the state of its charge. A charge in another state does not change it.
STATUS_OF: Final = {
    ChargeState.NEEDS_CUSTOMER: Status.AWAITING_PAYMENT,
    ChargeState.PROCESSING: Status.AWAITING_PAYMENT,
    ChargeState.HELD: Status.HELD,
    ChargeState.CAPTURED: Status.PAID,
}


@dataclass(frozen=True)
class BookedCharge:
    """Our record of one charge."""

    state: ChargeState
    captured: Money
    refunded: Money
    decline_code: str = ""
    #: When a hold expires. Kept when the hold is over: it says why.
    capture_before: datetime | None = None

    def merge(self, charge: CardCharge) -> BookedCharge:
        """The record updated from the provider's charge; unchanged by an old report."""
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
