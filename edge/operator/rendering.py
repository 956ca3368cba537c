"""Templates, and what goes wrong as a page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from edge import problems, refusals
from edge.operator import words
from edge.operator.browser import forget
from edge.operator.door import LoggedOutError
from edge.problems import Kind, ProblemError

log = logging.getLogger(__name__)

#: No script at all; styles and the icon are files of ours.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # With none, a browser would not say either that a form comes from a page of ours.
    "Referrer-Policy": "same-origin",
}

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(words.FILTERS)


def page(
    template: str, status: int = 200, *, headers: Mapping[str, str] | None = None, **shown: Any
) -> HTMLResponse:
    """The page of this template. ``by`` is who is logged in, with their ``ticket``."""
    nobody = {"by": None, "ticket": None, "word": None}
    text = _templates.get_template(template).render({**nobody, **shown})
    return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})


def problem_page(
    kind: Kind, sentence: str = "", headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """What did not work out, as a page."""
    again = {} if kind.retry_after is None else {"Retry-After": str(kind.retry_after)}
    told = sentence or kind.detail
    return page(
        "problem.html", kind.status, headers={**again, **(headers or {})}, kind=kind, sentence=told
    )


class Page(APIRoute):
    """A route for people: whatever goes wrong on it is answered with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route, with its errors as pages."""
        ask = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await ask(request)
            except Exception as error:  # noqa: BLE001 - the last one to tell a person anything
                return _as_page(request, error)

        return answered


def _as_page(request: Request, error: Exception) -> Response:
    match error:
        case LoggedOutError():
            # What was asked with a form is not asked again by itself.
            then = urlencode({"then": request.url.path}) if request.method == "GET" else ""
            answer = RedirectResponse(f"/operator/login?{then}", 303)
            forget(request, answer)
            return answer
        case ProblemError(kind=kind, headers=headers):
            return problem_page(kind, str(error), headers)
        case HTTPException(status_code=problems.TOO_LARGE.status):
            return problem_page(problems.TOO_LARGE, str(error.detail), error.headers)
    if known := refusals.told(error):
        return problem_page(*known)
    log.error("a fault of ours", exc_info=error)
    return problem_page(problems.OUR_FAULT)
