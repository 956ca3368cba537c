"""The edge of a shop, to ask without a network between."""

from __future__ import annotations

import httpx

from client import OrderClient
from edge.app import create_app
from edge.parts import Edge
from refund_client import RefundClient
from tests.fakes.refunds import InMemoryRefundBook
from tests.shop import Shop


def edge_of(shop: Shop, orders: OrderClient | None = None) -> Edge:
    """The parts of a shop's edge; ``orders`` in place of its own client."""
    refunds = RefundClient(shop.temporal, InMemoryRefundBook(shop.database))
    return Edge(orders=orders or shop.orders, refunds=refunds)


def asking(shop: Shop, orders: OrderClient | None = None) -> httpx.AsyncClient:
    """A caller of the shop's edge."""
    transport = httpx.ASGITransport(create_app(edge_of(shop, orders)))
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


def is_problem(answer: httpx.Response, status: int, sentence: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert sentence in told["detail"]
    assert told["type"].startswith("/problems/")
    assert told["title"]
    assert told["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status in {429, 503})
