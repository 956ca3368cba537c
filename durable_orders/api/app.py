"""The FastAPI application: routes, middleware and exception handlers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import Scope as RequestScope

from durable_orders.api import exception_handlers, metrics
from durable_orders.api.admin import dashboard as admin_dashboard
from durable_orders.api.admin import disputes as admin_disputes
from durable_orders.api.admin import login as admin_login
from durable_orders.api.admin import order as admin_order
from durable_orders.api.admin import order_actions as admin_order_actions
from durable_orders.api.admin import refunds as admin_refunds
from durable_orders.api.admin.sessions import SessionAuth
from durable_orders.api.auth import ApiKeyCache, require_scope
from durable_orders.api.dependencies import Dependencies
from durable_orders.api.middleware import (
    REQUEST_ID,
    AllowedHostsMiddleware,
    ApiKeyMiddleware,
    BodyLimitMiddleware,
    HeaderLimitMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
)
from durable_orders.api.openapi import COMMON_PROBLEMS, openapi_schema
from durable_orders.api.rate_limits import AccessPolicy, RateLimiter
from durable_orders.api.routes import (
    checkout,
    disputes,
    docs,
    health,
    order_actions,
    order_events,
    orders,
    refunds,
    webhooks,
)
from durable_orders.api.routes.health import Readiness
from durable_orders.api.sse import Streams
from durable_orders.domain.operators.api_keys import Scope

#: Routers that need an API key, each with the scope that all of its routes need at least. A route
#: that needs more declares it with ``require_scope``. A new router is added here or below.
PROTECTED_ROUTERS: Final[tuple[tuple[APIRouter, Scope], ...]] = (
    (orders.router, Scope.READ),
    (checkout.router, Scope.SHOP),
    (order_actions.router, Scope.READ),
    (order_events.router, Scope.READ),
    (refunds.router, Scope.READ),
    (disputes.router, Scope.READ),
    (metrics.router, Scope.READ),
)
#: Routers without API key: open to everybody, or (webhooks) with a check of their own.
PUBLIC_ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    docs.router,
    webhooks.router,
)
#: The admin pages. Browsers send no API key: ``admin/forms.py`` requires a session. The last
#: router answers every other path.
ADMIN_ROUTERS: Final[tuple[APIRouter, ...]] = (
    admin_login.router,
    admin_dashboard.router,
    admin_order.router,
    admin_disputes.router,
    admin_refunds.router,  # before the one that would take "refund" for an action
    admin_order_actions.router,
    admin_login.fallback_router,
)


def _protected_and_public_routes() -> Iterable[BaseRoute]:
    combined = APIRouter()
    for router, scope in PROTECTED_ROUTERS:
        combined.include_router(
            router, dependencies=[require_scope(scope)], responses=COMMON_PROBLEMS
        )
    for router in PUBLIC_ROUTERS:
        combined.include_router(router)
    return combined.routes


def _admin_routes() -> Iterable[BaseRoute]:
    combined = APIRouter()
    for router in ADMIN_ROUTERS:
        combined.include_router(router)
    return combined.routes


# FastAPI prepares an included route at its first request, which takes longer than to answer it.
# Routes are independent of the application, so that all applications of a process share them.
_ROUTES: Final = tuple(_protected_and_public_routes())
_ADMIN_ROUTES: Final = tuple(_admin_routes())


def create_app(dependencies: Dependencies) -> FastAPI:
    """Create the application with these dependencies."""
    limits = dependencies.limits
    app = FastAPI(
        title="Durable Orders",
        version="0.1.0",
        description="Orders, carried to their end. What goes wrong is a problem (RFC 9457).",
        # It would send a client wherever its Host header says.
        redirect_slashes=False,
        openapi_url=None,  # routes/docs.py serves it, and pages that load nothing else
    )
    app.state.dependencies = dependencies
    app.state.readiness = Readiness(dependencies.checks)
    app.state.metrics = dependencies.metrics
    api_keys = ApiKeyCache(dependencies.keys)
    app.state.streams = Streams(
        limits.streams,
        max_per_key=limits.streams_per_key,
        heartbeat=limits.heartbeat,
        is_valid=api_keys.is_valid,
    )
    app.openapi = lambda: openapi_schema(app)  # type: ignore[method-assign] # FastAPI's documented way
    exception_handlers.add_exception_handlers(app)
    app.router.routes.extend(_ROUTES)
    app.state.policy = policy = AccessPolicy(
        api_keys,
        per_key=RateLimiter(limits.rate_per_minute),
        failures=RateLimiter(limits.failures_per_minute),
    )
    without_key = PUBLIC_ROUTERS
    if dependencies.admin is not None:
        without_key += ADMIN_ROUTERS
        app.state.session_auth = SessionAuth(dependencies.admin, policy)
        app.router.routes.extend(_ADMIN_ROUTES)

    # The last middleware added is the outermost.
    app.add_middleware(
        BodyLimitMiddleware, max_bytes=limits.body_bytes, patience=limits.body_seconds
    )
    app.add_middleware(ApiKeyMiddleware, policy=policy, is_public=_matcher(without_key))
    if dependencies.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=dependencies.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                REQUEST_ID,
                "Idempotency-Key",
                "Last-Event-ID",
            ],
            expose_headers=[REQUEST_ID, "Retry-After", "Location"],
        )
    app.add_middleware(AllowedHostsMiddleware, hosts=dependencies.allowed_hosts)
    app.add_middleware(HeaderLimitMiddleware)
    app.add_middleware(RequestIdMiddleware, metrics=app.state.metrics)
    app.add_middleware(SecurityHeadersMiddleware)
    return app


#: The start of a named group; a pattern may have each name only once.
_NAMED_GROUP: Final = re.compile(r"\(\?P<\w+>")


def _matcher(routers: Iterable[APIRouter]) -> Callable[[RequestScope], bool]:
    """A predicate: whether the path of a request is that of a route of these routers."""
    routes = [route for router in routers for route in router.routes]
    # One pattern for all, since every request is asked about: one by one takes ten times as long.
    patterns = [route.path_regex.pattern for route in routes if isinstance(route, APIRoute)]
    if len(patterns) != len(routes):
        raise TypeError("a router without key has routes alone, no mounts and no included routers")
    is_one_of_theirs = re.compile("|".join(_NAMED_GROUP.sub("(?:", each) for each in patterns))
    return lambda scope: is_one_of_theirs.match(scope["path"]) is not None
