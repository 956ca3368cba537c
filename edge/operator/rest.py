"""The 404 page of every other path below ``/operator``."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from edge.operator.rendering import HtmlRoute, render_problem
from edge.problems import NOT_FOUND

fallback_router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)


@fallback_router.get("/{path:path}")
async def not_found(path: str) -> Response:  # noqa: ARG001 - any path
    """Answer 404."""
    return render_problem(NOT_FOUND, "There is no page at this address.")
