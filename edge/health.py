"""Routes: liveness, readiness, and the pages of the problem types."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from edge.describing import example, problem_responses
from edge.problems import MALFORMED, NOT_FOUND, NOT_READY, PROBLEM_TYPES, ProblemError
from edge.readiness import Readiness

router = APIRouter(tags=["the edge itself"])


@router.get(
    "/healthz",
    responses={200: example({"status": "ok"})},
)
async def healthz() -> dict[str, str]:
    """Liveness: this process answers. ``/readyz`` tells whether it can work."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    responses={
        200: example({"status": "ready"}),
        **problem_responses(NOT_READY),
    },
)
async def readyz(request: Request) -> dict[str, str]:
    """Readiness: Temporal answers, and the database has the tables that this version needs."""
    readiness: Readiness = request.app.state.readiness
    if missing := await readiness.missing():
        raise ProblemError(NOT_READY, f"not ready, this is missing: {', '.join(missing)}")
    return {"status": "ready"}


@router.get(
    "/problems/{name}",
    responses={
        200: example(
            {
                "type": "/problems/unknown-order",
                "title": "Unknown order",
                "status": 404,
                "detail": "place the order first",
            }
        ),
        **problem_responses(NOT_FOUND, MALFORMED),
    },
)
async def read_problem(name: str) -> dict[str, Any]:
    """A problem type: what it means, and what to do in general."""
    problem = PROBLEM_TYPES.get(name)
    if problem is None:
        raise ProblemError(NOT_FOUND, "there is no problem of this kind")
    return {
        "type": problem.uri,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
