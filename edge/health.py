"""What others ask about the edge itself: whether it lives and works, what a problem means."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from edge.describing import declared, exampled
from edge.problems import CATALOGUE, MALFORMED, NOT_FOUND, NOT_READY, ProblemError
from edge.readiness import Readiness

router = APIRouter(tags=["the edge itself"])


@router.get(
    "/healthz",
    responses={200: exampled({"status": "ok"})},
)
async def healthz() -> dict[str, str]:
    """This process answers. Whether it can do its work is ``/readyz``."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    responses={
        200: exampled({"status": "ready"}),
        **declared(NOT_READY),
    },
)
async def readyz(request: Request) -> dict[str, str]:
    """Temporal answers, and the database has the tables that this version needs."""
    readiness: Readiness = request.app.state.readiness
    if missing := await readiness.missing():
        raise ProblemError(NOT_READY, f"not ready, this is missing: {', '.join(missing)}")
    return {"status": "ready"}


@router.get(
    "/problems/{name}",
    responses={
        200: exampled(
            {
                "type": "/problems/unknown-order",
                "title": "Unknown order",
                "status": 404,
                "detail": "place the order first",
            }
        ),
        **declared(NOT_FOUND, MALFORMED),
    },
)
async def read_problem(name: str) -> dict[str, Any]:
    """What the ``type`` of a problem means, and what to do in general."""
    kind = CATALOGUE.get(name)
    if kind is None:
        raise ProblemError(NOT_FOUND, "there is no problem of this kind")
    return {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
    }
