"""Amounts of money: integers in minor units, with their currency."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NO_DECIMALS: Final = frozenset(
    {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
)
_AMOUNT: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_THREE_DECIMALS: Final = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


class CurrencyMismatchError(ValueError):
    """Two amounts of different currencies were combined."""


def decimals(currency: str) -> int:
    """Number of decimal places of ``currency``: 0, 2 or 3 (ISO 4217, list one)."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


@dataclass(frozen=True)
class Money:
    """``amount`` minor units (cents, yen, fils) of the ISO 4217 ``currency``, in capitals.

    Raises ``ValueError`` for anything that is not a whole number or not three capital letters.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        # Amounts come from JSON: a float would lose cents, and True is an int.
        if type(self.amount) is not int:
            raise ValueError(f"an amount is a whole number of minor units, not {self.amount!r}")
        if not _CURRENCY.fullmatch(self.currency):
            given = repr(self.currency[:80])
            raise ValueError(f"a currency is three capital letters (EUR), not {given}")

    @classmethod
    def parse(cls, written: str, currency: str) -> Money:
        """Parse an amount of ``currency`` as people write it: "500" or "500.00".

        Raises ``ValueError`` for anything but digits, with no more decimals than the currency has.
        """
        match = _AMOUNT.fullmatch(written)
        whole, fraction = match.groups(default="") if match else ("", "")
        places = decimals(currency)
        if not whole or len(fraction) > places:
            example = cls(500 * 10**places, currency)
            raise ValueError(f"{written!r} is not an amount in the way that {example} is one")
        return cls(int(whole + fraction.ljust(places, "0")), currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.amount * quantity, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __str__(self) -> str:
        places = decimals(self.currency)
        sign = "-" if self.amount < 0 else ""
        digits = str(abs(self.amount)).rjust(places + 1, "0")
        whole = digits[:-places] if places else digits
        fraction = f".{digits[-places:]}" if places else ""
        return f"{sign}{whole}{fraction} {self.currency}"

    def __bool__(self) -> bool:
        return self.amount != 0

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatchError(f"{self} and {other} are of different currencies")
        return other.amount


def total(amounts: Iterable[Money], currency: str) -> Money:
    """The sum of ``amounts``, zero of ``currency`` when there are none."""
    return sum(amounts, start=Money(0, currency))
