"""Conversion between our amounts and Stripe's (https://docs.stripe.com/currencies).

Both are minor units of ISO 4217, with a few exceptions on Stripe's side.
"""

from __future__ import annotations

from typing import Final

from durable_orders.domain.money import Money, decimals
from durable_orders.domain.ports import RefusedError

#: No decimals in ISO 4217; Stripe's API still takes two, both zero.
_TWO_DECIMALS_AT_STRIPE: Final = frozenset(["ISK", "UGX"])
#: Two decimals in ISO 4217; Stripe's API takes whole ariary.
_NO_DECIMALS_AT_STRIPE: Final = frozenset(["MGA"])


def _factor(currency: str) -> tuple[int, int]:
    """(multiplier, divisor) from our amount to Stripe's."""
    if currency in _TWO_DECIMALS_AT_STRIPE:
        return 100, 1
    if currency in _NO_DECIMALS_AT_STRIPE:
        return 1, 100
    return 1, 1


def to_stripe(money: Money) -> tuple[int, str]:
    """Convert to Stripe's amount and currency, in lower case.

    Raises ``RefusedError`` for an amount that Stripe's API cannot express.
    """
    times, divided_by = _factor(money.currency)
    amount, rest = divmod(money.amount * times, divided_by)
    if rest:
        raise RefusedError(f"Stripe takes no fractions of {money.currency}: {money}")
    if decimals(money.currency) == 3 and amount % 10:
        raise RefusedError(f"Stripe wants the last digit of {money.currency} to be 0: {money}")
    return amount, money.currency.lower()


def from_stripe(amount: int, currency: str) -> Money:
    """Convert from Stripe's amount and currency.

    Raises ``ValueError`` when it is not a whole number of our minor units.
    """
    times, divided_by = _factor(currency.upper())
    ours, rest = divmod(amount * divided_by, times)
    if rest:
        raise ValueError(f"{amount} is not a whole amount of {currency}")
    return Money(ours, currency.upper())
