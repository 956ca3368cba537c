"""Exception handlers: errors of clients, routes and FastAPI as problem responses."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from durable_orders.api import problems
from durable_orders.api.problems import ProblemError, ProblemType, problem_response
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
    SecondPersonNeededError,
    StrandedError,
    TooLateError,
    UndecidedError,
    UnknownDisputeError,
    UnknownRefundError,
    UnreachableError,
)
from durable_orders.domain.ids import (
    IdempotencyKeyReusedError,
    InvalidOrderIdError,
    InvalidRefundIdError,
)
from durable_orders.domain.listing import InvalidCursorError
from durable_orders.domain.order import InvalidOrderError
from durable_orders.domain.ports import (
    InvalidValueError,
    NoSuchOrderError,
    OrderExistsError,
    ProviderError,
    RefusedError,
)
from durable_orders.domain.texts import InvalidTextError
from durable_orders.domain.webhooks import BadSignatureError, UnreadableEventError

log = logging.getLogger(__name__)

#: The problem type of each error of the clients; the nearest base class counts.
PROBLEM_TYPE_OF: Final[dict[type[Exception], ProblemType]] = {
    InvalidTextError: problems.MALFORMED,
    InvalidOrderIdError: problems.INVALID_ORDER_ID,
    InvalidRefundIdError: problems.INVALID_REFUND_ID,
    InvalidOrderError: problems.INVALID_ORDER,
    InvalidCursorError: problems.INVALID_CURSOR,
    NoSuchOrderError: problems.UNKNOWN_ORDER,
    UnknownRefundError: problems.UNKNOWN_REFUND,
    UnknownDisputeError: problems.UNKNOWN_DISPUTE,
    OrderExistsError: problems.ORDER_EXISTS,
    IdempotencyKeyReusedError: problems.KEY_REUSED,
    NotStartedError: problems.ORDER_NOT_STARTED,
    TooLateError: problems.TOO_LATE,
    NotWaitingError: problems.NOT_WAITING,
    SecondPersonNeededError: problems.SECOND_PERSON_NEEDED,
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
    InvalidValueError: problems.MALFORMED,
}
#: The messages of their errors are logged only: they name servers of ours.
_CONFIDENTIAL: Final = frozenset({problems.UNAVAILABLE, problems.OUR_FAULT})
#: Responses of FastAPI itself, by status.
_TYPE_OF_STATUS: Final = {
    type_.status: type_ for type_ in (problems.NOT_FOUND, problems.NOT_ALLOWED)
}


def add_exception_handlers(app: FastAPI) -> None:
    """Register handlers that answer every error of a route as a problem."""
    app.add_exception_handler(ProblemError, _handle_problem)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    for error in PROBLEM_TYPE_OF:
        app.add_exception_handler(error, _handle_client_error)


async def _handle_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for nothing else
    return problem_response(error.type, request.scope, str(error), error.headers)


def to_problem(error: Exception) -> tuple[ProblemType, str] | None:
    """The problem type and the detail that may be shown; None: an error that nobody expected."""
    bases = type(error).__mro__
    type_ = next((PROBLEM_TYPE_OF[base] for base in bases if base in PROBLEM_TYPE_OF), None)
    if type_ is None:
        return None
    if type_ in _CONFIDENTIAL:
        log.error("%s", error)
        return type_, type_.detail
    return type_, str(error)


async def _handle_client_error(request: Request, error: Exception) -> JSONResponse:
    problem = to_problem(error)
    assert problem is not None  # noqa: S101 - registered for nothing else
    type_, detail = problem
    return problem_response(type_, request.scope, detail)


def validation_problem(
    error: RequestValidationError,
) -> tuple[ProblemType, str, list[dict[str, str]]]:
    """The problem type, the detail, and where each mistake is. A request that is wrong in its order
    id alone, say, has the problem type of that.
    """
    mistakes = error.errors()
    # The input is not repeated: it may hold confidential data. Ids are, in their own sentence.
    errors = [
        {
            "where": _cut("/".join(map(str, mistake["loc"])), _MAX_WHERE),
            "what": _cut(
                _WORDS.get(mistake["type"], mistake["msg"].removeprefix("Value error, ")), _MAX_WHAT
            ),
        }
        for mistake in mistakes[:_MAX_MISTAKES]
    ]
    detail = "; ".join(f"{one['where']}: {one['what']}" for one in errors)
    if more := len(mistakes) - len(errors):
        detail += f"; and {more} more"
    causes = {type(mistake.get("ctx", {}).get("error")) for mistake in mistakes}
    type_ = PROBLEM_TYPE_OF.get(causes.pop()) if len(causes) == 1 else None
    return type_ or problems.MALFORMED, detail, errors


#: Pydantic's words for these are about types of Python, and FastAPI's do not say what is wrong.
_WORDS: Final = {
    "model_attributes_type": "must be a JSON object, sent as application/json",
    "json_invalid": "is not JSON from this character on",
}
#: An answer does not grow with the request: so many mistakes, of so many characters each.
_MAX_MISTAKES: Final = 20
_MAX_WHERE: Final = 100
_MAX_WHAT: Final = 300


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    type_, detail, errors = validation_problem(error)
    return problem_response(type_, request.scope, detail, errors=errors)


async def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    """An error of FastAPI itself: an unknown path or method, for example."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    for type_ in (problems.TOO_LARGE, problems.TOO_SLOW):  # middleware.py says more
        if error.status_code == type_.status:
            return problem_response(type_, request.scope, str(error.detail), error.headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's status for a body that is not UTF-8
        return problem_response(problems.MALFORMED, request.scope, "body: it is not JSON in UTF-8")
    known = _TYPE_OF_STATUS.get(error.status_code) or replace(
        problems.REFUSED,
        status=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=str(error.detail),
    )
    return problem_response(known, request.scope, headers=error.headers)
