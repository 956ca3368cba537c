"""Routes: the OpenAPI document, and Swagger UI without files from other hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from durable_orders.api.openapi import openapi_schema
from durable_orders.api.problems import NOT_FOUND, ProblemError

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
# No validator: it would send the document to another host.
_START_SCRIPT: Final = """
SwaggerUIBundle({url: "openapi.json", dom_id: "#operations", validatorUrl: null});
"""
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Swagger UI's files, which the package ships; nothing else of it is used.
_DIRECTORY: Final = Path(fastapi_offline.__file__).parent / "static"
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/openapi.json")
async def read_openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi_schema(request.app)


@router.get("/docs")
async def read_docs() -> HTMLResponse:
    """The Swagger UI page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})


@router.get("/docs/{name}")
async def read_file(name: str) -> Response:
    """A static file of the page."""
    if name == "start.js":
        return Response(_START_SCRIPT, media_type="text/javascript")
    if name not in _FILES:
        raise ProblemError(NOT_FOUND)
    headers = {"Cache-Control": "public, max-age=86400"}
    return FileResponse(_DIRECTORY / name, media_type=_FILES[name], headers=headers)
