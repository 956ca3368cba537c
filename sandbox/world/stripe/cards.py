"""The test cards of Stripe's "Testing" page, and their behaviour.

A test card is named as a payment method (`pm_card_visa`), as a token (`tok_visa`) or by its number.
`visa_` in a name is optional.

`pm_sandbox_processing` is the sandbox's own, because Stripe has no such test card: a charge on it
stays `processing` until `POST /sandbox/payment_intents/{id}/settle` with `{"outcome": "succeed"}`
or `"fail"`.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from sandbox.world.state_store import JsonObject

DECLINE_MESSAGES: Final = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "lost_card": "Your card was declined.",
    "stolen_card": "Your card was declined.",
    "fraudulent": "Your card was declined.",
    "card_velocity_exceeded": (
        "Your card was declined for making repeated attempts too frequently or exceeding its "
        "amount limit."
    ),
    "do_not_honor": "Your card was declined.",
    "authentication_required": (
        "Your card was declined. This transaction requires authentication."
    ),
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "incorrect_number": "Your card number is incorrect.",
    "test_mode_live_card": (
        "Your card was declined. Your request was in test mode, but used a non test (live) card. "
        "For a list of valid test cards, visit: https://stripe.com/docs/testing."
    ),
    "processing_error": (
        "An error occurred while processing your card. Try again in a little bit."
    ),
}

_OWN_CODE: Final = {
    "expired_card": "exp_month",
    "incorrect_cvc": "cvc",
    "incorrect_number": "number",
    "processing_error": None,
    "authentication_required": None,
}
"""Declines whose error code is not `card_declined`, with the `param` of the error."""


@dataclass(frozen=True)
class Card:
    """A test card with the outcome of a charge, an authentication and a refund.

    `authentication` is `always`, `unless_set_up` (off session it is required until the card was set
    up, on session always) or `on_session`. `attaches` is False for a declined card that cannot be
    saved for a customer either.
    """

    name: str
    number: str
    brand: str = "visa"
    decline: str | None = None
    authentication: str | None = None
    refund: str = "succeeded"
    slow: bool = False  # processing until the bank has decided
    attaches: bool = True
    disputes: tuple[str, ...] = ()  # reasons; "inquiry" is a question of the bank's, not a dispute
    is_reported: bool = False  # an early fraud warning follows the charge
    risk: str = "normal"  # "elevated" is put into review

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        """The same for every payment method with this number."""
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]

    def requires_authentication(self, *, off_session: bool, is_set_up: bool) -> bool:
        if self.authentication == "unless_set_up":
            return not (off_session and is_set_up)
        return self.authentication == "always" or (
            self.authentication == "on_session" and not off_session
        )

    def details(self) -> JsonObject:
        return {
            "brand": self.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass",
            },
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": self.fingerprint,
            "funding": "credit",
            "last4": self.last4,
        }


def decline_error(decline: str) -> JsonObject:
    """The `error` object of a decline, as `last_payment_error` and the 402 show it.

    `decline` is a decline code ("Decline codes"), or one of the error codes in `_OWN_CODE`.
    """
    message = DECLINE_MESSAGES.get(decline, "Your card was declined.")
    error: JsonObject = {"type": "card_error", "message": message}
    if decline in _OWN_CODE:
        error |= {"code": decline, "param": _OWN_CODE[decline]}
        if decline == "authentication_required":
            error["decline_code"] = decline
    else:
        error |= {"code": "card_declined", "decline_code": decline}
    error["doc_url"] = f"https://stripe.com/docs/error-codes/{error['code'].replace('_', '-')}"
    return {name: value for name, value in error.items() if value is not None}


def _declined(name: str, number: str, decline: str) -> Card:
    return Card(name, number, decline=decline, attaches=False)


_CARDS: Final = (
    Card("pm_card_visa", "4242424242424242"),
    Card("pm_card_visa_debit", "4000056655665556"),
    Card("pm_card_mastercard", "5555555555554444", "mastercard"),
    Card("pm_card_mastercard_debit", "5200828282828210", "mastercard"),
    Card("pm_card_amex", "371449635398431", "amex"),
    Card("pm_card_discover", "6011111111111117", "discover"),
    Card("pm_card_diners", "3056930009020004", "diners"),
    Card("pm_card_jcb", "3566002020360505", "jcb"),
    Card("pm_card_unionpay", "6200000000000005", "unionpay"),
    Card("pm_card_bypassPending", "4000000000000077"),
    _declined("pm_card_visa_chargeDeclined", "4000000000000002", "generic_decline"),
    _declined(
        "pm_card_visa_chargeDeclinedInsufficientFunds", "4000000000009995", "insufficient_funds"
    ),
    _declined("pm_card_visa_chargeDeclinedLostCard", "4000000000009987", "lost_card"),
    _declined("pm_card_visa_chargeDeclinedStolenCard", "4000000000009979", "stolen_card"),
    _declined("pm_card_chargeDeclinedExpiredCard", "4000000000000069", "expired_card"),
    _declined("pm_card_chargeDeclinedIncorrectCvc", "4000000000000127", "incorrect_cvc"),
    _declined("pm_card_chargeDeclinedProcessingError", "4000000000000119", "processing_error"),
    _declined("pm_card_chargeDeclinedFraudulent", "4100000000000019", "fraudulent"),
    _declined("pm_card_radarBlock", "4100000000000019", "fraudulent"),
    _declined("pm_card_riskLevelHighest", "4000000000004954", "fraudulent"),
    _declined(
        "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        "4000000000006975",
        "card_velocity_exceeded",
    ),
    # "Decline after attaching": it can be saved, and every charge of it fails.
    Card("pm_card_chargeCustomerFail", "4000000000000341", decline="generic_decline"),
    Card("pm_card_authenticationRequired", "4000002760003184", authentication="always"),
    Card("pm_card_threeDSecure2Required", "4000000000003220", authentication="always"),
    Card("pm_card_threeDSecureRequired", "4000000000003063", authentication="always"),
    Card("pm_card_threeDSecureOptional", "4000000000003055"),
    Card(
        "pm_card_threeDSecureRequiredChargeDeclined",
        "4000008400001629",
        decline="generic_decline",
        authentication="always",
    ),
    Card(
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "4000008260003178",
        decline="insufficient_funds",
        authentication="always",
    ),
    Card(
        "pm_card_authenticationRequiredOnSetup", "4000002500003155", authentication="unless_set_up"
    ),
    Card(
        "pm_card_authenticationRequiredSetupForOffSession",
        "4000003800000446",
        authentication="on_session",
    ),
    Card("pm_card_pendingRefund", "4000000000007726", refund="pending"),
    Card("pm_card_refundFail", "4000000000005126", refund="failed"),
    Card("pm_card_createDispute", "4000000000000259", disputes=("fraudulent",)),
    Card(
        "pm_card_createDisputeProductNotReceived",
        "4000000000002685",
        disputes=("product_not_received",),
    ),
    Card("pm_card_createDisputeInquiry", "4000000000001976", disputes=("inquiry",)),
    Card(
        "pm_card_createMultipleDisputes", "4000000404000079", disputes=("fraudulent", "fraudulent")
    ),
    Card("pm_card_createIssuerFraudRecord", "4000000000005423", is_reported=True),
    Card("pm_card_riskLevelElevated", "4000000000009235", risk="elevated"),
    Card("pm_sandbox_processing", "4000000000000000", slow=True),
)

_BY_NAME: Final = {card.name.replace("pm_card_visa_", "pm_card_"): card for card in _CARDS} | {
    spelling: card
    for card in _CARDS
    for spelling in (card.name, card.name.replace("pm_card_", "pm_card_visa_"))
}
_BY_TOKEN: Final = {
    name.replace("pm_card_", "tok_"): card
    for name, card in _BY_NAME.items()
    if name.startswith("pm_card_")
}
# Reversed, because of two cards with one number the first is the one that is meant.
_BY_NUMBER: Final = {card.number: card for card in reversed(_CARDS)}
_BY_FINGERPRINT: Final = {card.fingerprint: card for card in reversed(_CARDS)}


def find_card(name: str) -> Card | None:
    """The test card with this name, `pm_card_visa`."""
    return _BY_NAME.get(name)


def card_of_token(token: str) -> Card | None:
    """The test card with this token, `tok_visa`."""
    return _BY_TOKEN.get(token)


def card_of_number(number: str) -> Card | None:
    """The test card with this number; spaces are allowed."""
    return _BY_NUMBER.get(re.sub(r"\s", "", number))


def card_of(payment_method: JsonObject) -> Card:
    """The test card of a PaymentMethod."""
    return _BY_FINGERPRINT[payment_method["card"]["fingerprint"]]


def has_check_digit(number: str) -> bool:
    """Whether the last digit fits the others (Luhn)."""
    digits = [int(digit) for digit in re.sub(r"\s", "", number)[::-1] if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
