"""Conversion between our amounts and Stripe's (https://docs.stripe.com/currencies).

Both are minor units of ISO 4217, with a few exceptions on Stripe's side.
"""

from __future__ import annotations

from typing import Final

from durable_orders.domain.charge_limits import (
    NO_DECIMALS_AT_STRIPE,
    TWO_DECIMALS_AT_STRIPE,
    step_problem,
)
from durable_orders.domain.money import Money
from durable_orders.domain.ports import AmountRefusedError

#: Stripe's own amounts have 12 digits at most.
_MOST: Final = 10**15


def _factor(currency: str) -> tuple[int, int]:
    """(multiplier, divisor) from our amount to Stripe's."""
    if currency in TWO_DECIMALS_AT_STRIPE:
        return 100, 1
    if currency in NO_DECIMALS_AT_STRIPE:
        return 1, 100
    return 1, 1


def to_stripe(money: Money) -> tuple[int, str]:
    """Convert to Stripe's amount and currency, in lower case.

    Raises ``AmountRefusedError`` for an amount that Stripe's API cannot express.
    """
    if problem := step_problem(money):
        raise AmountRefusedError(problem, code="amount_not_chargeable")
    times, divided_by = _factor(money.currency)
    return money.amount * times // divided_by, money.currency.lower()


def from_stripe(amount: int, currency: str) -> Money:
    """Convert from Stripe's amount and currency.

    Raises ``ValueError`` when it is not a whole number of our minor units, or more than anybody
    pays.
    """
    if abs(amount) > _MOST:
        raise ValueError("an amount that nobody pays")
    times, divided_by = _factor(currency.upper())
    ours, rest = divmod(amount * divided_by, times)
    if rest:
        raise ValueError(f"{amount} is not a whole amount of {currency}")
    return Money(ours, currency.upper())
