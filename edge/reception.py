"""The way every request goes: it gets an id, a line in the log, and an answer whatever happens."""

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
from edge.problems import OUR_FAULT, answer

log = logging.getLogger(__name__)

REQUEST_ID: Final = "X-Request-Id"

#: Asked every few seconds by whoever looks after the process: worth a line when all is not well.
_LOOKS: Final = frozenset({"/healthz", "/readyz"})

# What proxies make: UUIDs, ULIDs, trace ids. Nothing that could break a line of a log, or a header.
_SANE: Final = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


def request_id_of(scope: Scope) -> str:
    """The id of the request that this is the scope of."""
    request_id: str = scope["state"]["request_id"]
    return request_id


class Reception:
    """Around the whole application.

    The caller's ``X-Request-Id`` is taken over when it looks like one, else one is made. It is in
    the answer and in every line that is logged meanwhile. ``metrics`` counts every answer.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, began = 0, time.perf_counter()

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                # Until the answer begins: one that streams goes on for as long as it is wanted.
                self._metrics.count(scope, status, time.perf_counter() - began)
            await send(message)

        token = current_request.set(request_id)
        try:
            await self._app(scope, receive, with_id)
        except Exception:
            log.exception("a fault of ours")
            if status:  # half an answer is out: the caller has to see that it ends there
                raise
            await answer(OUR_FAULT, scope)(scope, receive, with_id)
        finally:
            # Without the query, which may hold what is nobody's business; quoted, for a path may
            # hold line breaks.
            path, took = quote(scope["path"])[:200], (time.perf_counter() - began) * 1000
            key = scope["state"].get("key")
            by = f", key {key.name}" if key else ""
            level = logging.DEBUG if status == 200 and path in _LOOKS else logging.INFO
            word = status or "gone"
            log.log(level, "%s %s %s %.0f ms%s", scope["method"], path, word, took, by)
            current_request.reset(token)


def _request_id(scope: Scope) -> str:
    named = Headers(scope=scope).get(REQUEST_ID, "")
    return named if _SANE.fullmatch(named) else uuid4().hex
