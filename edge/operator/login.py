"""Logging in and out, and the files of which every page consists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from edge.admission import address_of
from edge.operator.browser import forget, keep, require_private, ticket_of
from edge.operator.door import NotLetInError
from edge.operator.rendering import Page, page
from edge.operator.visits import AtDoor, Sent, Visiting, form_of
from edge.problems import FORBIDDEN, NOT_FOUND, ProblemError

router = APIRouter(prefix="/operator", route_class=Page, include_in_schema=False)

_FILES: Final = Path(__file__).parent / "files"
_KINDS: Final = {"operator.css": "text/css", "icon.svg": "image/svg+xml"}
#: Where a login may lead to: a page of ours, and nowhere else.
_OURS: Final = re.compile(r"/operator(/orders/[A-Za-z0-9._/-]*)?")


@router.get("/login")
async def ask_for_key(request: Request, then: str = "") -> Response:
    """Where an operator logs in."""
    require_private(request)
    return page("login.html", then=_ours(then), wrong="")


@router.post("/login")
async def log_in(request: Request, door: AtDoor) -> Response:
    """A session for whoever has a key of scope operator."""
    require_private(request)
    form = await form_of(request)
    then = _ours(form["then"])
    try:
        ticket = await door.log_in(form["key"], address_of(request.scope))
    except NotLetInError as error:
        return page("login.html", FORBIDDEN.status, then=then, wrong=str(error))
    if (before := ticket_of(request)) is not None:
        await door.log_out(before)
    answer = RedirectResponse(then, 303)
    keep(ticket, request, answer)
    return answer


@router.post("/logout")
async def log_out(request: Request, visit: Visiting, door: AtDoor, sent: Sent) -> Response:  # noqa: ARG001 - checked
    """End the session."""
    await door.log_out(visit.ticket)
    answer = RedirectResponse("/operator/login", 303)
    forget(request, answer)
    return answer


@router.get("/files/{name}")
async def read_file(name: str) -> Response:
    """What pages consist of beside their text."""
    if name not in _KINDS:
        raise ProblemError(NOT_FOUND)
    kept = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(_FILES / name, media_type=_KINDS[name], headers=kept)


def _ours(then: str) -> str:
    return then if _OURS.fullmatch(then) else "/operator"
