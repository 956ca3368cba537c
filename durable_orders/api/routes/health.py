"""Routes: liveness, readiness, and the pages of the problem types."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request

from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import MALFORMED, NOT_FOUND, NOT_READY, PROBLEM_TYPES, ProblemError

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
    """Readiness: Temporal answers; the database takes writes and has this version's tables."""
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


log = logging.getLogger(__name__)

#: Checks one dependency; returns what is wrong, or None.
Check = Callable[[], Awaitable[str | None]]

_TIMEOUT: Final = 3.0
_CACHE_SECONDS: Final = 1.0


class Readiness:
    """Runs all checks at once, and keeps the result for a second."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._missing: tuple[str, ...] = ()
        self._until = 0.0

    async def missing(self) -> tuple[str, ...]:
        """The names of the failed checks; the reasons are logged."""
        async with self._lock:
            if time.monotonic() >= self._until:
                checks = (self._passes(name, check) for name, check in self._checks.items())
                passed = await asyncio.gather(*checks)
                results = zip(self._checks, passed, strict=True)
                self._missing = tuple(name for name, ok in results if not ok)
                self._until = time.monotonic() + _CACHE_SECONDS
            return self._missing

    @staticmethod
    async def _passes(name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                wrong = await check()
        except TimeoutError:
            wrong = f"no answer within {_TIMEOUT:g} s"
        if wrong:
            log.warning("not ready, %s: %s", name, wrong)
        return not wrong
