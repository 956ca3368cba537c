"""Stripe's error envelope ("Errors" and "Error codes" in the API reference).

Every function returns an `ApiError` to raise. `began=False` marks what Stripe calls failed
validation: no response is stored for the idempotency key.
"""

from typing import Final

from sandbox.world.request_pipeline import ApiError, ApiResponse
from sandbox.world.state_store import JsonObject

INVALID: Final = "invalid_request_error"


def envelope(kind: str, message: str, **more: object) -> JsonObject:
    error: JsonObject = {"type": kind, "message": message}
    if code := more.get("code"):
        error["doc_url"] = f"https://stripe.com/docs/error-codes/{str(code).replace('_', '-')}"
    error |= {name: value for name, value in more.items() if value is not None}
    return {"error": error}


def invalid(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """400: a parameter is wrong."""
    body = envelope(INVALID, message, code=code, param=param)
    return ApiError(ApiResponse(400, body, began=False))


def missing(what: str, object_id: str, param: str, status: int = 404) -> ApiError:
    """The object does not exist: 404 if the path names it, 400 if the body does."""
    body = envelope(INVALID, f"No such {what}: '{object_id}'", code="resource_missing", param=param)
    return ApiError(ApiResponse(status, body, began=False))


def exclusive(names: tuple[str, ...]) -> ApiError:
    """400: parameters that exclude each other."""
    message = f"You may only specify one of these parameters: {', '.join(names)}."
    return invalid(message, code="parameters_exclusive", param=names[0])


def unauthorized(message: str, code: str | None = None) -> ApiError:
    """401: no key, or not a test key."""
    return ApiError(ApiResponse(401, envelope(INVALID, message, code=code), began=False))


def unexpected_state(message: str, intent: JsonObject) -> ApiError:
    """400 `payment_intent_unexpected_state`, with the intent in its present state."""
    code = "payment_intent_unexpected_state"
    return ApiError(ApiResponse(400, envelope(INVALID, message, code=code, payment_intent=intent)))


def not_possible(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """400: well-formed, but the object does not allow it (a refund beyond the charge, …)."""
    return ApiError(ApiResponse(400, envelope(INVALID, message, code=code, param=param)))


def card_error(error: JsonObject, intent: JsonObject | None = None) -> ApiError:
    """402: the card was declined; the error includes the intent, if one was charged."""
    about = {} if intent is None else {"payment_intent": intent}
    return ApiError(ApiResponse(402, {"error": {**error, **about}}))
