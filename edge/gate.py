"""Middleware: API-key authentication of every request, except to public routes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.admission import AccessPolicy, client_address
from edge.problems import NO_KEY, UNAVAILABLE, ProblemError, problem_response
from orders.keys import ApiKey, Token
from orders.ports import ProviderError

log = logging.getLogger(__name__)

_REALM: Final = 'Bearer realm="durable-orders"'


class ApiKeyMiddleware:
    """Answers 401 without a valid API key and 429 above its rate limit, before the body is read.

    ``is_public``: whether a request needs no key.
    """

    def __init__(
        self, app: ASGIApp, *, policy: AccessPolicy, is_public: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._policy = policy
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_public(scope):
            await self._app(scope, receive, send)
            return
        try:
            scope["state"]["key"] = await self._authenticate(scope)
        except ProblemError as problem:
            response = problem_response(problem.type, scope, str(problem), problem.headers)
            await response(scope, receive, send)
            return
        except ProviderError as error:
            log.error("no key can be looked up: %s", error)  # noqa: TRY400 - no traceback needed
            await problem_response(UNAVAILABLE, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> ApiKey:
        header = Headers(scope=scope).get("authorization", "")
        key = await self._policy.authenticate(_bearer_token(header), client_address(scope))
        if key is None:
            if not header:
                raise ProblemError(NO_KEY, headers={"WWW-Authenticate": _REALM})
            raise ProblemError(
                NO_KEY,
                "this key is not one of ours, or was revoked: send Authorization: Bearer do_…, "
                "as `client.py keys create` printed it",
                {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
            )
        self._policy.count_request(key)
        return key


def _bearer_token(header: str) -> Token | None:
    scheme, _, token = header.partition(" ")
    return Token.read(token.strip()) if scheme.lower() == "bearer" else None
