"""How the routes describe to programs and people what goes wrong: their part of OpenAPI."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from edge.problems import (
    FORBIDDEN,
    MALFORMED,
    MEDIA_TYPE,
    NO_KEY,
    OUR_FAULT,
    TOO_LARGE,
    TOO_MANY,
    UNAVAILABLE,
    Kind,
)

_SCHEMA: Final = {
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
    """For an entry of the ``responses`` of a route: what it may look like."""
    return {"content": {"application/json": {"example": value}}}


def declared(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """For the ``responses`` of a route: the problems that it may answer, by status."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
                },
            },
        )
        response["content"][MEDIA_TYPE]["examples"][kind.name] = {"value": _example(kind)}
    return responses


def exampled(value: object) -> dict[str, Any]:
    """For the ``responses`` of a route: what it may answer when all is well."""
    return {"content": {"application/json": {"example": value}}}


def _example(kind: Kind) -> dict[str, Any]:
    return {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "instance": "/orders/1001",
        "request_id": "0c7f6a1e2b3d4c5f8a9b0c1d2e3f4a5b",
    }


#: What any request with a key may be answered.
USUAL: Final = declared(NO_KEY, FORBIDDEN, TOO_LARGE, MALFORMED, TOO_MANY, OUR_FAULT, UNAVAILABLE)


def described(app: FastAPI) -> dict[str, Any]:
    """The description of all operations, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schema["components"]["schemas"]["Problem"] = _SCHEMA
        app.openapi_schema = schema
    return app.openapi_schema
