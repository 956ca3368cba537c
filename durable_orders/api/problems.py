"""Problem details: error responses as ``application/problem+json`` (RFC 9457).

Programs rely on ``type``, a stable URI that leads to a page about the problem; people read
``detail``. ``docs/http-api.md`` lists the types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fastapi.responses import JSONResponse
from starlette.types import Scope

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True)
class ProblemType:
    """A problem type. ``name`` never changes; ``detail`` is the default text.

    ``retry_after``: seconds, sent as ``Retry-After``.
    """

    name: str
    status: int
    title: str
    detail: str
    retry_after: int | None = None

    @property
    def uri(self) -> str:
        """The ``type`` of a response. Relative: the proxy in front knows the host."""
        return f"/problems/{self.name}"


def _refusal(name: str, title: str, detail: str, status: int = 409) -> ProblemType:
    return ProblemType(name, status, title, detail)


MALFORMED: Final = ProblemType(
    "malformed-request", 422, "Malformed request", "the request is not as /docs says it should be"
)
NO_KEY: Final = ProblemType(
    "no-key",
    401,
    "A key is needed",
    "send a key: Authorization: Bearer do_…, as `keys create` of the command line printed it",
)
FORBIDDEN: Final = ProblemType(
    "scope-needed", 403, "The key may not do this", "this needs a key of another scope"
)
TOO_LARGE: Final = ProblemType("too-large", 413, "Too large", "the body is too large: send less")
HEADERS_TOO_LARGE: Final = ProblemType(
    "headers-too-large", 431, "Headers too large", "the headers are too large: send less"
)
TOO_SLOW: Final = ProblemType("too-slow", 408, "Too slow", "the body did not come in time")
TOO_MANY: Final = ProblemType("too-many-requests", 429, "Too many requests", "ask less often")
NOT_FOUND: Final = ProblemType(
    "not-found", 404, "No such page", "there is nothing at this address: /docs lists what there is"
)
NOT_ALLOWED: Final = ProblemType(
    "method-not-allowed", 405, "Method not allowed", "this address does not take this method"
)
REFUSED: Final = ProblemType("refused", 400, "Refused", "the request was refused")
OUR_FAULT: Final = ProblemType(
    "our-fault", 500, "A fault of ours", "this is a fault of ours, and it is in our log"
)
UNAVAILABLE: Final = ProblemType(
    "unavailable",
    503,
    "Not available at the moment",
    "the shop cannot be reached at the moment: ask again, that is safe",
    retry_after=5,
)
NOT_READY: Final = ProblemType(
    "not-ready", 503, "Not ready", "ask again in a moment", retry_after=5
)
BAD_SIGNATURE: Final = ProblemType(
    "bad-signature", 400, "Bad signature", "the signature is missing, wrong, or too old"
)
NOT_LISTENING: Final = ProblemType(
    "not-listening", 503, "Nobody listens", "the secret of this webhook is not set", 300
)
ORDER_ENDED: Final = _refusal(
    "order-ended", "The order has ended", "the order has ended: nothing can be changed"
)
INVALID_ORDER_ID: Final = _refusal(
    "invalid-order-id", "Not an order id", "what was sent cannot be an order's id", 422
)
INVALID_REFUND_ID: Final = _refusal(
    "invalid-refund-id", "Not a refund id", "what was sent cannot be a refund's id", 422
)
INVALID_ORDER: Final = _refusal(
    "invalid-order", "Not an order", "what was sent cannot be sold like this", 422
)
INVALID_CURSOR: Final = _refusal(
    "invalid-cursor", "Not a cursor", "take next_cursor of the page before, or none", 422
)
UNKNOWN_ORDER: Final = _refusal("unknown-order", "Unknown order", "place the order first", 404)
UNKNOWN_REFUND: Final = _refusal(
    "unknown-refund", "Unknown refund", "the order has no refund of this id", 404
)
UNKNOWN_DISPUTE: Final = _refusal(
    "unknown-dispute",
    "Unknown dispute",
    "no order has a dispute, warning or review of this id",
    404,
)
ORDER_EXISTS: Final = _refusal(
    "order-exists", "Another order has this id", "take another id, or send the same again"
)
KEY_REUSED: Final = _refusal(
    "idempotency-key-reused", "The key was used for another request", "take a new key"
)
ORDER_NOT_STARTED: Final = _refusal(
    "order-not-started", "The order is not started", "check it out first: POST /checkout"
)
TOO_LATE: Final = _refusal("too-late", "Too late", "it can be refunded instead")
NOT_WAITING: Final = _refusal(
    "not-waiting",
    "It does not wait for this",
    "look at the order: what it waits for may have passed",
)
SECOND_PERSON_NEEDED: Final = _refusal(
    "second-person-needed",
    "Somebody else has to approve it",
    "have it approved with another key: who placed or requested it may not",
    403,
)
NOT_OPERABLE: Final = _refusal(
    "not-operable", "Nothing to operate on", "look at the order: what failed may work again"
)
ORDER_STRANDED: Final = _refusal(
    "order-stranded", "The order is stranded", "a person has to settle it: see the runbook"
)
REFUND_REFUSED: Final = _refusal(
    "refund-refused", "Refund refused", "look at what is left of the order's payment"
)
REFUND_ENDED: Final = _refusal("refund-ended", "The refund has ended", "ask for it again")
NO_WORKER: Final = ProblemType(
    "no-worker", 503, "No worker answers", "ask again: the first request may hold", 5
)
TOO_MANY_STREAMS: Final = ProblemType(
    "too-many-streams",
    503,
    "Too many follow orders",
    "come back in a moment, or ask now and then",
    5,
)
UNDECIDED: Final = ProblemType(
    "undecided", 503, "Not decided yet", "the order works on it: look again later", 5
)
NO_CARD_PROVIDER: Final = _refusal(
    "no-card-provider", "The edge has no card provider", "set STRIPE_API_KEY for it", 501
)
CONFLICT: Final = _refusal("conflict", "Not possible as things are", "look at the order")

#: All problem types, by name.
PROBLEM_TYPES: Final = {
    value.name: value for value in tuple(globals().values()) if isinstance(value, ProblemType)
}


class ProblemError(Exception):
    """Raised by routes: answered as a problem of this type with this detail."""

    def __init__(
        self, type_: ProblemType, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail or type_.detail)
        self.type = type_
        self.headers = headers


def problem_response(
    type_: ProblemType,
    scope: Scope,
    detail: str = "",
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> JSONResponse:
    """A problem response to the request of this scope. ``extensions``: further members."""
    body = {
        "type": type_.uri,
        "title": type_.title,
        "status": type_.status,
        "detail": detail or type_.detail,
        "instance": quote(scope["path"]),
        "request_id": scope.get("state", {}).get("request_id", ""),
        **extensions,
    }
    retry = {} if type_.retry_after is None else {"Retry-After": str(type_.retry_after)}
    return JSONResponse(body, type_.status, {**retry, **(headers or {})}, MEDIA_TYPE)
