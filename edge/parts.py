"""Dependencies of the routes, and the annotated types by which routes declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from fastapi import Path as PathParam

from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from edge.operator.office import AdminDependencies
from edge.readiness import Check
from edge.reception import request_id_of
from edge.shapes import ORDER_ID
from inbox import Inbox
from orders.keys import ApiKeyRepository


@dataclass(frozen=True)
class ApiLimits:
    """Limits of each process: requests per minute of an API key, failed requests per minute of an
    address without a valid key, bytes of a body, concurrent event streams, and the interval of
    their heartbeat.
    """

    rate_per_minute: int = 600
    failures_per_minute: int = 30
    body_bytes: int = 262_144
    streams: int = 100
    heartbeat: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class Dependencies:
    """The objects that the routes use, created by the process (``serving.py``).

    To add one: a field here, and an annotated type below.
    """

    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    keys: ApiKeyRepository
    #: Receives webhooks; None: every webhook is answered 503.
    inbox: Inbox | None = None
    limits: ApiLimits = ApiLimits()
    #: CORS: the origins of web pages that may call the API.
    allowed_origins: tuple[str, ...] = ()
    #: The checks of ``/readyz``, by the name that it reports.
    checks: Mapping[str, Check] = field(default_factory=dict)
    #: For the admin pages; None: there are no admin pages.
    admin: AdminDependencies | None = None


def get_dependencies(request: Request) -> Dependencies:
    """The dependencies of the application that serves the request."""
    dependencies: Dependencies = request.app.state.dependencies
    return dependencies


Deps = Annotated[Dependencies, Depends(get_dependencies)]


def _get_orders(dependencies: Deps) -> OrderClient:
    return dependencies.orders


def _get_operations(dependencies: Deps) -> OrderOperations:
    return dependencies.operations


def _get_refunds(dependencies: Deps) -> RefundClient:
    return dependencies.refunds


def _get_request_id(request: Request) -> str:
    return request_id_of(request.scope)


# -- arguments of routes ---------------------------------------------------------------------------

Orders = Annotated[OrderClient, Depends(_get_orders)]
Operations = Annotated[OrderOperations, Depends(_get_operations)]
Refunds = Annotated[RefundClient, Depends(_get_refunds)]
RequestId = Annotated[str, Depends(_get_request_id)]
OrderId = Annotated[
    str,
    PathParam(description="The order's id.", examples=["1001"], json_schema_extra=dict(ORDER_ID)),
]
