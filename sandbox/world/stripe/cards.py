"""The test payment methods of Stripe's "Testing" page, and their behaviour.

They are given by name, never by card number. `visa_` in a name is optional.

`pm_sandbox_processing` is the sandbox's own, because Stripe has no such test card: a charge on it
stays `processing` until `POST /sandbox/payment_intents/{id}/settle` with `{"outcome": "succeed"}`
or `"fail"`.
"""

import hashlib
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
    """A test payment method with the outcome of a charge, an authentication and a refund."""

    name: str
    last4: str
    brand: str = "visa"
    decline: str | None = None
    authentication: str | None = None  # "always", or "off_session" (only without the customer)
    refund: str = "succeeded"
    slow: bool = False  # processing until the bank has decided

    @property
    def id(self) -> str:
        """The id of the PaymentMethod object, the same in every stand-in."""
        return "pm_1" + hashlib.sha256(self.name.encode()).hexdigest()[:23]

    def to_json(self, created: int) -> JsonObject:
        return {
            "id": self.id,
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": {"address": None, "email": None, "name": None, "phone": None},
            "card": self.details(),
            "created": created,
            "customer": None,
            "livemode": False,
            "metadata": {},
            "type": "card",
        }

    def details(self) -> JsonObject:
        return {
            "brand": self.brand,
            "checks": {"cvc_check": "pass"},
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": hashlib.sha256(self.last4.encode()).hexdigest()[:16],
            "funding": "credit",
            "last4": self.last4,
            "three_d_secure_usage": {"supported": True},
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


_CARDS: Final = (
    Card("pm_card_visa", "4242"),
    Card("pm_card_visa_debit", "5556"),
    Card("pm_card_mastercard", "4444", "mastercard"),
    Card("pm_card_mastercard_debit", "3222", "mastercard"),
    Card("pm_card_amex", "8431", "amex"),
    Card("pm_card_discover", "1117", "discover"),
    Card("pm_card_diners", "0004", "diners"),
    Card("pm_card_jcb", "0505", "jcb"),
    Card("pm_card_unionpay", "0005", "unionpay"),
    Card("pm_card_bypassPending", "0077"),
    Card("pm_card_visa_chargeDeclined", "0002", decline="generic_decline"),
    Card("pm_card_visa_chargeDeclinedInsufficientFunds", "9995", decline="insufficient_funds"),
    Card("pm_card_visa_chargeDeclinedLostCard", "9987", decline="lost_card"),
    Card("pm_card_visa_chargeDeclinedStolenCard", "9979", decline="stolen_card"),
    Card("pm_card_chargeDeclinedExpiredCard", "0069", decline="expired_card"),
    Card("pm_card_chargeDeclinedIncorrectCvc", "0127", decline="incorrect_cvc"),
    Card("pm_card_chargeDeclinedProcessingError", "0119", decline="processing_error"),
    Card("pm_card_chargeDeclinedFraudulent", "0019", decline="fraudulent"),
    Card("pm_card_radarBlock", "0019", decline="fraudulent"),
    Card(
        "pm_card_visa_chargeDeclinedVelocityLimitExceeded", "6975", decline="card_velocity_exceeded"
    ),
    Card("pm_card_chargeCustomerFail", "0341", decline="generic_decline"),
    Card("pm_card_authenticationRequired", "3184", authentication="always"),
    Card("pm_card_threeDSecure2Required", "3220", authentication="always"),
    Card("pm_card_threeDSecureRequired", "3063", authentication="always"),
    Card("pm_card_threeDSecureOptional", "3055"),
    Card(
        "pm_card_threeDSecureRequiredChargeDeclined",
        "1629",
        decline="generic_decline",
        authentication="always",
    ),
    Card(
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "3178",
        decline="insufficient_funds",
        authentication="always",
    ),
    Card("pm_card_authenticationRequiredOnSetup", "3155", authentication="always"),
    Card("pm_card_pendingRefund", "7726", refund="pending"),
    Card("pm_card_refundFail", "5126", refund="failed"),
    Card("pm_sandbox_processing", "0000", slow=True),
)

_BY_NAME: Final = {card.name.replace("pm_card_visa_", "pm_card_"): card for card in _CARDS} | {
    spelling: card
    for card in _CARDS
    for spelling in (card.id, card.name, card.name.replace("pm_card_", "pm_card_visa_"))
}


def find_card(name: str) -> Card | None:
    """The test payment method with this name or PaymentMethod id."""
    return _BY_NAME.get(name)
