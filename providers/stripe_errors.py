"""What an error of Stripe's SDK means for us (https://docs.stripe.com/api/errors).

    connection lost, timeout, 5xx, HTML, 409, 429 → NoAnswerError    try again, same key
        which Stripe had stored for the key       → RepeatedFailureError
    401, 403                                      → LockedOutError   the same, and tell a person
    other 4xx (a key used with other parameters)  → RefusedError     our bug
        402, the card is declined                 → CardDeclinedError
        the payment is not in the right state     → UnexpectedStateError
        what was held is gone                     → HoldExpiredError

The last three are answers to whoever asks the question that they fit, and refusals to all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import stripe

from orders.ports import LockedOutError, NoAnswerError, ProviderError, RefusedError
from providers.replies import wait_asked, without_private

#: Codes that mean "not now" even where the class or the status says that the request is wrong.
_NOT_NOW: Final = frozenset(["idempotency_key_in_use", "lock_timeout", "rate_limit"])
_OUR_FAULT: Final = (stripe.InvalidRequestError, stripe.IdempotencyError)
_HOLD_EXPIRED: Final = frozenset(
    ["capture_charge_authorization_expired", "charge_expired_for_capture"]
)


class RepeatedFailureError(NoAnswerError):
    """Stripe repeats how it failed before, and will for this key until it forgets the key."""


class CardDeclinedError(RefusedError):
    """The bank says no. ``code`` is its decline code, or else Stripe's code for the error."""

    def __init__(self, sentence: str, *, code: str, message: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.message = message


class UnexpectedStateError(RefusedError):
    """The payment is in a state in which this cannot be done; it may have been done already."""


class HoldExpiredError(RefusedError):
    """The bank let go of the money before it was captured."""


def provider_error(asking: str, error: stripe.StripeError) -> ProviderError:
    """The error of `orders.ports` that ``error`` is; ``asking`` names what was asked of Stripe."""
    wait = wait_asked(error.headers)
    where = f"{asking}, HTTP {error.http_status}" if error.http_status else asking
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        # Without Stripe's own words: they quote a part of the key.
        return LockedOutError(
            f"Stripe refuses our key ({where}): check STRIPE_API_KEY", retry_after=wait
        )
    code = _code(error)
    if error.request_id:
        where += f", {error.request_id}"
    message = without_private(error.user_message or "")
    refusal = f"Stripe refuses ({where}): {code}: {message}"
    if code in _HOLD_EXPIRED:
        return HoldExpiredError(refusal)
    if isinstance(error, stripe.CardError):
        decline_code = getattr(error.error, "decline_code", None) or code
        return CardDeclinedError(refusal, code=decline_code, message=message)
    if isinstance(error, _OUR_FAULT) and code not in _NOT_NOW:
        if code == "payment_intent_unexpected_state":
            return UnexpectedStateError(refusal)
        return RefusedError(refusal)
    no_answer = RepeatedFailureError if was_repeated(error.headers) else NoAnswerError
    return no_answer(f"Stripe gave no answer ({where}): {code}: {message}", retry_after=wait)


def was_repeated(headers: Mapping[str, str] | None) -> bool:
    """Whether these headers say that Stripe repeats its first answer to an idempotency key."""
    return (headers or {}).get("idempotent-replayed") == "true"


def _code(error: stripe.StripeError) -> str:
    """Stripe's code for the error, which the SDK leaves out of ``error.code`` for some classes."""
    return error.code or getattr(error.error, "code", None) or type(error).__name__
