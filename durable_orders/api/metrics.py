"""Prometheus metrics: request counts and latencies, and how deliveries of webhook events ended."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from starlette.types import Scope

from durable_orders.domain.webhooks import DeliveryResult

router = APIRouter(tags=["the edge itself"])

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: From what the database alone takes to the 10 s that a worker has for an answer.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """Counts and times the requests of this process, and counts the events that it delivers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "durable_orders_http_requests",
            "Requests answered, by route, method and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "durable_orders_http_request_seconds",
            "Seconds until a request began to be answered.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._events = Counter(
            "durable_orders_webhook_events",
            "Webhook events whose delivery has ended, by type and result.",
            ["type", "result"],
            registry=self._registry,
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request. The label ``route`` is the path template, without ids."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route, method).observe(seconds)

    def count_event(self, type_: str, result: DeliveryResult) -> None:
        """Count an event whose delivery has ended."""
        self._events.labels(type_, result).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {
                "text/plain": {
                    "example": 'durable_orders_http_requests_total{route="/checkout",'
                    'method="POST",status="202"} 17.0\n'
                }
            },
        }
    },
)
async def read_metrics(request: Request) -> Response:
    """Requests and their latencies, and deliveries of webhook events, in this process."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
