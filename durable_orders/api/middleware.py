"""Middleware: API-key authentication of every request, except to public routes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_orders.api.metrics import Metrics
from durable_orders.api.problems import (
    HEADERS_TOO_LARGE,
    NO_KEY,
    OUR_FAULT,
    REFUSED,
    TOO_LARGE,
    TOO_SLOW,
    UNAVAILABLE,
    ProblemError,
    problem_response,
)
from durable_orders.api.rate_limits import AccessPolicy, client_address
from durable_orders.domain.operators.api_keys import ApiKey, Token
from durable_orders.domain.ports import ProviderError
from durable_orders.observability.context import current_request

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
                "this key is not one of ours, or was revoked or has expired: send "
                "Authorization: Bearer do_…, as `keys create` of the command line printed it",
                {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
            )
        self._policy.count_request(key)
        return key


def _bearer_token(header: str) -> Token | None:
    scheme, _, token = header.partition(" ")
    return Token.read(token.strip()) if scheme.lower() == "bearer" else None


#: Defaults: a header that the response has already is left as it is.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Only over TLS, which a proxy in front terminates: see API_TRUSTED_PROXIES.
_TLS_HEADERS: Final = {"Strict-Transport-Security": "max-age=31536000"}


class SecurityHeadersMiddleware:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        defaults = HEADERS | (_TLS_HEADERS if scope["scheme"] == "https" else {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in defaults.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


REQUEST_ID: Final = "X-Request-Id"

#: Polled every few seconds: a 200 is logged at DEBUG only.
_PROBES: Final = frozenset({"/healthz", "/readyz"})

# As proxies make them: UUIDs, ULIDs, trace ids. Nothing that could break a log line or a header.
_VALID_ID: Final = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


def request_id_of(scope: Scope) -> str:
    """The request id in an ASGI scope."""
    request_id: str = scope["state"]["request_id"]
    return request_id


class RequestIdMiddleware:
    """Sets the request id: the client's ``X-Request-Id`` if it is valid, else a new one.

    It is in the response and in every log line of the request. ``metrics`` counts every response.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _read_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, began = 0, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                # Until the response begins: a stream may last for long.
                self._metrics.count(scope, status, time.perf_counter() - began)
            await send(message)

        token = current_request.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("a fault of ours")
            if status:  # the response has begun: the client must see that it is incomplete
                raise
            await problem_response(OUR_FAULT, scope)(scope, receive, send_with_id)
        finally:
            # Without the query, which may hold personal data. Quoted: a path may hold line breaks.
            path, took = quote(scope["path"])[:200], (time.perf_counter() - began) * 1000
            key = scope["state"].get("key")
            by = f", key {key.name}" if key else ""
            level = logging.DEBUG if status == 200 and path in _PROBES else logging.INFO
            outcome = status or "gone"
            log.log(level, "%s %s %s %.0f ms%s", scope["method"], path, outcome, took, by)
            current_request.reset(token)


def _read_request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get(REQUEST_ID, "")
    return sent if _VALID_ID.fullmatch(sent) else uuid4().hex


#: Bytes. Parsing a cookie takes time that grows with the square of its length in Python 3.11.7,
#: 3.12.1 and older: https://nvd.nist.gov/vuln/detail/CVE-2024-7592
MAX_COOKIE_BYTES: Final = 4_096
MAX_HEADER_BYTES: Final = 16_384


class HeaderLimitMiddleware:
    """Answers 431 to large headers before anything parses them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = _head_problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        close = {"Connection": "close"}
        await problem_response(problem.type, scope, str(problem), close)(scope, receive, send)


def _head_problem(scope: Scope) -> ProblemError | None:
    cookies = sum(len(value) for name, value in scope["headers"] if name == b"cookie")
    if cookies > MAX_COOKIE_BYTES:
        detail = f"the cookies are larger than {MAX_COOKIE_BYTES} bytes: send less"
        return ProblemError(HEADERS_TOO_LARGE, detail)
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        detail = f"the headers are larger than {MAX_HEADER_BYTES} bytes: send less"
        return ProblemError(HEADERS_TOO_LARGE, detail)
    return None


class AllowedHostsMiddleware:
    """Answers 400 to a request for another host than ``hosts``, except to probes. Without any,
    every host is allowed.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or not self._hosts
            or scope["path"] in _PROBES
            or _host(Headers(scope=scope).get("host", "")) in self._hosts
        ):
            await self._app(scope, receive, send)
            return
        detail = "this host is not one of ours: API_ALLOWED_HOSTS names them"
        await problem_response(REFUSED, scope, detail)(scope, receive, send)


def _host(header: str) -> str:
    """The host without its port."""
    host, _, port = header.lower().rpartition(":")
    return host if host and port.isdecimal() else header.lower()


class BodyLimitMiddleware:
    """Answers 413 to a body over ``max_bytes``: by its Content-Length, else while it is read; and
    408 to one that is not read after ``patience`` seconds.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, patience: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._patience = patience

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
        received, is_whole = 0, False
        deadline = asyncio.get_running_loop().time() + self._patience

        async def counting_receive() -> Message:
            nonlocal received, is_whole
            try:
                # After the body this waits until the client has gone, for as long as that takes.
                async with asyncio.timeout_at(None if is_whole else deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(TOO_SLOW.status, self._slow_detail(), close) from None
            if message["type"] == "http.request":
                is_whole = not message.get("more_body", False)
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    # FastAPI passes this one on to the exception handlers.
                    raise HTTPException(TOO_LARGE.status, self._detail(), close)
            return message

        await self._app(scope, counting_receive, send)

    def _slow_detail(self) -> str:
        return f"the body did not come within {self._patience:g} s: send it at once"

    def _detail(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes: send less"
