"""The edge of a shop, to ask without a network between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import httpx

from durable_orders.api.app import create_app
from durable_orders.api.dependencies import Dependencies
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.operators.api_keys import ApiKey, Scope, Token
from tests.fakes.disputes import InMemoryDisputeRepository
from tests.fakes.keys import InMemoryKeys
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.risk_list import InMemoryRiskListRepository
from tests.support.shop import Shop

#: A key that may do everything.
OPERATOR: Final = Token.of(b"operat", bytes(range(32)))


def a_key(token: Token, name: str, scope: Scope) -> ApiKey:
    return ApiKey(token.key_id, name, scope, datetime.now(UTC), token.digest)


def edge_of(shop: Shop, orders: OrderClient | None = None) -> Dependencies:
    """The parts of a shop's edge; ``orders`` in place of its own client. It knows ``OPERATOR``."""
    disputes = InMemoryDisputeRepository(shop.database)
    return Dependencies(
        orders=orders or shop.orders,
        operations=shop.operations,
        refunds=RefundClient(shop.temporal, InMemoryRefundBook(shop.database)),
        disputes=DisputeClient(InMemoryRiskListRepository(shop.database), shop.book, disputes),
        payment_risks=PaymentRiskClient(shop.temporal, disputes),
        keys=InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR)),
    )


def asking_edge(edge: Dependencies, token: Token | str | None = OPERATOR) -> httpx.AsyncClient:
    """A caller of this edge, with the token as its key."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(create_app(edge))
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example", headers=headers)


def asking(
    shop: Shop, orders: OrderClient | None = None, token: Token | str | None = OPERATOR
) -> httpx.AsyncClient:
    """A caller of the shop's edge, with the token as its key."""
    return asking_edge(edge_of(shop, orders), token)


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
