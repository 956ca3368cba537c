"""What a request may cost: its round trips to PostgreSQL, and no thread."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import text

from durable_orders.api.app import (
    ADMIN_ROUTERS,
    PROTECTED_ROUTERS,
    PUBLIC_ROUTERS,
    create_app,
)
from durable_orders.api.auth import require_scope
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.order import Order
from durable_orders.store.database import Database, connect
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from sandbox.round_trips import RoundTrips
from tests.api.api_clients import asking_edge, edge_of
from tests.support.shop import Shop, basket

ROUTERS = (*(router for router, _ in PROTECTED_ROUTERS), *PUBLIC_ROUTERS, *ADMIN_ROUTERS)


@dataclass(frozen=True)
class CountedShop:
    """An API whose orders are in PostgreSQL, behind a proxy that counts; its keys are in memory."""

    orders: OrderClient
    http: httpx.AsyncClient
    database: Database
    proxy: RoundTrips

    async def costs(self, order: Order) -> dict[str, int]:
        """The round trips of each request for the order, which is not checked out yet."""
        return {
            "checkout": await self.cost("POST", "/checkout", order_id=order.id),
            "order": await self.cost("GET", f"/orders/{order.id}"),
            "orders": await self.cost("GET", "/orders?limit=50"),
            "orders of": await self.cost("GET", f"/orders?customer={order.customer_id}"),
        }

    async def cost(self, method: str, path: str, **body: str) -> int:
        """The round trips of a request."""
        before = self.proxy.round_trips
        answer = await self.http.request(method, path, json=body or None)
        assert answer.status_code in {200, 202}, answer.text
        return self.proxy.round_trips - before

    async def cost_of_a_statement(self) -> int:
        """The round trips of a single statement, with whatever goes with every one."""
        await self._execute_one()  # the first time it is prepared
        before = self.proxy.round_trips
        await self._execute_one()
        return self.proxy.round_trips - before

    async def _execute_one(self) -> None:
        async with self.database.statement() as connection:
            await connection.execute(text("SELECT 1"))


@pytest.fixture
async def counted(
    closed_shop: Shop, database: Database, database_url: str
) -> AsyncIterator[CountedShop]:
    await add_products(database, DEMO)
    async with RoundTrips(database_url) as proxy:
        behind = connect(proxy.url, pool_size=1)
        orders = OrderClient(closed_shop.temporal, PostgresOrderRepository(behind))
        async with asking_edge(edge_of(closed_shop, orders)) as http:
            yield CountedShop(orders, http, behind, proxy)
        await behind.close()


async def test_a_request_for_an_order_reads_the_database_once(counted: CountedShop) -> None:
    first, order = [await counted.orders.place(basket(f"cost-{n}")) for n in range(2)]
    await counted.costs(first)  # what is sent for the first time is prepared first
    costs = await counted.costs(order)
    once = await counted.cost_of_a_statement()
    assert costs == dict.fromkeys(costs, once)


def test_no_dependency_of_a_route_is_called_in_a_thread() -> None:
    """FastAPI calls what is no coroutine function in a thread, one after the other."""
    routes = [route for router in ROUTERS for route in router.routes]
    calls = {call for route in routes for call in _calls(route)}
    scopes = {require_scope(scope).dependency for scope in Scope}
    assert len(calls) > 5
    assert [call for call in calls | scopes if not _is_coroutine_function(call)] == []


def _calls(route: object) -> Iterable[object]:
    assert isinstance(route, APIRoute)
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        one = waiting.pop()
        waiting += one.dependencies
        yield one.call


def _is_coroutine_function(call: object) -> bool:
    function = inspect.unwrap(call) if callable(call) else call
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - a security scheme is an object
    )


@pytest.mark.parametrize("order_id", ["route-1001", "A.b_c-9", "a" * 64])
async def test_the_address_of_an_order_is_its_routes(closed_shop: Shop, order_id: str) -> None:
    edge = edge_of(closed_shop)
    app = create_app(edge)
    order = await closed_shop.orders.place(basket(order_id))
    async with asking_edge(edge) as http:
        started = (await http.post("/checkout", json={"order_id": order.id})).json()
    assert started["status_url"] == app.url_path_for("read_order", order_id=order.id)
