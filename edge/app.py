"""The edge put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match
from starlette.types import Scope as Asked

from edge import (
    checkout,
    docs,
    events,
    health,
    metrics,
    orders,
    placing,
    refunds,
    refusals,
    webhooks,
)
from edge.access import needs
from edge.admission import Admission
from edge.bodies import BodyLimit
from edge.describing import USUAL, described
from edge.gate import Gate
from edge.headers import SecurityHeaders
from edge.keyring import Keyring
from edge.metrics import Metrics
from edge.operator import decisions, giving_back, login, order, overview, rest
from edge.operator.door import Door
from edge.parts import Edge
from edge.rates import Rate
from edge.readiness import Readiness
from edge.reception import REQUEST_ID, Reception
from edge.streams import Streams
from orders.keys import Scope

#: Every file of routes for callers with a key, and the scope that all of its routes need at least.
#: A route that needs more says so itself, with ``needs``. A new file is named here, or below.
GUARDED: Final[tuple[tuple[APIRouter, Scope], ...]] = (
    (placing.router, Scope.READ),
    (checkout.router, Scope.SHOP),
    (orders.router, Scope.READ),
    (events.router, Scope.READ),
    (refunds.router, Scope.READ),
    (metrics.router, Scope.READ),
)
#: Files whose routes need no key, because anybody may ask or because they look for themselves.
OPEN: Final[tuple[APIRouter, ...]] = (
    health.router,
    docs.router,
    webhooks.router,
)
#: The operator's pages, open because a browser has no key: ``edge.operator.visits`` lets in who has
#: logged in. The last one takes what is left.
OPERATOR: Final[tuple[APIRouter, ...]] = (
    login.router,
    overview.router,
    order.router,
    giving_back.router,  # before what would take "refund" for a decision
    decisions.router,
    rest.router,
)


def _included() -> Iterable[BaseRoute]:
    together = APIRouter()
    for router, scope in GUARDED:
        together.include_router(router, dependencies=[needs(scope)], responses=USUAL)
    for router in OPEN:
        together.include_router(router)
    return together.routes


def _included_for_operators() -> Iterable[BaseRoute]:
    together = APIRouter()
    for router in OPERATOR:
        together.include_router(router)
    return together.routes


# FastAPI makes an included route ready when it is asked for the first time, and that takes longer
# than to answer. Routes know nothing of the edge they belong to: once will do for a process.
_ROUTES: Final = tuple(_included())
_OPERATOR_ROUTES: Final = tuple(_included_for_operators())


def create_app(edge: Edge) -> FastAPI:
    """The HTTP edge of these parts."""
    app = FastAPI(
        title="Durable Orders",
        version="0.1.0",
        description="Orders, carried to their end. What goes wrong is a problem (RFC 9457).",
        openapi_url=None,  # edge.docs serves it, and pages that need no other host
    )
    app.state.edge = edge
    app.state.readiness = Readiness(edge.checks)
    app.state.metrics = Metrics()
    app.state.streams = Streams(edge.limits.streams, heartbeat=edge.limits.heartbeat)
    app.openapi = lambda: described(app)  # type: ignore[method-assign] # FastAPI's own way
    refusals.explain(app)
    app.router.routes.extend(_ROUTES)
    limits = edge.limits
    admission = Admission(
        Keyring(edge.keys),
        per_key=Rate(limits.rate_per_minute),
        failures=Rate(limits.failures_per_minute),
    )
    opened = OPEN
    if edge.office is not None:
        opened += OPERATOR
        app.state.door = Door(edge.office, admission)
        app.router.routes.extend(_OPERATOR_ROUTES)

    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, most=limits.body_bytes)
    app.add_middleware(Gate, admission=admission, is_open=_opened(opened))
    if edge.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=edge.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                *("Authorization", "Content-Type", REQUEST_ID),
                *("Idempotency-Key", "Last-Event-ID"),
            ],
            expose_headers=[REQUEST_ID, "Retry-After", "Location"],
        )
    app.add_middleware(Reception, metrics=app.state.metrics)
    app.add_middleware(SecurityHeaders)
    return app


def _opened(routers: Iterable[APIRouter]) -> Callable[[Asked], bool]:
    """Whether what is asked is a route of these."""
    routes = tuple(route for router in routers for route in router.routes)
    return lambda asked: any(route.matches(asked)[0] is not Match.NONE for route in routes)
