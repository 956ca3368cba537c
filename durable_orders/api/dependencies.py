"""Dependencies of the routes, and the annotated types by which routes declare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi import Path as PathParam

from durable_orders.api.metrics import Metrics
from durable_orders.api.middleware import request_id_of
from durable_orders.api.routes.health import Check
from durable_orders.api.schemas import OrderIdText, RefundIdText, RiskIdText
from durable_orders.api.webhook_inbox import Inbox
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.audit.ports import FindingRepository
from durable_orders.domain.operators.api_keys import ApiKeyRepository
from durable_orders.domain.operators.dashboard import DashboardRepository
from durable_orders.domain.operators.sessions import SessionRepository


@dataclass(frozen=True)
class ApiLimits:
    """Limits of each process: requests per minute of an API key, failed requests per minute of an
    address without a valid key, bytes of a body, seconds until it is read, concurrent event streams
    in all and of one key, and the interval of their heartbeat.
    """

    rate_per_minute: int = 600
    failures_per_minute: int = 30
    body_bytes: int = 262_144
    body_seconds: float = 20
    streams: int = 100
    streams_per_key: int = 20
    heartbeat: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class Dependencies:
    """The objects that the routes use, created by the process (``durable_orders/api/server.py``).

    To add one: a field here, and an annotated type below.
    """

    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    disputes: DisputeClient
    payment_risks: PaymentRiskClient
    keys: ApiKeyRepository
    #: Receives webhooks; None: every webhook is answered 503.
    inbox: Inbox | None = None
    #: Shown by ``/metrics``.
    metrics: Metrics = field(default_factory=Metrics)
    limits: ApiLimits = ApiLimits()
    #: CORS: the origins of web pages that may call the API.
    allowed_origins: tuple[str, ...] = ()
    #: The names by which clients reach the API; none: any.
    allowed_hosts: tuple[str, ...] = ()
    #: The checks of ``/readyz``, by the name that it reports.
    checks: Mapping[str, Check] = field(default_factory=dict)
    #: For the admin pages; None: there are no admin pages.
    admin: AdminDependencies | None = None


# Each is a coroutine: FastAPI calls an ordinary function in a thread of its own, which takes longer
# than all that these do.


async def get_dependencies(request: Request) -> Dependencies:
    """The dependencies of the application that serves the request."""
    dependencies: Dependencies = request.app.state.dependencies
    return dependencies


Deps = Annotated[Dependencies, Depends(get_dependencies)]


async def _get_orders(request: Request) -> OrderClient:
    return (await get_dependencies(request)).orders


async def _get_operations(request: Request) -> OrderOperations:
    return (await get_dependencies(request)).operations


async def _get_refunds(request: Request) -> RefundClient:
    return (await get_dependencies(request)).refunds


async def _get_disputes(request: Request) -> DisputeClient:
    return (await get_dependencies(request)).disputes


async def _get_payment_risks(request: Request) -> PaymentRiskClient:
    return (await get_dependencies(request)).payment_risks


async def _get_request_id(request: Request) -> str:
    return request_id_of(request.scope)


# -- arguments of routes ---------------------------------------------------------------------------

Orders = Annotated[OrderClient, Depends(_get_orders)]
Operations = Annotated[OrderOperations, Depends(_get_operations)]
Refunds = Annotated[RefundClient, Depends(_get_refunds)]
Disputes = Annotated[DisputeClient, Depends(_get_disputes)]
PaymentRiskRuns = Annotated[PaymentRiskClient, Depends(_get_payment_risks)]
RequestId = Annotated[str, Depends(_get_request_id)]
OrderId = Annotated[OrderIdText, PathParam(description="The order's id.", examples=["1001"])]
RefundId = Annotated[RefundIdText, PathParam(description="The refund's id.", examples=["r1"])]
RiskId = Annotated[
    RiskIdText,
    PathParam(
        description="Stripe's id of the dispute, early fraud warning or review.",
        examples=["du_1NqQ2zK"],
    ),
]


@dataclass(frozen=True)
class TemporalWebUi:
    """Links to workflows of our namespace in the Temporal Web UI. ``url`` None: there are none."""

    url: str | None
    namespace: str

    def run_url(self, workflow_id: str) -> str | None:
        """The address of the workflow's page."""
        if self.url is None:
            return None
        namespace, run = quote(self.namespace, safe=""), quote(workflow_id, safe="")
        return f"{self.url.rstrip('/')}/namespaces/{namespace}/workflows/{run}"


@dataclass(frozen=True)
class AdminDependencies:
    """The objects that only the admin pages use."""

    sessions: SessionRepository
    overview: DashboardRepository
    findings: FindingRepository
    web_ui: TemporalWebUi
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
