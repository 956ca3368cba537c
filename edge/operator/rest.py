"""Everything below ``/operator`` that is no page: said as a page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from edge.operator.rendering import Page, problem_page
from edge.problems import NOT_FOUND

router = APIRouter(prefix="/operator", route_class=Page, include_in_schema=False)


@router.get("/{path:path}")
async def read_nothing(path: str) -> Response:  # noqa: ARG001 - whatever it is
    """No such page."""
    return problem_page(NOT_FOUND, "There is no page at this address.")
