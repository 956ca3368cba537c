"""How much somebody may send."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.problems import TOO_LARGE, answer


class BodyLimit:
    """Refuses bodies over ``most`` bytes: by what their head says, else as they come in."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Nobody reads the rest of it: the connection cannot be used again.
        end = {"Connection": "close"}
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._most:
            refused = answer(TOO_LARGE, scope, self._sentence(), end)
            await refused(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._most:
                    # The framework lets this one through to whoever answers problems.
                    raise HTTPException(TOO_LARGE.status, self._sentence(), end)
            return message

        await self._app(scope, counted, send)

    def _sentence(self) -> str:
        return f"the body is larger than {self._most} bytes: send less"
