"""OpenAPI: the document, examples, and the problems that a route declares."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from durable_orders.api.problems import (
    FORBIDDEN,
    MALFORMED,
    MEDIA_TYPE,
    NO_KEY,
    OUR_FAULT,
    TOO_LARGE,
    TOO_MANY,
    UNAVAILABLE,
    ProblemType,
)

_PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "description": "What did not work out (RFC 9457). `type` stays the same for ever.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, and what to do."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Of a malformed request: where, and what is wrong there.",
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}


def example(value: object) -> dict[str, Any]:
    """An example body, for an entry of a route's ``responses``."""
    return {"content": {"application/json": {"example": value}}}


def problem_responses(*types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer, by status: for its ``responses``."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in types:
        response = responses.setdefault(
            problem.status,
            {
                "description": problem.title,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
                },
            },
        )
        response["content"][MEDIA_TYPE]["examples"][problem.name] = {
            "value": _problem_example(problem)
        }
    return responses


def _problem_example(problem: ProblemType) -> dict[str, Any]:
    return {
        "type": problem.uri,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": "/orders/1001",
        "request_id": "0c7f6a1e2b3d4c5f8a9b0c1d2e3f4a5b",
    }


#: The problems that every route with an API key may answer.
COMMON_PROBLEMS: Final = problem_responses(
    NO_KEY, FORBIDDEN, TOO_LARGE, MALFORMED, TOO_MANY, OUR_FAULT, UNAVAILABLE
)


def openapi_schema(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schema["components"]["schemas"]["Problem"] = _PROBLEM_SCHEMA
        app.openapi_schema = schema
    return app.openapi_schema
