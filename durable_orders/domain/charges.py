"""Our record of one charge and of its tries, merged from what the card provider reports.

A retried or abandoned activity may report what it read a while ago, after a newer report. A charge
can be tried again after a decline, by us or by a browser, so its states alone do not tell which
report is newer. One is ``fresh`` when nobody has recorded anything since before it was asked for.
Any other counts only where it must be true still: money that moved, or can move no more. Money is
never forgotten: a refund that fails *after* the provider accepted it stays recorded, and the audit
flags it to an operator.

A try is made once, so its record only goes forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, CardTry, ChargeState

#: States of a charge that has taken or may still take money, a declined one too: a browser with its
#: secret can pay it. An order has at most one of these.
LIVE: Final = frozenset(ChargeState) - {ChargeState.CANCELLED}

#: States of a charge that may still take money.
MAY_TAKE_MONEY: Final = LIVE - {ChargeState.CAPTURED}

#: States in which a try is over: no answer to it will follow. A declined charge can be tried again,
#: a declined try cannot.
TRY_OVER: Final = frozenset(
    {ChargeState.DECLINED, ChargeState.HELD, ChargeState.CANCELLED, ChargeState.CAPTURED}
)

#: States of a charge that no try can follow on.
_CHARGE_OVER: Final = TRY_OVER - {ChargeState.DECLINED}

#: States of a try that has taken or may still take money. An order has at most one of these.
LIVE_TRY: Final = frozenset(ChargeState) - {ChargeState.DECLINED, ChargeState.CANCELLED}

# CAPTURED is last: no later report undoes that money was taken. A charge goes back from DECLINED,
# a try does not.
_PROGRESS: Final = (
    ChargeState.OPEN,
    ChargeState.NEEDS_CUSTOMER,
    ChargeState.PROCESSING,
    ChargeState.DECLINED,
    ChargeState.HELD,
    ChargeState.CANCELLED,
    ChargeState.CAPTURED,
)

#: States of a charge that a try may be made on. In any other the customer or the bank is busy with
#: it, or it is over.
CAN_BE_TRIED: Final = frozenset({ChargeState.OPEN, ChargeState.DECLINED})

#: A try is sent again under its key for this long. Stripe keeps keys for 24 hours at least: after
#: that the same request would be a new charge of an old card.
#: https://docs.stripe.com/api/idempotent_requests
KEY_LIFE: Final = timedelta(hours=23)

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
    latest_charge: str = ""

    def merge(self, charge: CardCharge, *, fresh: bool = False) -> BookedCharge:
        """The record updated from the provider's charge; unchanged by an old report."""
        ahead = self._is_behind(charge.state, fresh=fresh)
        return BookedCharge(
            state=charge.state if ahead else self.state,
            captured=max(self.captured, charge.captured),
            refunded=max(self.refunded, charge.refunded),
            decline_code=charge.decline_code if ahead else self.decline_code,
            capture_before=_later(self.capture_before, charge.capture_before),
            latest_charge=charge.latest_charge if ahead else self.latest_charge,
        )

    def _is_behind(self, state: ChargeState, *, fresh: bool) -> bool:
        if self.state in _CHARGE_OVER or state in _CHARGE_OVER:
            return _PROGRESS.index(state) > _PROGRESS.index(self.state)
        return fresh and state is not ChargeState.OPEN


def merge_try(card_try: CardTry, charge: CardCharge) -> CardTry:
    """The try updated from the charge that answers it, forwards only; unchanged once it is over."""
    is_ahead = _PROGRESS.index(charge.state) > _PROGRESS.index(card_try.state)
    if card_try.state in TRY_OVER or not is_ahead:
        return card_try
    return replace(card_try, state=charge.state, decline_code=charge.decline_code)


def answers_newest(newest: CardTry, charge: CardCharge, *, fresh: bool) -> bool:
    """Whether a report of the charge, made for no try in particular, answers its newest try.

    An old report may be of before that try, unless it says that the charge is over.
    """
    if not fresh and charge.state not in _CHARGE_OVER:
        return False
    return newest.state is not ChargeState.OPEN or has_answered(newest, charge)


def has_answered(card_try: CardTry, charge: CardCharge) -> bool:
    """Whether ``charge`` shows what became of an announced try: money was asked of a bank since, or
    the charge is not in a state that a try begins with.
    """
    return charge.latest_charge != card_try.charge_before or charge.state not in CAN_BE_TRIED


def may_be_sent(card_try: CardTry, now: datetime) -> bool:
    """Whether the provider is sure to know the try's key still, if the try was ever sent."""
    return now - card_try.announced_at < KEY_LIFE


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
