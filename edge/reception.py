"""Middleware: request ids, the access log, metrics, and a 500 for an unexpected error."""

from __future__ import annotations

import logging
import re
import time
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_orders.observability.context import current_request
from edge.metrics import Metrics
from edge.problems import OUR_FAULT, problem_response

log = logging.getLogger(__name__)

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
