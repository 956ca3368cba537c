"""Routes: log in, log out, and the static files of the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from durable_orders.api.admin.cookies import (
    delete_session_cookie,
    read_session_token,
    require_secure_connection,
    set_session_cookie,
)
from durable_orders.api.admin.forms import Admin, Auth, VerifiedForm, read_form
from durable_orders.api.admin.sessions import LoginRefusedError
from durable_orders.api.admin.templating import HtmlRoute, render_page, render_problem
from durable_orders.api.problems import FORBIDDEN, NOT_FOUND, ProblemError
from durable_orders.api.rate_limits import client_address

router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)

_FILES: Final = Path(__file__).parent / "files"
_MEDIA_TYPES: Final = {"operator.css": "text/css", "icon.svg": "image/svg+xml"}
#: Paths to which a login may redirect: admin pages only (no open redirect).
_ALLOWED_TARGET: Final = re.compile(r"/operator(/orders/[A-Za-z0-9._/-]*)?")


@router.get("/login")
async def read_login(request: Request, then: str = "") -> Response:
    """The login page."""
    require_secure_connection(request)
    return render_page("login.html", then=_safe_target(then), error="")


@router.post("/login")
async def log_in(request: Request, auth: Auth) -> Response:
    """Open a session with an API key of scope operator."""
    require_secure_connection(request)
    form = await read_form(request)
    then = _safe_target(form["then"])
    try:
        session_token = await auth.log_in(form["key"], client_address(request.scope))
    except LoginRefusedError as error:
        return render_page("login.html", FORBIDDEN.status, then=then, error=str(error))
    if (before := read_session_token(request)) is not None:
        await auth.log_out(before)
    response = RedirectResponse(then, 303)
    set_session_cookie(session_token, request, response)
    return response


@router.post("/logout")
async def log_out(request: Request, admin: Admin, auth: Auth, form: VerifiedForm) -> Response:  # noqa: ARG001 - checked
    """End the session."""
    await auth.log_out(admin.session_token)
    response = RedirectResponse("/operator/login", 303)
    delete_session_cookie(request, response)
    return response


@router.get("/files/{name}")
async def read_file(name: str) -> Response:
    """A static file."""
    if name not in _MEDIA_TYPES:
        raise ProblemError(NOT_FOUND)
    headers = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(_FILES / name, media_type=_MEDIA_TYPES[name], headers=headers)


def _safe_target(then: str) -> str:
    return then if _ALLOWED_TARGET.fullmatch(then) else "/operator"


fallback_router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)


@fallback_router.get("/{path:path}")
async def not_found(path: str) -> Response:  # noqa: ARG001 - any path
    """Answer 404."""
    return render_problem(NOT_FOUND, "There is no page at this address.")
