"""What the routes are handed, and how they ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from client import OrderClient
from edge.reception import request_id_of
from refund_client import RefundClient


@dataclass(frozen=True)
class Edge:
    """Everything the edge knows of the world, put together by the process.

    A part that only some routes need gets a field here, and an argument type below.
    """

    orders: OrderClient
    refunds: RefundClient


def edge_of(request: Request) -> Edge:
    """The parts of the application that this request came to."""
    edge: Edge = request.app.state.edge
    return edge


Parts = Annotated[Edge, Depends(edge_of)]


def _orders(edge: Parts) -> OrderClient:
    return edge.orders


def _refunds(edge: Parts) -> RefundClient:
    return edge.refunds


def _request_id(request: Request) -> str:
    return request_id_of(request.scope)


# -- a route's arguments ---------------------------------------------------------------------------

Orders = Annotated[OrderClient, Depends(_orders)]
Refunds = Annotated[RefundClient, Depends(_refunds)]
RequestId = Annotated[str, Depends(_request_id)]
OrderId = Annotated[str, Path(description="The order's id.", examples=["1001"])]
