"""Requests of the control API, and its errors."""

import json
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.world.state_store import JsonObject


def error_response(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


async def json_body(request: Request) -> JsonObject:
    """The JSON object or the form in the body; `{}` when there is none."""
    raw = await request.body()
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode(errors="replace")))
    try:
        found = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
