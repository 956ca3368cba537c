"""Amounts as Stripe writes them (https://docs.stripe.com/currencies).

Mostly the minor units of ISO 4217, like ours. The exceptions are Stripe's.
"""

from __future__ import annotations

from typing import Final

from orders.money import Money, decimals
from orders.ports import RefusedError

#: ISO gives these no decimals; Stripe's API still takes them with two, both zero.
_TWO_DECIMALS_AT_STRIPE: Final = frozenset(["ISK", "UGX"])
#: ISO gives the ariary two decimals; Stripe's API takes it in whole ariary.
_NO_DECIMALS_AT_STRIPE: Final = frozenset(["MGA"])


def _factor(currency: str) -> tuple[int, int]:
    """(times, divided by) that lead from our amount to Stripe's."""
    if currency in _TWO_DECIMALS_AT_STRIPE:
        return 100, 1
    if currency in _NO_DECIMALS_AT_STRIPE:
        return 1, 100
    return 1, 1


def to_stripe(money: Money) -> tuple[int, str]:
    """Stripe's amount and currency (in small letters) for ``money``.

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
    """The money that Stripe's ``amount`` of ``currency`` is.

    Raises ``ValueError`` when it is not a whole number of our minor units.
    """
    times, divided_by = _factor(currency.upper())
    ours, rest = divmod(amount * divided_by, times)
    if rest:
        raise ValueError(f"{amount} is not a whole amount of {currency}")
    return Money(ours, currency.upper())
