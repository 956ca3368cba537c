"""What the routes are handed, and how they ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi import Path as InPath

from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from edge.operator.office import Office
from edge.readiness import Check
from edge.reception import request_id_of
from edge.shapes import ORDER_ID
from inbox import Inbox
from orders.keys import KeyBook


@dataclass(frozen=True)
class EdgeLimits:
    """How much and how often, in each process: requests a minute of a key, refused ones a minute
    of an address without one, bytes of a body, event streams at a time and how often those that
    have nothing to tell say so.
    """

    rate_per_minute: int = 600
    failures_per_minute: int = 30
    body_bytes: int = 262_144
    streams: int = 100
    heartbeat: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class Edge:
    """Everything the edge knows of the world, put together by the process.

    A part that only some routes need gets a field here, and an argument type below.
    """

    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    keys: KeyBook
    #: Where webhooks go; without it nobody listens to any.
    inbox: Inbox | None = None
    limits: EdgeLimits = EdgeLimits()
    #: The web pages that browsers may ask us from.
    allowed_origins: tuple[str, ...] = ()
    #: What ``/readyz`` asks, by the name that is told.
    checks: Mapping[str, Check] = field(default_factory=dict)
    #: What the operator's pages need; None: there are none.
    office: Office | None = None
    #: Where several processes of one edge add up what they count.
    shared_metrics: Path | None = None


def edge_of(request: Request) -> Edge:
    """The parts of the application that this request came to."""
    edge: Edge = request.app.state.edge
    return edge


Parts = Annotated[Edge, Depends(edge_of)]


def _orders(edge: Parts) -> OrderClient:
    return edge.orders


def _operations(edge: Parts) -> OrderOperations:
    return edge.operations


def _refunds(edge: Parts) -> RefundClient:
    return edge.refunds


def _request_id(request: Request) -> str:
    return request_id_of(request.scope)


# -- a route's arguments ---------------------------------------------------------------------------

Orders = Annotated[OrderClient, Depends(_orders)]
Operations = Annotated[OrderOperations, Depends(_operations)]
Refunds = Annotated[RefundClient, Depends(_refunds)]
RequestId = Annotated[str, Depends(_request_id)]
OrderId = Annotated[
    str,
    InPath(description="The order's id.", examples=["1001"], json_schema_extra=dict(ORDER_ID)),
]
