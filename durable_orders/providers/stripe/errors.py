"""Mapping of the Stripe SDK's errors to the domain's (https://docs.stripe.com/api/errors).

    connection lost, timeout, 5xx, HTML, 409, 429 → NoAnswerError    retry with the same key
        replayed by Stripe for the same key       → RepeatedFailureError
    401, 403                                      → LockedOutError   the same; needs a person
    other 4xx (a key used with other parameters)  → RefusedError     our bug
        402, the card is declined                 → CardDeclinedError
        the payment is in another state           → UnexpectedStateError
        the authorization has expired             → HoldExpiredError

The caller whose request can get one of the last three turns it into an answer. For any other
caller it is a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import stripe

from durable_orders.domain.ports import LockedOutError, NoAnswerError, ProviderError, RefusedError
from durable_orders.providers.http_replies import parse_retry_after, without_private

#: Transient, although the error class or the HTTP status says that the request is wrong.
_TRANSIENT: Final = frozenset(["idempotency_key_in_use", "lock_timeout", "rate_limit"])
_WRONG_REQUEST: Final = (stripe.InvalidRequestError, stripe.IdempotencyError)
_HOLD_EXPIRED: Final = frozenset(
    ["capture_charge_authorization_expired", "charge_expired_for_capture"]
)


class RepeatedFailureError(NoAnswerError):
    """Stripe replays an earlier failure of this key, and will until it forgets the key."""


class CardDeclinedError(RefusedError):
    """The card was declined. ``code`` is the bank's decline code, or else Stripe's error code."""

    def __init__(self, sentence: str, *, code: str, message: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.message = message


class UnexpectedStateError(RefusedError):
    """The payment's state does not allow the operation, which may have been done already."""


class HoldExpiredError(RefusedError):
    """The authorization expired before it was captured."""


def provider_error(operation: str, error: stripe.StripeError) -> ProviderError:
    """The error of `durable_orders.domain.ports` for ``error``; the message names ``operation``."""
    wait = parse_retry_after(error.headers)
    where = f"{operation}, HTTP {error.http_status}" if error.http_status else operation
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        # Without Stripe's message, which quotes a part of the key.
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
    if isinstance(error, _WRONG_REQUEST) and code not in _TRANSIENT:
        if code == "payment_intent_unexpected_state":
            return UnexpectedStateError(refusal)
        return RefusedError(refusal)
    no_answer = RepeatedFailureError if was_repeated(error.headers) else NoAnswerError
    return no_answer(f"Stripe gave no answer ({where}): {code}: {message}", retry_after=wait)


def was_repeated(headers: Mapping[str, str] | None) -> bool:
    """Whether these headers mark a response that Stripe replays for an idempotency key."""
    return (headers or {}).get("idempotent-replayed") == "true"


def _code(error: stripe.StripeError) -> str:
    """Stripe's code for the error, which the SDK leaves out of ``error.code`` for some classes."""
    return error.code or getattr(error.error, "code", None) or type(error).__name__
