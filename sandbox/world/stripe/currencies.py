"""Amounts per currency (https://docs.stripe.com/currencies).

At Stripe the minimum is that of the account's settlement currency, after conversion. The stand-in
settles in every currency of the table, so that nothing is converted; elsewhere one step is enough.
"""

from typing import Final

from sandbox.world.stripe.errors import invalid

SUPPORTED: Final = frozenset([
    "usd", "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd",
    "bdt", "bgn", "bhd", "bif", "bmd", "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad",
    "cdf", "chf", "clp", "cny", "cop", "crc", "cve", "czk", "djf", "dkk", "dop", "dzd", "egp",
    "etb", "eur", "fjd", "fkp", "gbp", "gel", "gip", "gmd", "gnf", "gtq", "gyd", "hkd", "hnl",
    "htg", "huf", "idr", "ils", "inr", "isk", "jmd", "jod", "jpy", "kes", "kgs", "khr", "kmf",
    "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad", "mdl", "mga", "mkd",
    "mmk", "mnt", "mop", "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok",
    "npr", "nzd", "omr", "pab", "pen", "pgk", "php", "pkr", "pln", "pyg", "qar", "ron", "rsd",
    "rub", "rwf", "sar", "sbd", "scr", "sek", "sgd", "shp", "sle", "sos", "srd", "std", "szl",
    "thb", "tjs", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "uyu", "uzs", "vnd",
    "vuv", "wst", "xaf", "xcd", "xcg", "xof", "xpf", "yer", "zar", "zmw",
])  # fmt: skip

_NO_DECIMALS: Final = frozenset([
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
])  # fmt: skip
_THREE_DECIMALS: Final = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
#: Without decimals, but written with two that are zero.
_WHOLE_HUNDREDS: Final = frozenset({"isk", "ugx"})

#: "Minimum and maximum charge amounts", in the smallest unit.
_MINIMUM: Final = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
    "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
#: Digits of the largest amount. For four currencies the page gives a number of digits and an
#: example that has more: the smaller one is taken.
_DIGITS: Final = {"idr": 12, "inr": 9, "lbp": 11, "cop": 10, "huf": 10, "jpy": 10}


def decimals(currency: str) -> int:
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def check_amount(amount: int, currency: str) -> None:
    """Raise Stripe's 400 if this amount cannot be charged in this currency."""
    if currency not in SUPPORTED:
        supported = ", ".join(sorted(SUPPORTED))
        message = f"Invalid currency: {currency}. Stripe currently supports these currencies: "
        raise invalid(message + supported, param="currency")
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, code="parameter_invalid_integer", param="amount")
    check_step(amount, currency)
    if amount < (minimum := _MINIMUM.get(currency, 1)):
        message = f"Amount must be at least {_written(minimum, currency)}"
        raise invalid(message, code="amount_too_small", param="amount")
    if amount > (maximum := 10 ** _DIGITS.get(currency, 8) - 1):
        message = f"Amount must be no more than {_written(maximum, currency)}"
        raise invalid(message, code="amount_too_large", param="amount")


def check_step(amount: int, currency: str) -> None:
    """Raise Stripe's 400 for digits that the currency does not have."""
    step = 10 if currency in _THREE_DECIMALS else 100 if currency in _WHOLE_HUNDREDS else 1
    if amount % step:
        message = f"Invalid amount: {currency} amounts must be evenly divisible by {step}."
        raise invalid(message, code="invalid_charge_amount", param="amount")


def _written(amount: int, currency: str) -> str:
    places = decimals(currency)
    return f"{amount / 10**places:.{places}f} {currency}"
