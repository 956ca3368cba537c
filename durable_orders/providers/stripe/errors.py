"""Mapping of the Stripe SDK's errors to the domain's (https://docs.stripe.com/api/errors).

    connection lost, timeout, 5xx, HTML       → NoAnswerError    retry with the same key
        replayed by Stripe for the same key   → RepeatedFailureError
    429, 409, lock timeouts                   → BusyError        the same; no try is used
    401, 403, the account is restricted       → LockedOutError   the same; needs a person
    402, the bank declines                    → CardDeclinedError   an answer
    400, 404, by their code (``error_codes``):
        the payment method                    → UnusableCardError   an answer
        the amount or its currency            → AmountRefusedError  an answer
        the customer whose card it is         → UnknownCustomerError   an answer
        the address for a receipt             → ReceiptRefusedError
        the payment is in another state       → UnexpectedStateError
        the authorization has expired         → HoldExpiredError
        there is no such object               → NoSuchObjectError
        anything else                         → RefusedError     our bug

The last ones and the answers are refusals for a caller that does not expect them.

The sentences name Stripe's codes and the id of the request, by which Stripe's dashboard shows all
of it, and repeat nothing that Stripe says in its own words: these quote keys, cards and customers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import stripe

from durable_orders.domain.ports import (
    AmountRefusedError,
    BusyError,
    CardDeclinedError,
    LockedOutError,
    NoAnswerError,
    ProviderError,
    RefusedError,
    UnknownCustomerError,
    UnusableCardError,
)
from durable_orders.providers.http_replies import bounded_code, failure_name, parse_retry_after
from durable_orders.providers.stripe.error_codes import MEANINGS, Meaning, meaning_of

_REFUSED: Final = (stripe.InvalidRequestError, stripe.IdempotencyError, stripe.CardError)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARAMETER: Final = re.compile(r"[a-z0-9_\[\]]{1,64}")
#: What of its words tells refusals apart that have no code.
_LOOKED_AT: Final = 2_000


class RepeatedFailureError(NoAnswerError):
    """Stripe replays an earlier failure of this key, and will until it forgets the key."""


class UnexpectedStateError(RefusedError):
    """The payment's state does not allow the operation, which may have been done already."""


class HoldExpiredError(RefusedError):
    """The authorization expired before it was captured."""


class ReceiptRefusedError(RefusedError):
    """Stripe sends no receipt to this address, and has done nothing else either."""


class NoSuchObjectError(RefusedError):
    """This account has no object of this id."""


def provider_error(operation: str, error: stripe.StripeError) -> ProviderError:
    """The error of `durable_orders.domain.ports` for ``error``; the message names ``operation``."""
    wait = parse_retry_after(error.headers)
    code = _code(error)
    where = f"{operation}, HTTP {error.http_status}" if error.http_status else operation
    if error.request_id and _REQUEST_ID.fullmatch(error.request_id):
        where += f", {error.request_id}"
    said = f"({where}): {code or _name(error)}{_about(error)}"
    match _meaning(error):
        case Meaning.ACCOUNT if isinstance(error, stripe.AuthenticationError):
            # Without Stripe's message, which quotes a part of the key.
            why = f"Stripe refuses our key ({where}): check STRIPE_API_KEY"
            return LockedOutError(why, retry_after=wait)
        case Meaning.ACCOUNT:
            why = "Stripe does not let our key or our account do this"
            advice = "Check STRIPE_API_KEY and the account in Stripe's dashboard"
            return LockedOutError(f"{why} {said}. {advice}", retry_after=wait)
        case Meaning.LOAD:
            return BusyError(f"Stripe is busy {said}", retry_after=wait)
        case Meaning.NO_ANSWER:
            no_answer = RepeatedFailureError if was_repeated(error.headers) else NoAnswerError
            return no_answer(f"Stripe gave no answer {said}", retry_after=wait)
        case meaning:
            return _refusal(meaning, error, f"Stripe refuses {said}")


def _name(error: stripe.StripeError) -> str:
    """What an error without a code is: of a connection, what broke it off."""
    is_connection = isinstance(error, stripe.APIConnectionError) and error.__cause__
    return failure_name(error.__cause__) if is_connection else type(error).__name__


def _about(error: stripe.StripeError) -> str:
    """The parameter that is refused, if Stripe names one."""
    parameter = getattr(error, "param", None)
    is_one = isinstance(parameter, str) and _PARAMETER.fullmatch(parameter)
    return f", parameter {parameter}" if is_one else ""


def _meaning(error: stripe.StripeError) -> Meaning:
    """What an error means: by its HTTP status where that says enough, else by its code."""
    code = _code(error)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Meaning.ACCOUNT
    if error.http_status in {409, 429} or MEANINGS.get(code) is Meaning.LOAD:
        return Meaning.LOAD
    if not isinstance(error, _REFUSED):
        return Meaning.NO_ANSWER
    message = error.user_message
    words = message[:_LOOKED_AT] if isinstance(message, str) else ""
    return meaning_of(code, getattr(error, "param", None), words)


def was_repeated(headers: Mapping[str, str] | None) -> bool:
    """Whether these headers mark a response that Stripe replays for an idempotency key."""
    return (headers or {}).get("idempotent-replayed") == "true"


def _refusal(meaning: Meaning, error: stripe.StripeError, sentence: str) -> RefusedError:
    code = _code(error)
    plain = {
        Meaning.HOLD_EXPIRED: HoldExpiredError,
        Meaning.STATE: UnexpectedStateError,
        Meaning.RECEIPT: ReceiptRefusedError,
    }
    if (kind := plain.get(meaning)) is not None:
        return kind(sentence)
    if meaning is Meaning.AMOUNT:
        return AmountRefusedError(sentence, code=code or "amount_refused")
    if meaning is Meaning.CUSTOMER:
        return UnknownCustomerError(sentence, code=code or "customer_unknown")
    if isinstance(error, stripe.CardError) and _type(error) == "card_error":
        declined = bounded_code(getattr(error.error, "decline_code", None))
        return CardDeclinedError(sentence, code=declined or code or "card_declined")
    if meaning is Meaning.CARD:
        return UnusableCardError(sentence, code=code or "unusable_card")
    return (NoSuchObjectError if code == "resource_missing" else RefusedError)(sentence)


def _code(error: stripe.StripeError) -> str:
    """Stripe's code for the error, which the SDK leaves out of ``error.code`` for some classes."""
    return bounded_code(error.code or getattr(error.error, "code", None))


def _type(error: stripe.StripeError) -> str:
    return str(getattr(error.error, "type", None) or "")
