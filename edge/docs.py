"""The description of all operations: for programs, and as a page that needs no other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from edge.describing import described
from edge.problems import NOT_FOUND, ProblemError

router = APIRouter(include_in_schema=False)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Durable Orders</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="operations"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# No validator: it would send the description to somebody else's host.
_START: Final = """
SwaggerUIBundle({url: "openapi.json", dom_id: "#operations", validatorUrl: null});
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Of the package, which ships Swagger UI for exactly this; we need nothing else of it.
_DIRECTORY: Final = Path(fastapi_offline.__file__).parent / "static"
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/openapi.json")
async def read_description(request: Request) -> dict[str, Any]:
    """All operations, as OpenAPI."""
    return described(request.app)


@router.get("/docs")
async def read_docs() -> HTMLResponse:
    """All operations, to read and try."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/{name}")
async def read_file(name: str) -> Response:
    """What the page consists of."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript")
    if name not in _FILES:
        raise ProblemError(NOT_FOUND)
    kept = {"Cache-Control": "public, max-age=86400"}
    return FileResponse(_DIRECTORY / name, media_type=_FILES[name], headers=kept)
