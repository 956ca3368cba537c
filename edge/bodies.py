"""Middleware: limit the request body."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.problems import TOO_LARGE, problem_response


class BodyLimitMiddleware:
    """Answers 413 to a body over ``max_bytes``: by its Content-Length, else while it is read."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The rest of the body is not read: the connection cannot be used again.
        close = {"Connection": "close"}
        content_length = Headers(scope=scope).get("content-length", "0")
        if content_length.isdecimal() and int(content_length) > self._max_bytes:
            response = problem_response(TOO_LARGE, scope, self._detail(), close)
            await response(scope, receive, send)
            return
        received = 0

        async def counting_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    # FastAPI passes this one on to the exception handlers.
                    raise HTTPException(TOO_LARGE.status, self._detail(), close)
            return message

        await self._app(scope, counting_receive, send)

    def _detail(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes: send less"
