"""Stripe's error envelope ("Errors" and "Error codes" in the API reference).

Every function makes a `Refused` to raise. `began=False` marks what Stripe calls failed
validation: no answer is kept under the idempotency key.
"""

from typing import Final

from sandbox.world.request_pipeline import Answer, Refused
from sandbox.world.state_store import Doc

INVALID: Final = "invalid_request_error"


def envelope(kind: str, message: str, **more: object) -> Doc:
    error: Doc = {"type": kind, "message": message}
    if code := more.get("code"):
        error["doc_url"] = f"https://stripe.com/docs/error-codes/{str(code).replace('_', '-')}"
    error |= {name: value for name, value in more.items() if value is not None}
    return {"error": error}


def invalid(message: str, *, code: str | None = None, param: str | None = None) -> Refused:
    """400: a parameter is wrong."""
    body = envelope(INVALID, message, code=code, param=param)
    return Refused(Answer(400, body, began=False))


def missing(what: str, thing_id: str, param: str, status: int = 404) -> Refused:
    """404 for an object named in the path, 400 for one named in the body: there is none."""
    body = envelope(INVALID, f"No such {what}: '{thing_id}'", code="resource_missing", param=param)
    return Refused(Answer(status, body, began=False))


def unauthorized(message: str, code: str | None = None) -> Refused:
    """401: no key, or not a test key."""
    return Refused(Answer(401, envelope(INVALID, message, code=code), began=False))


def unexpected_state(message: str, intent: Doc) -> Refused:
    """400 `payment_intent_unexpected_state`, carrying the intent as it is."""
    code = "payment_intent_unexpected_state"
    return Refused(Answer(400, envelope(INVALID, message, code=code, payment_intent=intent)))


def not_possible(message: str, *, code: str | None = None, param: str | None = None) -> Refused:
    """400: well-formed, but the object does not allow it (a refund beyond the charge, …)."""
    return Refused(Answer(400, envelope(INVALID, message, code=code, param=param)))


def card_error(error: Doc, intent: Doc) -> Refused:
    """402: the card was declined; the intent tells the rest."""
    body = {"error": {**error, "payment_intent": intent}}
    return Refused(Answer(402, body))
