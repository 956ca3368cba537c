"""What others ask about the edge itself: whether it lives, what a kind of problem means."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from edge.problems import CATALOGUE, NOT_FOUND, ProblemError

router = APIRouter(tags=["the edge itself"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process answers. Whether it can reach the others shows in their 503s."""
    return {"status": "ok"}


@router.get("/problems/{name}")
async def read_problem(name: str) -> dict[str, Any]:
    """What the ``type`` of a problem means."""
    kind = CATALOGUE.get(name)
    if kind is None:
        raise ProblemError(NOT_FOUND, "there is no problem of this kind")
    return {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
    }
