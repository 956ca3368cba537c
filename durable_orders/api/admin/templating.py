"""Templates, and errors as pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from durable_orders.api import exception_handlers, problems
from durable_orders.api.admin import labels
from durable_orders.api.admin.cookies import delete_session_cookie
from durable_orders.api.admin.sessions import NotLoggedInError
from durable_orders.api.problems import ProblemError, ProblemType
from durable_orders.domain.texts import escaped_lines

log = logging.getLogger(__name__)

#: No scripts; style sheet and icon from this host only.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # With "no-referrer" browsers would not send a form's origin either.
    "Referrer-Policy": "same-origin",
}


def _shown(value: object) -> object:
    """A text from outside as a page shows it."""
    if isinstance(value, str) and not hasattr(value, "__html__"):  # none that we have marked up
        return escaped_lines(value)
    return value


_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    # HTML shows what turns the direction of a text around, and leaves control characters in it.
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(labels.FILTERS)


def render_page(
    template: str, status: int = 200, *, headers: Mapping[str, str] | None = None, **context: Any
) -> HTMLResponse:
    """Render a template. ``by``: the operator who is logged in, with their ``session_token``."""
    logged_out = {"by": None, "session_token": None, "flash": None}
    text = _templates.get_template(template).render({**logged_out, **context})
    return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})


def render_problem(
    problem: ProblemType, sentence: str = "", headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A problem as a page."""
    retry = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return render_page(
        "problem.html",
        problem.status,
        headers={**retry, **(headers or {})},
        problem=problem,
        sentence=sentence or problem.detail,
    )


class HtmlRoute(APIRoute):
    """A route that answers every error with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with its errors as pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - nothing after this could answer with a page
                return _error_page(request, error)

        return handle


def _error_page(request: Request, error: Exception) -> Response:
    match error:
        case NotLoggedInError():
            # A form is not sent again after the login.
            then = urlencode({"then": request.url.path}) if request.method == "GET" else ""
            response = RedirectResponse(f"/operator/login?{then}", 303)
            delete_session_cookie(request, response)
            return response
        case ProblemError(type=type_, headers=headers):
            return render_problem(type_, str(error), headers)
        case RequestValidationError():
            type_, _, errors = exception_handlers.validation_problem(error)
            return render_problem(type_, "; ".join(one["what"] for one in errors))
        case HTTPException(status_code=problems.TOO_LARGE.status):
            return render_problem(problems.TOO_LARGE, str(error.detail), error.headers)
    if problem := exception_handlers.to_problem(error):
        return render_problem(*problem)
    log.error("a fault of ours", exc_info=error)
    return render_problem(problems.OUR_FAULT)
