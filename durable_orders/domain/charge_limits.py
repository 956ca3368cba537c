"""Limits of a charge, per currency: the smallest and the largest amount, and the step.

From https://docs.stripe.com/currencies ("Minimum and maximum charge amounts", "Special cases",
"Three-decimal currencies"), looked up on 2026-11-30. Amounts here are minor units of ISO 4217, as
everywhere in the domain; ``providers.stripe.money`` converts them.

Stripe applies the minimum of the *settlement* currency, after conversion, and card networks have
limits of their own. Neither is known when an order is placed. The currency's own minimum is asked
for then; what passes may still be refused when it is charged, and that is an answer
(``AmountRefused``).
"""

from __future__ import annotations

from typing import Final

from durable_orders.domain.money import Money, decimals

#: Currencies that are not listed have no published minimum: one step is enough.
_SMALLEST: Final = {
    "AED": 2_00,
    "AUD": 50,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 15_00,
    "DKK": 2_50,
    "EUR": 50,
    "GBP": 30,
    "HKD": 4_00,
    "HUF": 175_00,
    "INR": 50,
    "JPY": 50,
    "MXN": 10_00,
    "MYR": 2_00,
    "NOK": 3_00,
    "NZD": 50,
    "PLN": 2_00,
    "RON": 2_00,
    "SEK": 3_00,
    "SGD": 50,
    "THB": 10_00,
    "USD": 50,
}

#: Digits of the largest amount, in the units of Stripe's API. Where sources differ (COP, INR), the
#: larger number: an amount that Stripe refuses all the same is an answer later.
_DIGITS: Final = {"COP": 10, "IDR": 12, "INR": 9}
_USUAL_DIGITS: Final = 8

#: ISO 4217 has no decimals for these, and Stripe's API takes two, both zero. HUF and TWD, the other
#: special cases, have two decimals in a charge; they are whole numbers in a payout only.
TWO_DECIMALS_AT_STRIPE: Final = frozenset(["ISK", "UGX"])
#: ISO 4217 has two decimals for these, and Stripe's API takes whole units.
NO_DECIMALS_AT_STRIPE: Final = frozenset(["MGA"])


def step(currency: str) -> int:
    """Minor units of ``currency`` that every charged or refunded amount is a multiple of."""
    if currency in NO_DECIMALS_AT_STRIPE:
        return 100
    # Stripe wants the last digit of currencies with three decimals to be 0.
    return 10 if decimals(currency) == 3 else 1


def smallest(currency: str) -> Money:
    """The smallest amount of ``currency`` that can be charged."""
    return Money(_SMALLEST.get(currency, step(currency)), currency)


def largest(currency: str) -> Money:
    """The largest amount of ``currency`` that can be charged."""
    amount = 10 ** _DIGITS.get(currency, _USUAL_DIGITS) - 1
    if currency in TWO_DECIMALS_AT_STRIPE:
        amount //= 100
    elif currency in NO_DECIMALS_AT_STRIPE:
        amount *= 100
    return Money(amount - amount % step(currency), currency)


def step_problem(amount: Money) -> str | None:
    """Why ``amount`` cannot be charged or given back as it is, in a sentence; None when it can."""
    unit = step(amount.currency)
    if amount.amount % unit == 0:
        return None
    return (
        f"{amount} cannot be moved on a card: amounts of {amount.currency} go in steps of "
        f"{Money(unit, amount.currency)}"
    )


def charge_problem(amount: Money) -> str | None:
    """Why ``amount`` cannot be charged, in a sentence; None when it can, as far as is known."""
    least, most = smallest(amount.currency), largest(amount.currency)
    if not least <= amount:
        return f"{amount} is too little for a card: the smallest charge is {least}"
    if not amount <= most:
        return f"{amount} is too much for a card: the largest charge is {most}"
    return step_problem(amount)
