"""Whatever goes wrong on the way, in the words of ``edge.problems``."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from durable_orders.clients.errors import (
    NoCardsError,
    NotOperableError,
    NotStartedError,
    NotWaitingError,
    NoWorkerError,
    OrderClientError,
    OrderEndedError,
    RefundEndedError,
    RefundRefusedError,
    StrandedError,
    TooLateError,
    UndecidedError,
    UnknownRefundError,
    UnreachableError,
)
from edge import problems
from edge.problems import Kind, ProblemError, answer
from orders.ids import InvalidOrderIdError, InvalidRefundIdError
from orders.order import InvalidOrderError
from orders.pages import InvalidBookmarkError
from orders.placing import KeyReusedError
from orders.ports import NoSuchOrderError, OrderExistsError, ProviderError, RefusedError
from orders.webhooks import BadSignatureError, UnreadableEventError

log = logging.getLogger(__name__)

#: What the clients raise, and which kind of problem that is; the nearest class counts.
KIND_OF: Final[dict[type[Exception], Kind]] = {
    InvalidOrderIdError: problems.INVALID_ORDER_ID,
    InvalidRefundIdError: problems.INVALID_REFUND_ID,
    InvalidOrderError: problems.INVALID_ORDER,
    InvalidBookmarkError: problems.INVALID_CURSOR,
    NoSuchOrderError: problems.UNKNOWN_ORDER,
    UnknownRefundError: problems.UNKNOWN_REFUND,
    OrderExistsError: problems.ORDER_EXISTS,
    KeyReusedError: problems.KEY_REUSED,
    NotStartedError: problems.ORDER_NOT_STARTED,
    TooLateError: problems.TOO_LATE,
    NotWaitingError: problems.NOT_WAITING,
    NotOperableError: problems.NOT_OPERABLE,
    OrderEndedError: problems.ORDER_ENDED,
    StrandedError: problems.ORDER_STRANDED,
    RefundRefusedError: problems.REFUND_REFUSED,
    RefundEndedError: problems.REFUND_ENDED,
    NoWorkerError: problems.NO_WORKER,
    UndecidedError: problems.UNDECIDED,
    NoCardsError: problems.NO_CARD_PROVIDER,
    OrderClientError: problems.CONFLICT,
    BadSignatureError: problems.BAD_SIGNATURE,
    UnreadableEventError: problems.MALFORMED,
    UnreachableError: problems.UNAVAILABLE,
    ProviderError: problems.UNAVAILABLE,
    RefusedError: problems.OUR_FAULT,
}
#: Their errors' own words are for the log: they name our servers.
_CONFIDENTIAL: Final = frozenset({problems.UNAVAILABLE, problems.OUR_FAULT})
#: What the framework refuses by itself.
_OF_STATUS: Final = {kind.status: kind for kind in (problems.NOT_FOUND, problems.NOT_ALLOWED)}


def explain(app: FastAPI) -> None:
    """Have everything that routes raise answered as a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    for error in KIND_OF:
        app.add_exception_handler(error, _explained)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for nothing else
    return answer(error.kind, request.scope, str(error), error.headers)


def told(error: Exception) -> tuple[Kind, str] | None:
    """Which kind of problem this is, and what of it may be told; None: it is a fault of ours."""
    kind = next((KIND_OF[base] for base in type(error).__mro__ if base in KIND_OF), None)
    if kind is None:
        return None
    if kind in _CONFIDENTIAL:
        log.error("%s", error)
        return kind, kind.detail
    return kind, str(error)


async def _explained(request: Request, error: Exception) -> JSONResponse:
    known = told(error)
    assert known is not None  # noqa: S101 - registered for nothing else
    kind, sentence = known
    return answer(kind, request.scope, sentence)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    # What was sent is not repeated: it may hold what should not be seen.
    wrong = [{"where": "/".join(map(str, e["loc"])), "what": e["msg"]} for e in error.errors()]
    detail = "; ".join(f"{one['where']}: {one['what']}" for one in wrong)
    return answer(problems.MALFORMED, request.scope, detail, errors=wrong)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses by itself: an address or a method that is not there."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    if error.status_code == problems.TOO_LARGE.status:  # edge.bodies says more
        return answer(problems.TOO_LARGE, request.scope, str(error.detail), error.headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # its name for a body that is not even text
        return answer(problems.MALFORMED, request.scope, "body: it is not JSON in UTF-8")
    kind = _OF_STATUS.get(error.status_code) or replace(
        problems.REFUSED,
        status=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=str(error.detail),
    )
    return answer(kind, request.scope, headers=error.headers)
