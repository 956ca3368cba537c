"""Terms of orders: which need approval, when money is captured, how long things may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from durable_orders.domain.money import Money

#: Decline codes that say "not now" rather than "no": the same card may be tried again.
#: https://docs.stripe.com/declines/codes
SOFT_DECLINES = frozenset(
    {
        "approve_with_id",
        "issuer_not_available",
        "processing_error",
        "reenter_transaction",
        "try_again_later",
    }
)


#: The decline code of a charge that the customer has to confirm with their bank.
#: https://docs.stripe.com/declines/codes
AUTHENTICATION_REQUIRED: Final = "authentication_required"

#: More tries than a customer in earnest needs: who tries cards for a living needs many.
MAX_CARD_TRIES = 5


def approval_limits(text: str) -> dict[str, int]:
    """Parse ``ShopTerms.approval_above`` as people write it: EUR=500.00,JPY=60000.

    Raises ``ValueError`` with a sentence that says which part is wrong.
    """
    limits: dict[str, int] = {}
    for part in text.split(",") if text.strip() else ():
        currency, is_pair, amount = (piece.strip() for piece in part.partition("="))
        if not is_pair:
            raise ValueError(f"{part.strip()!r} is not a currency and an amount, like EUR=500.00")
        if currency in limits:
            raise ValueError(f"{currency} is there twice")
        limits[currency] = Money.parse(amount, currency).amount
    return limits


class CaptureMethod(StrEnum):
    """When the money is captured."""

    AT_CHECKOUT = "at_checkout"
    AT_FULFILLMENT = "at_fulfillment"  # authorized first, captured once the warehouse has accepted


class DisputePolicy(StrEnum):
    """What becomes of an order that has not left when its payment is disputed or questioned."""

    HOLD = "hold"  # an operator decides
    STOP = "stop"  # it is undone


class FraudWarningPolicy(StrEnum):
    """What becomes of an order whose card's issuer warns of fraud."""

    SHOW = "show"  # an operator decides
    REFUND = "refund"  # its money is given back, which spares the shop a dispute


@dataclass(frozen=True)
class OrderTerms:
    """Terms of one order. Read when its run starts and kept in its history, so that a change of
    the shop's settings never changes the course of an order under way.

    ``off_session``: the customer is away, so a card that the bank declines for now is tried again
    by itself; a customer who is present decides. ``payment_url``: as in ``ShopTerms``, where the
    customer may have to be asked.
    """

    needs_approval: bool = False
    four_eyes: bool = False
    approval_timeout: timedelta = timedelta(hours=24)
    payment_timeout: timedelta = timedelta(minutes=30)
    new_card_window: timedelta = timedelta(0)
    capture: CaptureMethod = CaptureMethod.AT_CHECKOUT
    delivery_deadline: timedelta = timedelta(0)
    max_card_tries: int = MAX_CARD_TRIES
    off_session: bool = False
    payment_url: str = ""
    on_dispute: DisputePolicy = DisputePolicy.HOLD
    on_fraud_warning: FraudWarningPolicy = FraudWarningPolicy.SHOW


@dataclass(frozen=True)
class ShopTerms:
    """The shop's rules, from its settings.

    ``approval_above``: currency to minor units; orders of a higher total need approval, those of a
    currency that is not named do not. ``four_eyes``: the API key that placed an order may not
    approve it. ``new_card_window``: how long a declined customer may
    try other cards, from the first decline; zero rejects at once. ``max_card_tries``: how many
    tries an order's cards have together. ``payment_url``: the shop's page on which the customer of
    an order confirms its payment, with ``{order_id}`` in it; empty when there is none.
    ``on_dispute`` and ``on_fraud_warning``: what becomes of an order whose payment is questioned.
    ``delivery_deadline``: how long parcels may take; zero completes an order when the warehouse has
    accepted it, without waiting for its parcels.
    """

    approval_above: Mapping[str, int] = field(default_factory=dict)
    four_eyes: bool = False
    approval_timeout: timedelta = timedelta(hours=24)
    payment_timeout: timedelta = timedelta(minutes=30)
    new_card_window: timedelta = timedelta(0)
    capture: CaptureMethod = CaptureMethod.AT_CHECKOUT
    delivery_deadline: timedelta = timedelta(0)
    max_card_tries: int = MAX_CARD_TRIES
    payment_url: str = ""
    on_dispute: DisputePolicy = DisputePolicy.HOLD
    on_fraud_warning: FraudWarningPolicy = FraudWarningPolicy.SHOW

    def of(self, total: Money, *, flagged: bool, off_session: bool = False) -> OrderTerms:
        """The terms of an order with this total; ``flagged`` ones always need approval.
        ``off_session``: its customer is away.
        """
        limit = self.approval_above.get(total.currency)
        return OrderTerms(
            needs_approval=flagged or (limit is not None and total.amount > limit),
            four_eyes=self.four_eyes,
            approval_timeout=self.approval_timeout,
            payment_timeout=self.payment_timeout,
            new_card_window=self.new_card_window,
            capture=self.capture,
            delivery_deadline=self.delivery_deadline,
            max_card_tries=self.max_card_tries,
            off_session=off_session,
            payment_url=self.payment_url if off_session else "",
            on_dispute=self.on_dispute,
            on_fraud_warning=self.on_fraud_warning,
        )
